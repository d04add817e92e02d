"""Heads behind attention: attention weights, divisors and gates are held, and everything else is linear."""

from __future__ import annotations

import numpy as np
import pytest
from heads import build
from held_heads import check_held
from onnx import numpy_helper

from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head

# Six tokens of four channels; z is their mean, five classes.
FC = "z = ReduceMean <keepdims = 0> (t, i_1) logits = MatMul (z, w_4x5)"
ATTEND = (
    "q = MatMul (f, w_4x4) u = Add (q, b_4) k = Transpose <perm = [0, 2, 1]> (u) s = MatMul (f, k) "
    "a = Softmax <axis = -1> (s) v = MatMul (f, w_4x4) t = MatMul (a, v) "
)
"""From the tokens f to t, which attention has mixed by the weights a."""
HEADS = (
    "q = MatMul (f, w_4x4) r = Reshape (q, i_0_6_2_2) h = Transpose <perm = [0, 2, 1, 3]> (r) "
    "k = Transpose <perm = [0, 1, 3, 2]> (h) s = MatMul (h, k) "
)
"""Scores (N, 2, 6, 6) of two heads."""
BACK = "o = Transpose <perm = [0, 2, 1, 3]> (y) t = Reshape (o, i_0_6_4) "


WEIGHTS = {
    "attention": (ATTEND + FC, "a"),
    "two heads": (HEADS + "a = Softmax <axis = -1> (s) y = MatMul (a, h) " + BACK + FC, "a"),
    "values first, as LeViT": (
        HEADS + "a = Softmax <axis = -1> (s) b = Transpose <perm = [0, 1, 3, 2]> (a) "
        "y = MatMul (k, b) o = Transpose <perm = [0, 3, 1, 2]> (y) t = Reshape (o, i_0_6_4) " + FC,
        "a",
    ),
    "talking heads": (
        HEADS + "p = Softmax <axis = -1> (s) m = Transpose <perm = [0, 2, 3, 1]> (p) n = MatMul (m, w_2x2) "
        "l2 = Add (n, b_2) a = Transpose <perm = [0, 3, 1, 2]> (l2) y = MatMul (a, h) " + BACK + FC,
        "p",
    ),
    "masked": (HEADS + "l2 = Add (s, b_6x6) a = Softmax <axis = -1> (l2) y = MatMul (a, h) " + BACK + FC, "a"),
    "query, key and value side by side, as timm": (
        "j = MatMul (f, w_4x12) r = Reshape (j, i_0_6_3_2_2) g2 = Transpose <perm = [2, 0, 3, 1, 4]> (r) "
        "q = Gather (g2, index_0) k = Gather (g2, index_1) v = Gather (g2, index_2) "
        "l2 = Transpose <perm = [0, 1, 3, 2]> (k) s = MatMul (q, l2) a = Softmax <axis = -1> (s) y = MatMul (a, v) "
        + BACK
        + FC,
        "a",
    ),
    "query, key and value split": (
        "j = MatMul (f, w_4x12) q, k, v = Split <axis = -1> (j, i_4_4_4) l2 = Transpose <perm = [0, 2, 1]> (k) "
        "s = MatMul (q, l2) a = Softmax <axis = -1> (s) t = MatMul (a, v) " + FC,
        "a",
    ),
    "batch behind the tokens, as torchvision": (
        "g2 = Transpose <perm = [1, 0, 2]> (f) v = MatMul (g2, w_4x4) r = Reshape (v, i_6_m1_2) "
        "h = Transpose <perm = [1, 0, 2]> (r) k = Transpose <perm = [0, 2, 1]> (h) s = MatMul (h, k) "
        "a = Softmax <axis = -1> (s) y = MatMul (a, h) o = Transpose <perm = [1, 0, 2]> (y) "
        "n = Reshape (o, i_6_m1_4) t = Transpose <perm = [1, 0, 2]> (n) " + FC,
        "a",
    ),
    "products by letters, as torchvision's MaxViT": (
        'r = Reshape (f, i_0_2_3_4) s = Einsum <equation = "b g i d, b g j d -> b g i j"> (r, r) '
        "a = Softmax <axis = -1> (s) v = MatMul (r, w_4x4) "
        'y = Einsum <equation = "b g i j, b g j d -> b g i d"> (a, v) t = Reshape (y, i_0_6_4) ' + FC,
        "a",
    ),
    "products by letters, windows before the batch": (
        "r = Reshape (f, i_0_2_3_4) g2 = Transpose <perm = [1, 0, 2, 3]> (r) "
        's = Einsum <equation = "gbid,gbjd->gbij"> (g2, g2) a = Softmax <axis = -1> (s) '
        'y = Einsum <equation = "gbij,gbjd->gbid"> (a, g2) o = Transpose <perm = [1, 0, 2, 3]> (y) '
        "t = Reshape (o, i_0_6_4) " + FC,
        "a",
    ),
    "talking heads by letters, a constant operand": (
        HEADS
        + "a = Softmax <axis = -1> (s) y = MatMul (a, h) "
        + BACK
        + 'u = Einsum <equation = "btc,cd->btd"> (t, w_4x4) z = ReduceMean <keepdims = 0> (u, i_1) '
        "logits = MatMul (z, w_4x5)",
        "a",
    ),
    "windows, shifted and padded, as Swin": (
        "g2 = Reshape (f, i_0_3_2_4) n = Pad (g2, i_0_0_0_0_0_1_0_0) one = Slice (n, i_1, i_4, i_1) "
        "other = Slice (n, i_0, i_1, i_1) m = Concat <axis = 1> (one, other) w = Reshape (m, i_m1_2_2_1_2_4) "
        "x3 = Transpose <perm = [0, 1, 3, 2, 4, 5]> (w) h = Reshape (x3, i_m1_4_4) "
        "k = Transpose <perm = [0, 2, 1]> (h) s = MatMul (h, k) a = Softmax <axis = -1> (s) y = MatMul (a, h) "
        "b = Reshape (y, i_m1_2_1_2_2_4) d = Transpose <perm = [0, 1, 3, 2, 4, 5]> (b) "
        "o = Reshape (d, i_m1_4_2_4) e = Slice (o, i_0, i_3, i_1) t = Reshape (e, i_0_6_4) " + FC,
        "a",
    ),
    "a class token, repeated by the shape": (
        "n = Shape <start = 0, end = 1> (f) d = Concat <axis = 0> (n, i_1_4) c = Expand (b_1x1x4, d) "
        "f7 = Concat <axis = 1> (c, f) k = Transpose <perm = [0, 2, 1]> (f7) s = MatMul (f7, k) "
        "a = Softmax <axis = -1> (s) y = MatMul (a, f7) t = Add (y, f7) z = Gather <axis = 1> (t, index_0) "
        "logits = MatMul (z, w_4x5)",
        "a",
    ),
    "class attention, as CaiT": (
        "n = Shape <start = 0, end = 1> (f) d = Concat <axis = 0> (n, i_1_4) c = Expand (b_1x1x4, d) "
        "u = Concat <axis = 1> (c, f) q = Slice (u, i_0, i_1, i_1) k = Transpose <perm = [0, 2, 1]> (u) "
        "s = MatMul (q, k) a = Softmax <axis = -1> (s) y = MatMul (a, u) m = Mul (y, w_4) t = Add (c, m) "
        "z = Gather <axis = 1> (t, index_0) logits = MatMul (z, w_4x5)",
        "a",
    ),
    "bounds computed from shapes": (
        ATTEND + "n = Shape <start = 1, end = 2> (t) e = Div (n, i_2) h = Slice (t, e, n, i_1) "
        "z = ReduceMean <keepdims = 0> (h, i_1) logits = MatMul (z, w_4x5)",
        "a",
    ),
    "attention pool in rows": (
        "n = Transpose <perm = [1, 0, 2]> (f) r = Reshape (n, i_6_m1_2) h = Transpose <perm = [1, 0, 2]> (r) "
        "k = Transpose <perm = [0, 2, 1]> (h) s = MatMul (b_2x1x2, k) a = Softmax <axis = -1> (s) "
        "y = MatMul (a, h) o = Transpose <perm = [1, 0, 2]> (y) e = Reshape (o, i_m1_4) "
        "g2 = Gemm <transB = 1> (e, w_4x4, b_4) t = Reshape (g2, i_1_m1_4) j = Transpose <perm = [1, 0, 2]> (t) "
        "z = Gather <axis = 1> (j, index_0) logits = MatMul (z, w_4x5)",
        "a",
    ),
}


