"""Tensors side by side."""

from __future__ import annotations

import pytest
from heads import assert_refused, check

FASTAI = "a = GlobalAveragePool (f) m = GlobalMaxPool (f) p = Concat <axis = 1> ({}) v = Flatten (p) "
CASES = {
    "average and maximum": FASTAI.format("m, a") + "logits = Gemm (v, w_8x5, b_5)",
    "average and maximum, flattened first": "a = GlobalAveragePool (f) m = GlobalMaxPool (f) b = Flatten (a) "
    "n = Flatten (m) v = Concat <axis = -1> (b, n) logits = Gemm (v, w_8x5, b_5)",
    "fastai's head": FASTAI.format("m, a") + "n = BatchNormalization (v, w_8, b_8, w_8, p_8) "
    "h = MatMul (n, w_8x6) r = Relu (h) k = BatchNormalization (r, w_6, b_6, w_6, p_6) logits = MatMul (k, w_6x5)",
    "with the map": "r = Relu (f) c = Concat <axis = 1> (r, f) p = GlobalAveragePool (c) v = Flatten (p) "
    "logits = MatMul (v, w_8x5)",
    "along rows": "r = Relu (f) c = Concat <axis = 2> (f, r) v = Flatten (c) logits = MatMul (v, w_48x5)",
    "along columns, of several lengths": "r = MaxPool <kernel_shape = [1, 2]> (f) c = Concat <axis = -1> (f, r) "
    "v = Flatten (c) logits = MatMul (v, w_36x5)",
    "logits": "v = Flatten (f) a = MatMul (v, w_24x2) b = Gemm (v, w_24x3, b_3) logits = Concat <axis = 1> (a, b)",
    "three": "v = Flatten (f) a = MatMul (v, w_24x2) b = Relu (a) c = Abs (a) h = Concat <axis = 1> (a, b, c) "
    "logits = MatMul (h, w_6x5)",
    "one alone": "v = Flatten (f) h = Concat <axis = 1> (v) logits = MatMul (h, w_24x5)",
}


@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_head(body: str) -> None:
    found = check(body)
    assert not found.gap.any()


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_versions(opset: int) -> None:
    check(CASES["average and maximum"], opset=opset)


def test_half_precision() -> None:
    check(CASES["fastai's head"], half=True, tolerance=2e-2)


@pytest.mark.parametrize("layout", ["NHWC", "NLC"])
def test_pools_of_channels_last(layout: str) -> None:
    axes = {"NHWC": "i_1_2", "NLC": "i_1"}[layout]
    body = f"a = ReduceMean <keepdims = 0> (f, {axes}) m = ReduceMax <keepdims = 0> (f, {axes}) "
    check(body + "v = Concat <axis = 1> (a, m) logits = MatMul (v, w_8x5)", layout=layout)


def test_a_tensor_with_itself_is_refused() -> None:
    assert_refused(
        "g = Relu (f) c = Concat <axis = 1> (f, f) v = Flatten (c) logits = MatMul (v, w_48x5)", "a tensor with itself"
    )


def test_along_the_batch() -> None:
    assert_refused("g = Relu (f) c = Concat <axis = 0> (f, g) v = Flatten (c) logits = MatMul (v, w_24x5)",
                   "along the batch")  # fmt: skip
