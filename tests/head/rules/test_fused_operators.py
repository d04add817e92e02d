"""ONNX Runtime's own operators of transformers, and ONNX's Attention; held factors are worked out by hand, in numpy.

Each case is a piece between tokens `f` (N, L, C) and `h`; behind it follow attention, the mean and the classes. The
values come from ONNX Runtime's run of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from heads import build, constants_of
from onnx import ModelProto, helper

from secam_onnx import runtime
from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.head import BIAS, CAM, CLASS_IDS, FEATURES, GAP, Head, contribution_model, find_head
from secam_onnx.head.rules import HELD_RULES
from secam_onnx.head.understand import understand
from secam_onnx.head_query import HeadQuery

CLASSES = np.array([[4, 0, 2], [1, 1, 3]])
PLAIN = (
    "turned = Transpose <perm = [0, 2, 1]> (h) scores = MatMul (h, turned) weights = Softmax <axis = -1> (scores) "
    "mixed = MatMul (weights, h) "
)
MEAN = "m = ReduceMean <keepdims = 0> ({0}, i_1) logits = Gemm <transB = 1> (m, w_5x4, b_5)"
FIRST = "one = Slice ({0}, i_0, i_1, i_1) m = Squeeze (one, i_1) logits = Gemm <transB = 1> (m, w_5x4, b_5)"

Values = dict[str, np.ndarray]
Back = Callable[[np.ndarray, Values], np.ndarray]


class Case(NamedTuple):
    body: str
    back: Back
    """From the gradient (N, L, K, C) of `h` to that of `f`."""
    opset: int = 18


class Explained(NamedTuple):
    head: Head
    maps: np.ndarray
    bias: np.ndarray
    gap: np.ndarray
    values: Values


def model_of(body: str, opset: int = 18) -> ModelProto:
    model = build(body, layout="NLC", opset=opset)
    model.ir_version = 10
    for node in model.graph.node:
        node.output[:] = ["" if name.startswith("none") else name for name in node.output]
    return model


def explain(body: str, opset: int = 18) -> Explained:
    """Run the network alone, with all its tensors as outputs, and the contribution model on those that it takes."""
    model = model_of(body, opset)
    graph = Graph(model)
    head = find_head(graph, HeadQuery(features="f", token_grid=(3, 2)))
    assert head.algebra == "detached", head.rejected
    derived = contribution_model(graph, head)
    names = [name for node in model.graph.node for name in node.output if name and name != "logits"]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    x = np.random.default_rng(3).standard_normal((2, 4, 3, 2)).astype(np.float32)
    answers = runtime.open_session(model.SerializeToString(), "cpu").run(["logits", *names], {"x": x})
    values = dict(zip(["logits", *names], answers, strict=True)) | constants_of(body)
    # In a model for one image, what does not count images has an axis more; all tensors here do.
    saved = {name: values[tensor] for name, tensor in derived.saved.items()}
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    given = {FEATURES: x, CLASS_IDS: CLASSES, **saved}
    maps, bias, gap = session.run([CAM, BIAS, GAP], given)
    return Explained(head, maps, bias, gap, values)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def check(found: Explained, of_f: np.ndarray) -> None:
    """`of_f` is the gradient (N, L, K, C) of the classes that were asked for."""
    f, logits = found.values["f"], np.take_along_axis(found.values["logits"], CLASSES, axis=1)
    expected = np.einsum("nlkc,nlc->nkl", of_f, f - f.mean(1, keepdims=True))
    size = np.abs(expected).max()
    np.testing.assert_allclose(found.maps.reshape(2, 3, 6), expected, rtol=0, atol=1e-5 * size)
    assert not found.gap.any()
    total = found.maps.sum((2, 3)) + found.bias
    np.testing.assert_allclose(total, logits, rtol=0, atol=1e-5 * max(size, np.abs(logits).max()))


def of_classes(tail: str, values: Values) -> np.ndarray:
    """The gradient (N, L, K, C) of the tokens before the mean, or before the first is taken."""
    share = np.full(6, 1 / 6) if tail is MEAN else np.eye(6)[0]
    return share[None, :, None, None] * values["w_5x4"][CLASSES][:, None]


def norm(total: str, scale: str, epsilon: float, *, centred: bool = True) -> Back:
    def back(g: np.ndarray, v: Values) -> np.ndarray:
        s = v[total] - centred * v[total].mean(-1, keepdims=True)
        g = g * v[scale] / np.sqrt((s**2).mean(-1, keepdims=True) + epsilon)[:, :, None]
        return g - centred * g.mean(-1, keepdims=True)

    return back


def after(matrix: str, back: Back) -> Back:
    """`s = f + f matrix`, behind which `back` begins."""

    def whole(g: np.ndarray, v: Values) -> np.ndarray:
        of_sum = back(g, v)
        return of_sum + of_sum @ v[matrix].T

    return whole


def residual(matrix: str, back: Back) -> Back:
    """The same where `h` also has `s` itself added."""
    return after(matrix, lambda g, v: back(g, v) + g)


def gate(bias: str | None = None) -> Back:
    return lambda g, v: g * (v["h"] / (v["f"] + (v[bias] if bias else 0)))[:, :, None]


K = "k = MatMul (f, w_4x4) "
CASES = {
    # `s` is computed apart, so that the hand-made factors can read it.
    "skip": Case(
        K + "s = Add (f, k) h = com.microsoft.SkipLayerNormalization <epsilon = 0.1> (f, k, w_4, b_4)",
        after("w_4x4", norm("s", "w_4", 0.1)),
    ),
    "skip, epsilon left out": Case(
        K + "s = Add (f, k) h = com.microsoft.SkipLayerNormalization (f, k, w_4)", after("w_4x4", norm("s", "w_4", 0))
    ),
    "skip with a sum and a bias": Case(
        K + "y, none1, none2, s = com.microsoft.SkipLayerNormalization <epsilon = 0.1> (f, k, w_4, b_4, p_4) "
        "h = Add (y, s)",
        residual("w_4x4", norm("s", "w_4", 0.1)),
    ),
    "skip with a bias and no sum": Case(
        K + "d = Add (f, k) s = Add (d, p_4) h = com.microsoft.SkipLayerNormalization <epsilon = 0.1> "
        "(f, k, w_4, b_4, p_4)",
        after("w_4x4", norm("s", "w_4", 0.1)),
    ),
    "skip of itself": Case(
        "s = Add (f, f) h = com.microsoft.SkipLayerNormalization <epsilon = 0.1> (f, f, w_4, b_4)",
        lambda g, v: 2 * norm("s", "w_4", 0.1)(g, v),
    ),
    "skip of a constant": Case(
        "s = Add (f, w_6x4) h = com.microsoft.SkipLayerNormalization <epsilon = 0.1> (f, w_6x4, w_4, b_4)",
        norm("s", "w_4", 0.1),
    ),
    "skip, RMS": Case(
        K + "y, none1, none2, s = com.microsoft.SkipSimplifiedLayerNormalization <epsilon = 0.1> (f, k, w_4) "
        "h = Add (y, s)",
        residual("w_4x4", norm("s", "w_4", 0.1, centred=False)),
    ),
    "RMS": Case("h = SimplifiedLayerNormalization <epsilon = 0.1> (f, w_4)", norm("f", "w_4", 0.1, centred=False)),
    "RMS of ONNX": Case(
        "h = RMSNormalization <epsilon = 0.1> (f, w_4)", norm("f", "w_4", 0.1, centred=False), opset=23
    ),
    "bias and GELU": Case("h = com.microsoft.BiasGelu (f, b_4)", gate("b_4")),
    "GELU": Case("h = com.microsoft.Gelu (f)", gate()),
    "fast GELU": Case("h = com.microsoft.FastGelu (f)", gate()),
    "bias and fast GELU": Case("h = com.microsoft.FastGelu (f, b_4)", gate("b_4")),
    "quick GELU": Case("h = com.microsoft.QuickGelu <alpha = 1.7> (f)", gate()),
    "product with weights": Case(
        "h = com.microsoft.FusedMatMul <alpha = 0.5, transB = 1> (f, w_4x4)", lambda g, v: g @ v["w_4x4"] / 2
    ),
    "scores and attention": Case(
        "q = com.microsoft.FusedMatMul <alpha = 0.5, transB = 1> (f, f) p = Softmax <axis = -1> (q) "
        "h = com.microsoft.FusedMatMul <alpha = 3.0> (p, f)",
        lambda g, v: 3 * np.einsum("nls,nlkc->nskc", v["p"], g),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    case = CASES[name]
    found = explain(f"{case.body} {PLAIN} {MEAN.format('mixed')}", case.opset)
    weights = found.values["weights"]
    of_h = np.einsum("nls,nlkc->nskc", weights, of_classes(MEAN, found.values))
    check(found, case.back(of_h, found.values))


def test_sum_of_a_skip_is_a_place_to_cut() -> None:
    """Where nothing is asked for, the walk ends at the residual stream, of which the normalised one is made."""
    body = (
        K + "y, none1, none2, s = com.microsoft.SkipLayerNormalization (f, k, w_4, b_4) turned = Transpose "
        "<perm = [0, 2, 1]> (y) scores = MatMul (y, turned) weights = Softmax <axis = -1> (scores) "
        "mixed = MatMul (weights, y) h = Add (mixed, s) "
    )
    head = find_head(Graph(model_of(body + MEAN.format("h"))), HeadQuery(token_grid=(3, 2)))
    assert (head.features, head.attention) == ("s", (1, 1))


ATTENTION: dict[str, tuple[str, int]] = {
    "three tensors": ("h = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v)", 18),
    "three tensors, bias, mask and scale": (
        "h = com.microsoft.MultiHeadAttention <num_heads = 2, scale = 0.3> (q, k, v, b_12, , w_1x2x6x6)",
        18,
    ),
    "keys and values by heads": (
        "k5 = Reshape (k, i_0_6_2_2) v5 = Reshape (v, i_0_6_2_2) k4 = Transpose <perm = [0, 2, 1, 3]> (k5) "
        "v4 = Transpose <perm = [0, 2, 1, 3]> (v5) h = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k4, v4)",
        18,
    ),
    "packed": ("h = com.microsoft.Attention <num_heads = 2> (f, w_4x12, b_12)", 18),
    "packed, with mask and scale": (
        "h = com.microsoft.Attention <num_heads = 2, scale = 0.3> (f, w_4x12, b_12, , , w_1x2x6x6)",
        18,
    ),
    "ONNX": ("h = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)", 23),
    "ONNX, with mask and scale": (
        "h = Attention <q_num_heads = 2, kv_num_heads = 2, scale = 0.3> (q, k, v, w_1x2x6x6)",
        23,
    ),
    "ONNX by heads": (
        "q5 = Reshape (q, i_0_6_2_2) k5 = Reshape (k, i_0_6_2_2) v5 = Reshape (v, i_0_6_2_2) "
        "q4 = Transpose <perm = [0, 2, 1, 3]> (q5) k4 = Transpose <perm = [0, 2, 1, 3]> (k5) "
        "v4 = Transpose <perm = [0, 2, 1, 3]> (v5) h4 = Attention (q4, k4, v4) "
        "h5 = Transpose <perm = [0, 2, 1, 3]> (h4) h = Reshape (h5, i_0_6_4)",
        23,
    ),
    "ONNX, some count": (
        "counts = Greater (w_1x2x6x6, c_m0p5) h = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v, counts)",
        23,
    ),
}


def by_heads(x: np.ndarray) -> np.ndarray:
    return x.reshape(2, 6, 2, 2).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("tail", [MEAN, FIRST], ids=["mean", "class token"])
@pytest.mark.parametrize("name", ATTENTION)
def test_whole_attention(name: str, tail: str) -> None:
    body, opset = ATTENTION[name]
    projections = "q = MatMul (f, w_4x4) k = MatMul (f, p_4x4) v = MatMul (f, b_4x4) "
    found = explain(("" if "packed" in name else projections) + f"{body} {tail.format('h')}", opset)
    v = found.values
    f, bias = v["f"], v.get("b_12", np.zeros(12))
    matrices = (
        [v["w_4x12"][:, i : i + 4] for i in (0, 4, 8)] if "packed" in name else [v["w_4x4"], v["p_4x4"], v["b_4x4"]]
    )
    q, k, values = (by_heads(f @ matrix + bias[4 * i : 4 * i + 4]) for i, matrix in enumerate(matrices))
    scores = q @ k.swapaxes(2, 3) * (0.3 if "scale" in name else 1 / math.sqrt(2))
    if "mask" in name:
        scores = scores + v["w_1x2x6x6"]
    if "count" in name:
        scores = np.where(v["w_1x2x6x6"] > -0.5, scores, -np.inf)
    weights = softmax(scores)
    np.testing.assert_allclose(v["h"], (weights @ values).transpose(0, 2, 1, 3).reshape(2, 6, 4), atol=1e-5)
    of_h = of_classes(tail, v).reshape(2, 6, 3, 2, 2)
    of_values = np.einsum("nhls,nlkhc->nskhc", weights, of_h).reshape(2, 6, 3, 4)
    check(found, of_values @ matrices[2].T)


@pytest.mark.parametrize(
    ("body", "opset", "reason"),
    [
        ("h = com.microsoft.MultiHeadAttention <num_heads = 2, unidirectional = 1> (f, f, f)", 18, "unidirectional"),
        ("h = com.microsoft.Attention <num_heads = 2> (f, w_4x12, b_12, i_6_6)", 18, "masks padding"),
        ("h = Attention <q_num_heads = 4, kv_num_heads = 2> (f, k2, k2)", 23, "4 heads of queries and 2 of keys"),
        ("h = Attention <q_num_heads = 2, kv_num_heads = 2, is_causal = 1> (f, f, f)", 23, "is_causal"),
    ],
)
def test_attention_that_is_not_understood(body: str, opset: int, reason: str) -> None:
    model = model_of(f"k2 = MatMul (f, w_4x2) {body} {MEAN.format('h')}", opset)
    graph = Graph(model).for_one_image()
    with pytest.raises(HeadError, match=reason):
        understand(graph, graph.producer("h"), "h", HELD_RULES, exact=True)
