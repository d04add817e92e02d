"""The attention that a head passes, in the metadata of exported files, and what a user is told of it."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models
import variants
from onnx import ModelProto
from token_networks import Transformer, transformer

from secam_onnx import Explainer
from secam_onnx.classifier.analysis import analyse
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.metadata import KEY, AttentionRecord
from secam_onnx.errors import ModelError
from secam_onnx.export import Source, export_model, from_onnx
from secam_onnx.fusion import Fusion
from secam_onnx.head_query import HeadQuery
from secam_onnx.photograph.preprocessing import Preprocessing

KIND = r"not measured for networks of this kind \(windows, convolutions between the blocks, a single block\)"


def mixed(*, windows: bool = False, convolution: bool = False, last: int = 0) -> ModelProto:
    """Three blocks and `last` ones; the second and third are inside of windows or have a convolution before them."""
    net = Transformer()
    net.blocks(1)
    if windows:
        net.tokens = net.op("Reshape", [net.tokens, net.integers(-1, 4, 8)])
    if convolution:
        turned = net.op("Transpose", [net.tokens], perm=[0, 2, 1])
        grid = net.op("Reshape", [turned, net.integers(-1, 8, 4, 4)])
        mixed = net.op("Conv", [grid, net.weight(8, 8, 3, 3)], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        mixed = net.op("Reshape", [mixed, net.integers(-1, 8, 16)])
        net.tokens = net.op("Transpose", [mixed], perm=[0, 2, 1])
    net.blocks(2)
    if windows:
        net.tokens = net.op("Reshape", [net.tokens, net.integers(-1, 16, 8)])
    net.blocks(last)
    return net.model(net.fc(net.op("ReduceMean", [net.tokens], axes=[1], keepdims=0)))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (((4,), 12), "from the last 4 of 12 attention blocks, attention weights held; what moves attention is not"),
        (((2, 3, 5), 12), "^from the last 2, 3 and 5 of 12 attention blocks, averaged, attention weights held"),
        (((1,), 2), "^from the last of 2 attention blocks"),
        (((1,), 1), "^from the only attention block"),
        (((6,), 6), "^from all 6 attention blocks"),
        (((4,), 12, False), f"is not counted; {KIND}$"),
        (((4,), 12, True, True), "is not counted; what rounding changes is the completeness gap$"),
    ],
)
def test_one_sentence(record: tuple[Any, ...], said: str) -> None:
    assert re.search(said, str(AttentionRecord(*record)))


@pytest.mark.parametrize(
    ("model", "blocks", "record"),
    [
        (transformer(1, 0, positions_first=True), None, AttentionRecord((1,), 2)),
        (transformer(1, 0, positions_first=True), 2, AttentionRecord((2,), 2)),
        (mixed(), 2, AttentionRecord((2,), 3)),
        (mixed(windows=True, last=1), 1, AttentionRecord((1,), 4, plain=False)),
        (mixed(windows=True), 3, AttentionRecord((3,), 3, plain=False)),
        (mixed(convolution=True), 3, AttentionRecord((3,), 3, plain=False)),
    ],
)
def test_record_of_a_network(model: ModelProto, blocks: int | None, record: AttentionRecord) -> None:
    assert analyse(model, query=HeadQuery(blocks=blocks)).metadata.head.attention == record


def test_blocks_are_asked_of_a_network_without_attention() -> None:
    with pytest.raises(ModelError, match="there is no attention between the image and the logits"):
        analyse(tiny_models.classifier(), query=HeadQuery(blocks=2))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    model = transformer(1, 0, positions_first=True)
    export_model(
        Source(model, Preprocessing.preset("torchvision", (32, 32)), None, {}), path, query=HeadQuery(blocks=2)
    )
    return path


def test_a_file_knows_the_number_that_was_chosen(exported: Path) -> None:
    report = inspect_model(exported)
    assert report["head"]["attention"] == {"passed": (2,), "total": 2, "plain": True, "rounds": False}
    assert "from all 2 attention blocks, attention weights held" in report["head"]["attribution"]
    assert "asked for at export" in report["feature_map"]["why"]


@pytest.mark.parametrize("blocks", [1, 2, (1, 2)])
def test_a_file_explains_as_the_model_did(tmp_path: Path, blocks: int | tuple[int, ...]) -> None:
    onnx.save(transformer(1, 0, positions_first=True), tmp_path / "vit.onnx")
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    with Explainer(tmp_path / "vit.onnx", providers="cpu", blocks=blocks) as model:
        wanted = model.explain(image, classes="all")
    export_model(from_onnx(tmp_path / "vit.onnx"), tmp_path / "out.onnx", query=HeadQuery(blocks=blocks))
    with Explainer(tmp_path / "out.onnx", providers="cpu") as again:
        found = again.explain(image, classes="all")
    np.testing.assert_array_equal(found.cam, wanted.cam)
    assert found.method["attribution"] == wanted.method["attribution"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"passed": [1]}, "head.attention from the last of 2 .*, but the graph has from all 2"),
        ({"plain": False}, "head.attention"),
        ({"total": 1}, r"head.attention.passed is \(2,\); ascending numbers up to the total of 1"),
        ({"passed": []}, r"head.attention.passed is \(\); ascending"),
        ({"passed": [2, 1]}, r"\(2, 1\); ascending"),
        ({"passed": [0]}, r"head.attention.passed\[0\] is 0; a whole number of 1"),
        ({"total": "two"}, "head.attention.total is 'two'"),
        (None, "head.algebra is 'detached', but head.attention is null"),
    ],
)
def test_what_is_not_so_is_refused(exported: Path, tmp_path: Path, change: dict[str, Any] | None, reason: str) -> None:
    model = onnx.load(exported)
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    data = json.loads(entry.value)
    data["head"]["attention"] = None if change is None else data["head"]["attention"] | change
    entry.value = json.dumps(data)
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(ModelError, match=reason):
        Explainer(tmp_path / "changed.onnx", providers="cpu")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (HeadQuery(), "the last of 2 attention blocks: a third of them, rounded up"),
        (HeadQuery(blocks=2), "before all 2 attention blocks, as asked"),
        (HeadQuery(features="add18"), "asked for by name"),
    ],
)
def test_inspect_says_why(tmp_path: Path, query: HeadQuery, why: str) -> None:
    onnx.save(transformer(1, 0, positions_first=True), tmp_path / "vit.onnx")
    assert why in inspect_model(tmp_path / "vit.onnx", query=query)["feature_map"]["why"]


def test_quantised_attention_says_that_it_rounds(tmp_path: Path) -> None:
    """The map is that of the network in floats, nearly; what is missing is the gap, of which nobody is warned."""
    model = transformer(1, 0, positions_first=True)
    onnx.save(model, tmp_path / "float.onnx")
    variants.dynamic(model, tmp_path)
    assert "MatMulInteger" in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    with Explainer(tmp_path / "float.onnx", providers="cpu") as explainer:
        wanted = explainer.explain(image, classes="all")
    with warnings.catch_warnings(), Explainer(tmp_path / "model.onnx", providers="cpu") as explainer:
        warnings.simplefilter("error", RuntimeWarning)
        found = explainer.explain(image, classes="all")
    assert "what rounding changes is the completeness gap" in found.method["attribution"]
    assert np.abs(found.cam - wanted.cam).max() < 0.1 * np.abs(wanted.cam).max()
    assert 1e-4 < found.completeness_error < 0.1


def test_quantised_attention_is_fused(tmp_path: Path) -> None:
    """What is held may be rounded to the other side in the fused file, by a step of 8 bits."""
    onnx.save(variants.qdq()(transformer(1, 0, positions_first=True), tmp_path), tmp_path / "model.onnx")
    export_model(from_onnx(tmp_path / "model.onnx"), tmp_path / "fused.onnx", fusion=Fusion(top_k=2))
    with Explainer(tmp_path / "fused.onnx", providers="cpu") as explainer:
        assert explainer.classifier.metadata.head.attention == AttentionRecord((1,), 2, rounds=True)
