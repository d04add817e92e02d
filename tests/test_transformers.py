"""A transformer everywhere: what a result says of it, several photographs, all classes, files, tables and actors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models
from onnx import ModelProto, numpy_helper
from PIL import Image
from token_networks import CLASSES, joint_transformer, transformer

from secam_onnx import Explainer, Explanation, Preprocessing
from secam_onnx.batch import ray_actor
from secam_onnx.batch.rows import row
from secam_onnx.batch.run_settings import run_settings, settings_digest
from secam_onnx.classifier.metadata import HeadRecord
from secam_onnx.classifier.outlier_tokens import outlier_tokens
from secam_onnx.export import fuse
from secam_onnx.fusion import Fusion

SETTINGS = Preprocessing((32, 32))
NETWORKS = {"batch in front": transformer(1, 0, positions_first=True), "batch inside": joint_transformer()}


def photographs(number: int = 5) -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 256, (number, 32, 32, 3), dtype=np.uint8))


@pytest.fixture(params=NETWORKS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    onnx.save(NETWORKS[request.param], tmp_path / "vit.onnx")
    return tmp_path / "vit.onnx"


@pytest.fixture
def vit(path: Path) -> Explainer:
    return Explainer(path, providers="cpu", preprocessing=SETTINGS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(tiny_models.classifier(), path)
    return Explainer(path, providers="cpu", preprocessing="unit")


def alike(found: Explanation, expected: Explanation) -> None:
    assert [entry.index for entry in found.classes] == [entry.index for entry in expected.classes]
    np.testing.assert_allclose(found.cam, expected.cam, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.bias, expected.bias, rtol=1e-4, atol=1e-5)


def test_photographs_together_are_photographs_alone(vit: Explainer) -> None:
    pictures = photographs()
    together = list(vit.explain_stream(pictures, "top-2", batch_size=3))
    for picture, found in zip(pictures, together, strict=True):
        alike(found, vit.explain(picture, "top-2"))


def test_all_classes_are_each_class(vit: Explainer) -> None:
    picture = photographs(1)[0]
    found = vit.explain(picture, "all")
    for index in range(CLASSES):
        alone = vit.explain(picture, index)
        np.testing.assert_allclose(found.cam[index], alone.cam[0], rtol=1e-4, atol=1e-5)
    assert found.completeness_error < 1e-5


def test_a_fused_file_says_the_same(path: Path, vit: Explainer, tmp_path: Path) -> None:
    fuse(path, tmp_path / "fused.onnx", Fusion(default_classes=False), preprocessing=SETTINGS)
    fused = Explainer(tmp_path / "fused.onnx", providers="cpu")
    for picture, found in zip(photographs(3), fused.explain_batch(photographs(3), "top-2"), strict=True):
        expected = vit.explain(picture, "top-2")
        alike(found, expected)
        np.testing.assert_array_equal(found.segments, expected.segments)
        for name in ("attribution", "attention_blocks"):
            assert found.method[name] == expected.method[name]


def test_what_a_result_says(vit: Explainer) -> None:
    found = vit.explain(photographs(1)[0], "top-2")
    told = found.to_dict()
    assert told["method"]["attribution"] == (
        "gradient x activation from the last of 2 attention blocks, attention weights held; what moves attention is "
        "not counted"
    )
    assert told["method"]["attention_blocks"] == {"passed": [1], "total": 2}
    for entry, bias, logit in zip(told["classes"], found.bias, (e.logit for e in found.classes), strict=True):
        assert entry["bias_share"] == pytest.approx(bias / logit)
        assert f"{bias:+.2f}" in found.no_place(entry["index"])
    json.dumps(told)
    assert found.panel().height > 0


def test_other_networks_say_nothing_of_it(tiny: Explainer, chelsea: np.ndarray) -> None:
    found = tiny.explain(chelsea)
    assert found.no_place() == ""
    assert "bias_share" not in found.to_dict()["classes"][0]
    assert not {"attention_blocks", "outlier_tokens"} & found.method.keys()


@pytest.mark.parametrize(
    ("logit", "bias", "share", "said"),
    [
        (4.0, 1.0, 0.25, "25 % of the logit (+1.00) belongs to no place"),
        (4.0, -1.0, -0.25, "of the logit +4.00, +5.00 belongs to places and -1.00 to none"),
        (2.0, 3.0, 1.5, "of the logit +2.00, -1.00 belongs to places and +3.00 to none"),
        (-4.0, -1.0, 0.25, "25 % of the logit (-1.00) belongs to no place"),
        (0.0, 3.0, None, "of the logit +0.00, -3.00 belongs to places and +3.00 to none"),
    ],
)
def test_how_much_belongs_to_no_place(
    tiny: Explainer, chelsea: np.ndarray, logit: float, bias: float, share: float | None, said: str
) -> None:
    found = tiny.explain(chelsea)
    (entry,) = found.classes
    method = {**found.method, "attention_blocks": {"passed": [1], "total": 2}}
    changed = dataclasses.replace(
        found, bias=np.float32([bias]), classes=(dataclasses.replace(entry, logit=logit),), method=method
    )
    assert changed.no_place() == said
    assert changed.to_dict()["classes"][0]["bias_share"] == share


def with_outliers(network: ModelProto, places: list[int]) -> ModelProto:
    """The network with a large number added to some patches."""
    model = ModelProto.FromString(network.SerializeToString())
    for tensor in model.graph.initializer:
        if tuple(tensor.dims)[:2] in ((1, 16), (1, 17)):
            positions = numpy_helper.to_array(tensor).copy()
            positions[0, [place + positions.shape[1] - 16 for place in places]] += 100
            tensor.CopyFrom(numpy_helper.from_array(positions, tensor.name))
    return model


@pytest.mark.parametrize(("places", "said"), [([], []), ([6], [[1, 2]]), ([6, 15], []), (list(range(8)), [])])
@pytest.mark.parametrize("name", NETWORKS)
def test_outlier_tokens_are_named(tmp_path: Path, name: str, places: list[int], said: list[list[int]]) -> None:
    onnx.save(with_outliers(NETWORKS[name], places), tmp_path / "vit.onnx")
    vit = Explainer(tmp_path / "vit.onnx", providers="cpu", preprocessing=SETTINGS)
    for found in vit.explain_batch(photographs(2)):
        assert found.method["outlier_tokens"] == said
        json.dumps(found.to_dict())


def test_outlier_tokens_of_a_map_in_channels_first() -> None:
    head = HeadRecord("", "f", (2, 4, 4), (), ())
    features = np.ones((2, 2, 4, 4), np.float32)
    features[1, :, 2, 3] = -9
    assert outlier_tokens(features, head) == [[], [(2, 3)]]


def test_the_console_names_them_once(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    onnx.save(with_outliers(NETWORKS["batch in front"], [6]), tmp_path / "vit.onnx")
    for name in ("a.png", "b.png"):
        Image.fromarray(photographs(1)[0]).save(tmp_path / name)
    done = run_cli("explain", "a.png", "b.png", "--model", "vit.onnx", "--blocks", "2", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "Maps are made from all 2 attention blocks, attention weights held; what moves attention" in done.stderr
    assert done.stderr.count("over three times the usual norm") == 2  # the first, and how many more
    assert "Warning: a.png: some tokens" in done.stderr
    assert done.stdout.count("of the logit") == 2
    told = json.loads((tmp_path / "out" / "a" / "explanation.json").read_text())
    assert told["method"]["attention_blocks"] == {"passed": [2], "total": 2}
    assert told["method"]["outlier_tokens"] == [[1, 2]]


def test_a_row_and_the_actor_of_ray(path: Path, vit: Explainer, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    Image.fromarray(photographs(1)[0]).save(tmp_path / "a.png")
    options = {"providers": "cpu", "preprocessing": SETTINGS}
    settings = run_settings(vit, ["top-2"])
    assert "attention weights held" in settings["attribution"]
    job = ray_actor.Job(str(path), options, ("top-2",), False, 2, settings_digest(settings))
    shard = pa.Table.from_pylist([{"image": "a", "root": "", "path": str(tmp_path / "a.png").encode()}] * 3)
    table = ray_actor.ShardExplainer(job, 1)(shard).to_pylist()
    expected = row("a", vit.explain(photographs(1)[0], "top-2"))
    assert [entry["kind"] for entry in table] == [None] * 3
    for entry in table:
        for found, wanted in zip(entry["classes"], expected["classes"], strict=True):
            assert found["bias"] == pytest.approx(float(wanted["bias"]), rel=1e-4, abs=1e-5)
            np.testing.assert_allclose(found["segment_scores"], wanted["segment_scores"], rtol=1e-4, atol=1e-5)
