"""The outputs of an opened model beside those of its untouched file in plain ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tiny_models import classifier, tokens

from secam_onnx import Explainer, Preprocessing, fuse, runtime
from secam_onnx.classifier import fidelity
from secam_onnx.classifier.fidelity import compare_outputs, rounding_tolerance, run_reference, trial_images
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.cli import explain
from secam_onnx.errors import FidelityError, ModelError, OptionError
from secam_onnx.export import explainable_file
from secam_onnx.export.explainable_file import export_model
from secam_onnx.export.source import Source, from_onnx
from secam_onnx.fusion import Fusion
from secam_onnx.graph import weights
from secam_onnx.graph.index import Graph
from secam_onnx.head_query import HeadQuery
from secam_onnx.photograph.model_input import image_input


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(("channels", "edge"), [(256, 16), (66, 16), (63, 16), (64, 8)])
def test_position_embeddings_behind_a_transpose(channels: int, edge: int, prefix: int, tmp_path: Path) -> None:
    """Smaller and larger than what is shared, and with as many channels as tokens, where nothing fails."""
    path = tmp_path / "model.onnx"
    onnx.save(tokens(channels, edge, prefix), path)
    opened = open_classifier(
        path, providers="cpu", preprocessing="unit", query=HeadQuery(features=None if prefix else "s")
    )
    image = np.random.default_rng(1).random((2, 3, 8 * edge, 8 * edge), np.float32)
    _, logits, _ = opened.forward(image)
    (wanted,) = onnxruntime.InferenceSession(path).run(None, {"x": image})
    np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert opened.fidelity is not None
    assert opened.fidelity["max_relative_difference"] < 1e-4
    assert opened.fidelity["outputs"] == ["z"]


def test_weights_shared_as_they_must_not_be_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many channels as tokens: nothing fails, and every number is wrong."""
    path = tmp_path / "model.onnx"
    onnx.save(tokens(256, 16, 0), path)
    monkeypatch.setattr(weights, "share_safely", lambda model, values: None)
    options = {"preprocessing": "unit", "providers": "cpu", "query": HeadQuery(features="s")}
    with pytest.raises(
        FidelityError, match=r"output 'z' is -?[\d.]+ at \(0, \d\) for photograph .* gives -?[\d.]+: a diff"
    ):
        open_classifier(path, **options)  # type: ignore[arg-type]
    assert open_classifier(path, verify=False, **options).fidelity is None  # type: ignore[arg-type]


