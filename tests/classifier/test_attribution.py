"""Running the contribution model: integrated gradients, static batches, many classes, and what each algebra allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from heads import answer, build, differences
from onnx import numpy_helper
from tiny_models import classifier

from secam_onnx import Explainer, runtime
from secam_onnx.classifier.attribution import ATTRIBUTIONS, Attribution, choose_attribution
from secam_onnx.errors import OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.head import contribution_model, find_head
from secam_onnx.head_query import HeadQuery

FEATURES = np.random.default_rng(8).standard_normal((2, 4, 3, 2)).astype(np.float32)
CLASS_IDS = np.array([[4, 0, 2], [1, 1, 3]])

FLAT = "v = Flatten (f) "
SMOOTH = {  # tolerance relative to the largest logit or cell
    "gelu": (FLAT + "h = Gemm (v, w_24x8, b_8) a = Gelu (h) logits = Gemm (a, w_8x5, b_5)", 20, 1e-4),
    "gelu by tanh": (
        FLAT + 'h = Gemm (v, w_24x8, b_8) a = Gelu <approximate = "tanh"> (h) logits = MatMul (a, w_8x5)',
        20,
        1e-4,
    ),
    "tanh, sigmoid": (
        FLAT
        + "h = Gemm (v, w_24x8, b_8) a = Tanh (h) g = MatMul (a, w_8x7) s = Sigmoid (g) logits = MatMul (s, w_7x5)",
        18,
        1e-3,
    ),
    "silu": (FLAT + "h = Gemm (v, w_24x8, b_8) g = Sigmoid (h) a = Mul (h, g) logits = Gemm (a, w_8x5, b_5)", 18, 1e-4),
    "hard swish": (FLAT + "h = Gemm (v, w_24x8, b_8) a = HardSwish (h) logits = Gemm (a, w_8x5, b_5)", 18, 5e-2),
    "layer norm, epsilon 1e-6": (
        "p = GlobalAveragePool (f) v = Flatten (p) "
        "n = LayerNormalization <epsilon = 0.000001> (v, w_4, b_4) logits = Gemm (n, w_4x5, b_5)",
        18,
        1e-3,
    ),
    "layer norm, epsilon 0.1": (
        "p = GlobalAveragePool (f) v = Flatten (p) n = LayerNormalization <epsilon = 0.1> (v, w_4, b_4) "
        "logits = Gemm (n, w_4x5, b_5)",
        18,
        1e-3,
    ),
    "layer norm at every position": (
        "t = Transpose <perm = [0, 2, 3, 1]> (f) "
        "n = LayerNormalization <epsilon = 0.00001> (t, w_4, b_4) "
        "p = ReduceMean <keepdims = 0> (n, i_1_2) logits = MatMul (p, w_4x5)",
        18,
        1e-3,
    ),
}
RELU = FLAT + "h = Gemm (v, w_24x8, b_8) r = Relu (h) logits = Gemm (r, w_8x5, b_5)"


def attribution(body: str, way: str, *, opset: int = 18, batch: int | None = None) -> Attribution:
    graph = Graph(build(body, opset=opset, batch=batch or "N"))
    derived = contribution_model(graph, find_head(graph, HeadQuery(features="f")), masking=way == "masking")
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    return Attribution(session, way, batch)


def integral(body: str, opset: int, features: np.ndarray) -> np.ndarray:
    """`f . integral of J(a f) da`, `(classes, h, w)`: 2000 steps of the midpoint rule, denser "
    "near zero, by differences."""
    t = (np.arange(2000) + 0.5) / 2000
    a, width = t**10, 10 * t**9 / 2000
    jacobian = differences(build(body, opset=opset), "logits", a[:, None, None, None] * features, "NCHW")
    return (np.tensordot(width, jacobian, axes=1) * features).sum(axis=1)


@pytest.mark.parametrize(("body", "opset", "tolerance"), SMOOTH.values(), ids=SMOOTH)
def test_integrated_gradients(body: str, opset: int, tolerance: float) -> None:
    maps, bias = attribution(body, "integrated", opset=opset)((FEATURES,), CLASS_IDS)
    for own, found, ids in zip(FEATURES, maps, CLASS_IDS, strict=True):
        wanted = integral(body, opset, own)[ids]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    whole, zero = (logits(body, opset, features) for features in (FEATURES, 0 * FEATURES))
    np.testing.assert_allclose(bias, zero, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, whole, rtol=0, atol=tolerance * np.abs(whole).max())


def logits(body: str, opset: int, features: np.ndarray) -> np.ndarray:
    (values,) = runtime.open_session(build(body, opset=opset).SerializeToString(), "cpu").run(None, {"x": features})
    return np.take_along_axis(values, CLASS_IDS, axis=1)


def test_of_a_piecewise_linear_head_both_ways_are_complete() -> None:
    wanted = logits(RELU, 18, FEATURES)
    for way, tolerance in (("gradient", 1e-5), ("integrated", 2e-2)):
        maps, bias = attribution(RELU, way)((FEATURES,), CLASS_IDS)
        np.testing.assert_allclose(maps.sum((2, 3)) + bias, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_the_gradient_of_a_linear_head_is_its_integral() -> None:
    body = "p = GlobalAveragePool (f) v = Flatten (p) logits = Gemm (v, w_4x5, b_5)"
    (one, bias), (other, other_bias) = (
        attribution(body, way)((FEATURES,), CLASS_IDS) for way in ("gradient", "integrated")
    )
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, other_bias, rtol=1e-5)