@pytest.mark.parametrize(("body", "hold"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights(body: str, hold: str) -> None:
    check_held(body, [hold])


TOKENS = "z = ReduceMean <keepdims = 0> (y, i_1) logits = MatMul (z, w_4x5)"
NORM = "e = ReduceMean (t, i_m1) d = Sub (t, e) q2 = Mul (d, d) r2 = ReduceMean (q2, i_m1) r3 = Add (r2, c_0p00001) "
GATES = {
    "layer norm": (
        "y = LayerNormalization <axis = -1> (t, w_4, b_4) ",
        NORM + "h = Sqrt (r3) n = Div (d, h) m = Mul (n, w_4) y = Add (m, b_4) ",
    ),
    "layer norm, written out": (NORM + "h = Sqrt (r3) n = Div (d, h) m = Mul (n, w_4) y = Add (m, b_4) ", ""),
    "layer norm, with a reciprocal": (NORM + "o = Sqrt (r3) h = Reciprocal (o) y = Mul (d, h) ", ""),
    "RMS norm": ("q2 = Mul (t, t) r2 = ReduceMean (q2, i_m1) h = Sqrt (r2) y = Div (t, h) ", ""),
    "cosine": ("h = ReduceL2 (t, i_m1) y = Div (t, h) ", ""),
    "normalisation of length": (
        "y = LpNormalization <axis = -1, p = 2> (t) ",
        "h = ReduceL2 (t, i_m1) y = Div (t, h) ",
    ),
    "GELU, written out": ("r = Erf (t) s2 = Add (r, c_1) h = Mul (s2, c_0p5) y = Mul (t, h) ", ""),
    "SiLU": ("h = Sigmoid (t) y = Mul (t, h) ", ""),
    "hard swish": ("y = HardSwish (t) ", "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (t) y = Mul (t, h) "),
    "tanh": ("y = Tanh (t) ", "u2 = Tanh (t) h = Div (u2, t) y = Mul (t, h) "),
    "squeeze and excite": ("p2 = ReduceMean (t, i_1) h = Sigmoid (p2) y = Mul (t, h) ", ""),
}


@pytest.mark.parametrize(("body", "spelled"), GATES.values(), ids=GATES)
def test_gates_and_divisors(body: str, spelled: str) -> None:
    check_held(ATTEND + body + TOKENS, ["a", "h"], spelled=spelled and ATTEND + spelled + TOKENS)


def test_factors_without_a_gate_get_half_each() -> None:
    halves = "k3 = MatMul (t, w_4x4) h = Identity (t) h2 = Identity (k3) m = Mul (t, h2) n = Mul (k3, h) "
    check_held(
        ATTEND + "k3 = MatMul (t, w_4x4) y = Mul (t, k3) " + TOKENS,
        ["a", "h", "h2"],
        spelled=ATTEND + halves + "o = Add (m, n) y = Mul (o, c_0p5) " + TOKENS,
    )


def test_matrix_products_without_weights_get_half_each() -> None:
    context = "l2 = Softmax <axis = 1> (f) a = Transpose <perm = [0, 2, 1]> (l2) c = MatMul (a, f) "
    halves = "h = Identity (f) h2 = Identity (c) m = MatMul (f, h2) n = MatMul (h, c) o = Add (m, n) "
    check_held(
        context + "y = MatMul (f, c) " + TOKENS,
        ["a", "h", "h2"],
        spelled=context + halves + "y = Mul (o, c_0p5) " + TOKENS,
    )


MAPS = {
    "NCHW": (
        "r = Reshape (f, i_0_4_6) k = Transpose <perm = [0, 2, 1]> (r) s = MatMul (k, r) a = Softmax <axis = -1> (s) "
        "y = MatMul (a, k) z = ReduceMean <keepdims = 0> (y, i_1) logits = MatMul (z, w_4x5)"
    ),
    "NHWC": (
        "k = Reshape (f, i_0_6_4) r = Transpose <perm = [0, 2, 1]> (k) s = MatMul (k, r) a = Softmax <axis = -1> (s) "
        "y = MatMul (a, k) z = ReduceMean <keepdims = 0> (y, i_1) logits = MatMul (z, w_4x5)"
    ),
    "query, key and value of a convolution, one head, as CoAtNet": (
        "c = Conv (f, w_12x4x1x1, b_12) r = Reshape (c, i_0_1_12_6) q = Slice (r, i_0, i_4, i_2) "
        "k = Slice (r, i_4, i_8, i_2) v = Slice (r, i_8, i_12, i_2) o = Transpose <perm = [0, 1, 3, 2]> (q) "
        "s = MatMul (o, k) a = Softmax <axis = -1> (s) b = Transpose <perm = [0, 1, 3, 2]> (a) y = MatMul (v, b) "
        "e = Reshape (y, i_0_4_3_2) z = ReduceMean <keepdims = 0> (e, i_2_3) logits = MatMul (z, w_4x5)"
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name: str) -> None:
    head = check_held(MAPS[name], ["a"], layout="NHWC" if name == "NHWC" else "NCHW")
    assert head.attention == (1, 1)


def test_attention_pool_whose_query_is_the_mean_token() -> None:
    """As CLIP's ResNets: the mean is no class token, for what it says has places."""
    body = (
        "m = ReduceMean <keepdims = 1> (f, i_1) u = Concat <axis = 1> (m, f) e = Add (u, b_7x4) "
        "v = MatMul (e, w_4x4) q = Slice (e, i_0, i_1, i_1) k = Transpose <perm = [0, 2, 1]> (e) s = MatMul (q, k) "
        "a = Softmax <axis = -1> (s) y = MatMul (a, v) z = Squeeze (y, i_1) logits = MatMul (z, w_4x5)"
    )
    check_held(body, ["a"])
    model = build(body, layout="NLC", shape=(4, 3, 3))
    for tensor in model.graph.initializer:
        if tensor.name == "b_7x4":
            tensor.CopyFrom(numpy_helper.from_array(np.ones((10, 4), np.float32), "b_7x4"))
    head = find_head(Graph(model))
    assert head.algebra == "detached"
    assert (head.features, head.grid.special) == ("f", 0)
    assert ("e", "a token that is a mean of the others") in {(entry.tensor, entry.reason) for entry in head.rejected}
