"""Gemm and MatMul in all their spellings, on vectors, tokens and maps."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, answer, assert_refused, check, constants_of, same

FLAT = "v = Flatten (f) "
TOKENS = "p = ReduceMean <keepdims = 0> (y, i_1) "

HEADS = {
    "transB": FLAT + "logits = Gemm <transB = 1> (v, w_5x24, b_5)",
    "plain": FLAT + "logits = Gemm (v, w_24x5, b_5)",
    "no bias": FLAT + "logits = Gemm (v, w_24x5)",
    "alpha": FLAT + "logits = Gemm <alpha = 0.3> (v, w_24x5, b_5)",
    "alpha, beta, transB": FLAT + "logits = Gemm <alpha = 0.3, beta = -2.0, transB = 1> (v, w_5x24, b_5)",
    "beta 0": FLAT + "logits = Gemm <beta = 0.0> (v, w_24x5, b_5)",
    "bias as a row": FLAT + "logits = Gemm (v, w_24x5, b_1x5)",
    "one number as bias": FLAT + "logits = Gemm (v, w_24x5, b_1)",
    "one number as bias, 1 x 1": FLAT + "logits = Gemm (v, w_24x5, b_1x1)",
    "matmul": FLAT + "logits = MatMul (v, w_24x5)",
    "matmul, add": FLAT + "m = MatMul (v, w_24x5) logits = Add (m, b_5)",
    "matmul, add the other way, a row": FLAT + "m = MatMul (v, w_24x5) logits = Add (b_1x5, m)",
    "two": FLAT + "h = Gemm (v, w_24x7, b_7) logits = Gemm <transB = 1, alpha = 0.7> (h, w_5x7, b_5)",
    "two, both alpha and beta": FLAT
    + "h = Gemm <alpha = 1.3, beta = 0.6, transB = 1> (v, w_7x24, b_7) logits = MatMul (h, w_7x5)",
    "weights turned": FLAT + "t = Transpose (w_5x24) logits = MatMul (v, t)",
    "weights that are computed from constants": FLAT + "s = Mul (w_24x5, p_24x1) logits = MatMul (v, s)",
    "last axes of length one": FLAT + "l = Gemm (v, w_24x5, b_5) logits = Unsqueeze (l, i_2_3)",
    "first axes of length one": FLAT + "l = Gemm (v, w_24x5, b_5) logits = Unsqueeze (l, i_1)",
    "on tokens": "c = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (c) y = MatMul (t, w_4x7) "
    + TOKENS
    + "logits = MatMul (p, w_7x5)",
    "on tokens, before they are flattened": "c = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (c) "
    "y = MatMul (t, w_4x7) a = Add (y, b_7) v = Flatten (a) logits = MatMul (v, w_42x5)",
    "across tokens": "c = Reshape (f, i_0_0_m1) y = MatMul (c, w_6x7) v = Flatten (y) logits = MatMul (v, w_28x5)",
    "across tokens, mean over them": "c = Reshape (f, i_0_0_m1) y = MatMul (c, w_6x7) "
    "p = ReduceMean <keepdims = 0> (y, i_2) logits = MatMul (p, w_4x5)",
    "classes of one token": "c = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (c) "
    "p = ReduceMean <keepdims = 1> (t, i_1) logits = MatMul (p, w_4x5)",
    "classes of one token, two layers": "c = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (c) "
    "p = ReduceMean <keepdims = 1> (t, i_1) m = MatMul (p, w_4x7) a = Add (m, b_7) r = Relu (a) "
    "n = MatMul (r, w_7x5) logits = Add (n, b_5)",
    "one number a class": FLAT + "g = MatMul (v, w_24x20) u = Reshape (g, i_0_5_4) logits = MatMul (u, w_4x1)",
    "one number a class, bias": FLAT
    + "g = MatMul (v, w_24x20) u = Reshape (g, i_0_5_4) m = MatMul (u, w_4x1) a = Add (m, b_5x1) "
    + "logits = Squeeze (a, i_2)",
}


@pytest.mark.parametrize("body", HEADS.values(), ids=HEADS)
def test_head(body: str) -> None:
    check(body)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 22])
def test_versions(opset: int) -> None:
    check(HEADS["two"], opset=opset)


@pytest.mark.parametrize("body", [HEADS["two"], HEADS["alpha, beta, transB"], HEADS["matmul, add"]])
def test_half_precision(body: str) -> None:
    check(body, half=True)


@pytest.mark.parametrize("layout", ["NHWC", "NLC"])
def test_channels_last(layout: str) -> None:
    axes = {"NHWC": "i_1_2", "NLC": "i_1"}[layout]
    body = f"y = MatMul (f, w_4x7) p = ReduceMean <keepdims = 0> (y, {axes}) logits = MatMul (p, w_7x5)"
    found = check(body, layout=layout)
    assert found.head.kind == "fc + gap + fc"


def test_bias_is_the_gradient_times_the_constants() -> None:
    body = FLAT + "h = Gemm (v, w_24x7, b_7) logits = Gemm <transB = 1, beta = 0.5> (h, w_5x7, b_5)"
    found, values = answer(body), constants_of(body)
    wanted = values["b_5"] * 0.5 + values["w_5x7"] @ values["b_7"]
    np.testing.assert_allclose(found.bias, wanted[CLASS_IDS_ASKED], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("logits = Gemm (v, w_24x5, b_3x5)", "differs between the images of a batch"),
        ("logits = Gemm (v, w_24x5, b_3x1)", "differs between the images of a batch"),
        ("t = Transpose (v) logits = Gemm <transA = 1> (t, w_24x5)", "transposes its input"),
        (
            "g = MatMul (v, w_24x20) u = Reshape (g, i_0_4_5) logits = MatMul (u, w_3x5x1)",
            "a fully connected layer has 2",
        ),
        (
            "h = MatMul (v, w_24x5) s = Sigmoid (h) r = Reshape (s, i_m1_5) logits = Gemm (v, w_24x5, r)",
            "bias is computed",
        ),
    ],
)
def test_refused(body: str, reason: str) -> None:
    assert_refused(FLAT + body, reason, batch=3)


@pytest.mark.parametrize("body", ["{} <transB = 1> (v, w_5x24, b_5)", "{} <alpha = 0.5, beta = 2.0> (v, w_24x5, b_5)"])
def test_gemm_with_a_relu_of_onnxruntime(body: str) -> None:
    layer = body.format("com.microsoft.FusedGemm").replace("<", '<activation = "Relu", ')
    tail = "logits = Gemm (h, w_5x5, b_5)"
    same(FLAT + f"h = {layer} {tail}", FLAT + f"l = {body.format('Gemm')} h = Relu (l) {tail}", opset=18)


def test_product_of_onnxruntime() -> None:
    body = FLAT + "logits = {} (v, w_24x5) "
    scaled = body.format("com.microsoft.FusedMatMul <alpha = 0.5>")
    same(scaled, FLAT + "l = MatMul (v, w_24x5) logits = Mul (l, c_0p5)", opset=18)


def test_other_fused_activations_are_refused() -> None:
    layer = 'com.microsoft.FusedGemm <activation = "Tanh"> (v, w_24x5, b_5)'
    assert_refused(FLAT + f"h = {layer} logits = Gemm (h, w_5x5, b_5)", "Tanh is fused into it")