@pytest.mark.parametrize("way", ATTRIBUTIONS)
@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_static_batches(batch: int, way: str) -> None:
    wanted = attribution(RELU, way)((FEATURES,), CLASS_IDS)
    found = attribution(RELU, way, batch=batch)((FEATURES,), CLASS_IDS)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ATTRIBUTIONS)
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_many_classes_run_in_parts(batch: int | None, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.random.default_rng(0).integers(0, 5, (2, 17))
    whole = attribution(RELU, way, batch=batch)((FEATURES,), classes)
    monkeypatch.setattr("secam_onnx.classifier.attribution._GRADIENTS_AT_ONCE", 4)
    parts = attribution(RELU, way, batch=batch)((FEATURES,), classes)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch", "images", "classes", "shapes"), [
    (None, 3, 10, [(3, 10)]),
    (None, 30, 10, [(25, 10), (5, 10)]),
    (None, 2, 300, [(1, 256), (1, 44)] * 2),
    (2, 3, 200, [(2, 128), (2, 72)] * 2),
    (300, 1, 2, [(300, 1)] * 2),
])  # fmt: skip
def test_no_run_has_too_many_gradients_or_any_for_nothing(
    batch: int | None, images: int, classes: int, shapes: list[tuple[int, int]]
) -> None:
    """Only a static batch is filled up."""
    seen = []

    class Session:
        def run(self, names: list[str], feeds: dict[str, np.ndarray], options: object) -> list[np.ndarray]:
            ids = feeds["secam_class_ids"]
            assert len(feeds["secam_features"]) == len(ids)
            seen.append(ids.shape)
            return [np.zeros((*ids.shape, 1, 1)), np.zeros(ids.shape), np.zeros(ids.shape)]

    maps, bias, gap = Attribution(Session(), "gradient", batch).local(
        (np.zeros((images, 4, 1, 1), np.float32),), np.zeros((images, classes), np.int64)
    )
    assert seen == shapes
    assert (maps.shape, bias.shape, gap.shape) == ((images, classes, 1, 1), (images, classes), (images, classes))


def test_half_precision_is_integrated_too() -> None:
    body = SMOOTH["silu"][0]
    graph = Graph(build(body, half=True))
    derived = contribution_model(graph, find_head(graph, HeadQuery(features="f")))
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    maps, bias = Attribution(session, "integrated")((FEATURES,), CLASS_IDS)
    wanted, bias_wanted = attribution(body, "integrated")((FEATURES,), CLASS_IDS)
    np.testing.assert_allclose(maps, wanted, atol=2e-2 * np.abs(wanted).max())
    np.testing.assert_allclose(bias, bias_wanted, atol=2e-2)


def test_what_each_algebra_allows() -> None:
    assert [choose_attribution(algebra) for algebra in ("piecewise linear", "detached", "smooth", "unknown")] == [
        "gradient", "detached", "integrated", "masking",
    ]  # fmt: skip
    for wanted in ATTRIBUTIONS.keys() - {"detached"}:
        assert {choose_attribution(algebra, wanted) for algebra in ("piecewise linear", "smooth")} == {wanted}
    assert choose_attribution("unknown", "masking") == choose_attribution("detached", "masking") == "masking"
    for wanted in ("gradient", "integrated"):
        with pytest.raises(OptionError, match="attention weights are held; it allows 'detached' and 'masking'"):
            choose_attribution("detached", wanted)
    with pytest.raises(OptionError, match="'detached' is for heads behind attention; this head has none"):
        choose_attribution("smooth", "detached")
    for wanted in ("gradient", "integrated"):
        with pytest.raises(OptionError, match=f"Attribution '{wanted}' needs a head whose every node is understood"):
            choose_attribution("unknown", wanted)
    with pytest.raises(
        OptionError, match="Unknown attribution 'guess'; there are gradient, detached, integrated, masking"
    ):
        choose_attribution("smooth", "guess")


def test_the_algebra_of_a_head_is_that_of_its_worst_step() -> None:
    assert answer(RELU).head.algebra == "piecewise linear"
    assert answer(RELU.replace("Relu", "Tanh")).head.algebra == "smooth"


def smooth(op: str, folder: Path) -> Path:
    """GAP, the operator, FC."""
    model = classifier("gap+sin+fc")
    (node,) = (node for node in model.graph.node if node.op_type == "Sin")
    node.op_type = op
    if op == "LayerNormalization":
        node.input.append("scale")
        channels = numpy_helper.to_array(model.graph.initializer[0]).shape[0]
        scale = np.linspace(0.5, 1.5, channels, dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(scale, "scale"))
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("op", ["HardSwish", "Tanh", "LayerNormalization"])
def test_the_default_of_smooth_heads_adds_up(op: str, tmp_path: Path, chelsea: np.ndarray) -> None:
    explanation = Explainer(smooth(op, tmp_path), providers="cpu").explain(chelsea, "all")
    assert explanation.method["attribution"] == ATTRIBUTIONS["integrated"]
    assert explanation.completeness_error < 1e-2


def test_the_gradient_through_a_layer_normalisation_adds_up_to_nothing(tmp_path: Path, chelsea: np.ndarray) -> None:
    """Which is why it is not the default."""
    explanation = Explainer(smooth("LayerNormalization", tmp_path), providers="cpu", attribution="gradient").explain(
        chelsea, "all"
    )
    total, size = explanation.cam.sum(axis=(1, 2)), np.abs(explanation.cam).sum(axis=(1, 2))
    assert np.abs(total).max() < 1e-2 * size.max()
    assert explanation.method["attribution"] == ATTRIBUTIONS["gradient"]