@pytest.fixture
def altered(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets every session but that of the untouched file compute with other weights."""

    def alter(by: float) -> None:
        real = runtime.open_session

        def open_session(model: bytes | Path, *rest: object, **options: object) -> onnxruntime.InferenceSession:
            other = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
            for tensor in other.graph.initializer:
                if tensor.name == "logits.bias":
                    value = numpy_helper.to_array(tensor)
                    value = value + np.linspace(0, by, len(value), dtype=np.float32)
                    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
            return real(other.SerializeToString(), *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(runtime, "open_session", open_session)

    return alter


def test_every_way_to_open_an_ordinary_file_compares(tmp_path: Path, altered: Callable[[float], None]) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path)
    assert Explainer(path, providers="cpu").classifier.fidelity is not None
    altered(1.0)
    for fails in (Explainer, inspect_model):
        with pytest.raises(FidelityError, match=r"output 'logits' is .* report this model at https"):
            fails(path)
    Explainer(path, verify=False)


def test_a_fused_file_is_compared_on_request(tmp_path: Path, altered: Callable[[float], None]) -> None:
    source, path = tmp_path / "model.onnx", tmp_path / "fused.onnx"
    onnx.save(classifier(), source)
    fuse(source, path, Fusion(overlay=False), preprocessing=Preprocessing((32, 32)))
    assert Explainer(path).classifier.fidelity is None
    found = Explainer(path, verify=True).classifier.fidelity
    assert found is not None
    assert {"logits", "cam", "segment_scores"} <= set(found["outputs"])
    assert len(found["images"]) == 3
    altered(1.0)
    with pytest.raises(FidelityError, match="gives"):
        Explainer(path, verify=True)


def test_an_explainable_file_is_compared_on_request(tmp_path: Path, altered: Callable[[float], None]) -> None:
    """It was compared when it was exported."""
    source, path = tmp_path / "model.onnx", tmp_path / "explainable.onnx"
    onnx.save(classifier(), source)
    metadata = export_model(from_onnx(source), path)
    assert metadata.fidelity["max_relative_difference"] == 0
    assert Explainer(path, providers="cpu").fidelity is None
    found = Explainer(path, providers="cpu", verify=True).fidelity
    assert found is not None
    assert len(found["images"]) == 3
    altered(1.0)
    with pytest.raises(FidelityError, match=r"output 'logits' is .* report this model at https"):
        Explainer(path, providers="cpu", verify=True)


@pytest.mark.parametrize("fusion", [None, Fusion(overlay=False)])
def test_an_export_is_compared_with_its_source(
    fusion: Fusion | None, tmp_path: Path, altered: Callable[[float], None]
) -> None:
    source, path = tmp_path / "model.onnx", tmp_path / "exported.onnx"
    onnx.save(classifier(softmax=True), source)
    metadata = export_model(from_onnx(source), path, fusion=fusion)
    assert metadata.fidelity["outputs"] == ["probabilities"]
    assert len(metadata.fidelity["images"]) == 3
    assert inspect_model(path)["fidelity"]["at_export"] == metadata.fidelity
    altered(1.0)
    with pytest.raises(FidelityError, match=r"output 'probabilities' is .* report this model at https"):
        export_model(from_onnx(source), tmp_path / "never.onnx", fusion=fusion)
    assert not (tmp_path / "never.onnx").exists()


def test_an_export_of_what_was_made_just_now(tmp_path: Path) -> None:
    """As a network of PyTorch is: there is no file yet."""
    metadata = export_model(Source(classifier(softmax=True)), tmp_path / "model.onnx")
    assert metadata.fidelity["outputs"] == ["probabilities"]


def test_the_own_outputs_of_a_fused_file_are_those_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(classifier(), source)
    real = explainable_file.fused_model

    def other_model(*args: object) -> tuple[ModelProto, ModelMetadata]:
        made, metadata = real(*args)  # type: ignore[arg-type]
        for tensor in made.graph.initializer:
            if tensor.name == "logits.bias":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(1), tensor.name))
        return made, metadata

    monkeypatch.setattr(explainable_file, "fused_model", other_model)
    with pytest.raises(FidelityError, match=r"output 'logits' is .* gives"):
        fuse(source, tmp_path / "fused.onnx", Fusion(overlay=False), preprocessing=Preprocessing((32, 32)))


def test_very_large_models_are_compared_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path)
    monkeypatch.setattr(fidelity, "LARGEST", 100)
    assert Explainer(path).classifier.fidelity is None
    found = Explainer(path, verify=True).classifier.fidelity
    assert found is not None
    assert len(found["images"]) == 3
    assert inspect_model(path)["fidelity"]["measured_now"] == found


def test_the_command_line_says_what_it_did_not_compare(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path)
    given = [str(photo), "-m", str(path), "-o", str(tmp_path / "out"), "--pictures", "0"]

    def said(*options: str) -> str:
        done = CliRunner().invoke(explain.command, [*given, *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert "Not verified" not in said()
    monkeypatch.setattr(fidelity, "LARGEST", 100)
    assert "Not verified: the weights are more than 1 GiB" in said()
    assert "Not verified" not in said("--verify")
    assert "Not verified" not in said("--no-verify")


def test_no_such_way(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path)
    with pytest.raises(OptionError, match="verify is 'often'"):
        Explainer(path, verify="often")  # type: ignore[arg-type]


def test_all_outputs_are_compared_in_the_batch_of_the_file() -> None:
    """Half precision, four images at once, whole numbers and a map beside the logits."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]> g (float16[4, 3, 8, 8] x) => '
        "(float16[4, 3] z, int64[4, 3] order, seq(map(int64, float)) said) { z = GlobalAveragePool (x) }"
    )
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["z"]),
            helper.make_node("TopK", ["z", "three"], ["sorted", "order"]),
            helper.make_node("Cast", ["z"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("ZipMap", ["wide"], ["said"], domain="ai.onnx.ml", classlabels_int64s=[5, 1, 9]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([3]), "three"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    settings = Preprocessing((8, 8))
    said = run_reference(
        session, image_input(Graph(model)), settings, trial_images(settings), rounding_tolerance(model)
    )
    assert said.tolerance == 0.01
    assert {name: feed["x"].shape for name, feed in said.feeds.items()} == dict.fromkeys(said.feeds, (4, 3, 8, 8))
    found = compare_outputs(said.outputs, said.outputs, said.tolerance)
    assert found["outputs"] == ["z", "said"]
    assert found["max_relative_difference"] == 0


HALVES = {
    "float32": ("y = Relu (x)", 1e-3),
    "weights stored with 16 bits": ("c = Cast <to = 1> (h) y = Add (x, c)", 1e-3),
    "half precision inside": ("c = Cast <to = 10> (x) d = Add (c, h) y = Cast <to = 1> (d)", 0.01),
    "8 bits": ("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", 0.05),
    "8 bits, decided by the run": ("q, s1, z1 = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s1, z1)", 0.05),
    "8 bits, of one's own operators": ("y = QLinearConv (x, s, z, w, s, z, s, z)", 0.05),
}


@pytest.mark.parametrize("kind", HALVES)
def test_what_rounding_explains_depends_on_the_numbers(kind: str) -> None:
    body, expected = HALVES[kind]
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[N] x) => (float[N] y) {{ {body} }}'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float16), "h"))
    if "(c, h)" not in body and "(h)" not in body:
        del model.graph.initializer[:]
    assert rounding_tolerance(model) == expected


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("said", "found", "message"),
    [
        ([1.0, 100.0], [1.0, 100.05], None),
        ([1.0, 100.0], [1.2, 100.0], r"is 1\.2 at \(0,\) .* gives 1: a difference of 2\.0e-03"),
        ([1.0, NAN, INF], [1.0, NAN, INF], None),
        ([1.0, 2.0], [1.0, NAN], r"is nan at \(1,\) .* gives 2"),
        ([1.0, NAN], [1.0, 2.0], r"is 2 at \(1,\) .* gives nan"),
        ([1.0, INF], [1.0, -INF], r"is -inf at \(1,\) .* gives inf"),
        ([0.0, 0.0], [0.0, 0.0], None),
        ([], [], None),
        ([1.0, 2.0], [[1.0, 2.0]], r"is \(1, 2\) for .* gives \(2,\)"),
        (np.array([3, 4]), np.array([3, 4]), None),
        (np.array([3, 4]), np.array([3, 5]), r"is 5 at \(1,\) .* gives 4"),
        (np.array(["cat"], dtype=object), np.array(["dog"], dtype=object), r"is dog at \(0,\) .* gives cat"),
        (np.array([200, 3], dtype=np.uint8), np.array([200, 4], dtype=np.uint8), r"is 4 at \(1,\)"),
        ([{1: 0.5, 2: 0.25}], [{2: 0.25, 1: 0.5}], None),
        ([{1: 0.5, 2: 0.25}], [{2: 0.5, 1: 0.25}], r"is 0\.25 at \(0, 0\) .* gives 0\.5"),
        ([np.ones(2, np.float32), np.ones(3, np.float32)], [np.ones(2, np.float32), np.zeros(3, np.float32)], "is 0"),
    ],
)
def test_what_counts_as_different(said: object, found: object, message: str | None) -> None:
    def values(value: object) -> object:
        return (
            np.array(value)
            if isinstance(value, list) and not any(isinstance(v, dict | np.ndarray) for v in value)
            else value
        )

    outputs = ({"a photograph": {"y": values(said)}}, {"a photograph": {"y": values(found)}})
    if message is None:
        assert compare_outputs(*outputs, 1e-3)["max_relative_difference"] <= 1e-3  # type: ignore[arg-type]
        return
    with pytest.raises(FidelityError, match=f"output 'y' {message}"):
        compare_outputs(*outputs, 1e-3)  # type: ignore[arg-type]


def test_indices_beside_numbers_are_left_to_them() -> None:
    """Which of two nearly equal numbers is the larger, rounding decides."""
    said = {"noise": {"values": np.array([0.5, 0.4999999]), "order": np.array([0, 1])}}
    found = {"noise": {"values": np.array([0.5000001, 0.5]), "order": np.array([1, 0])}}
    assert compare_outputs(said, found, 1e-3)["outputs"] == ["values"]


def test_a_file_that_onnx_runtime_does_not_open_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"ONNX Runtime cannot open .*model\.onnx as it is: "):
        runtime.open_as_it_is(path)
