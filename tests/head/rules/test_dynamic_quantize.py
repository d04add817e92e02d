"""Fully connected layers in integers whose grid the run chooses: the gradient is that of the layer in floats."""

from __future__ import annotations

import numpy as np
import pytest
from heads import Answer, answer

CODES = np.random.default_rng(1).integers(0, 255, (24, 5), dtype=np.uint8)
SCALE, SCALES = np.float32(0.01), np.linspace(0.005, 0.02, 5, dtype=np.float32)
ZERO, ZEROS = np.uint8(117), np.arange(110, 115, dtype=np.uint8)
FEATURES = np.random.default_rng(5).standard_normal((3, 4, 3, 2)).astype(np.float32)

APART = (
    "v = Flatten (f) q, s, z = DynamicQuantizeLinear (v) i = MatMulInteger (q, codes, z{zero}) "
    "r = Cast <to = 1> (i) both = Mul ({scales}) y = Mul ({operands}) logits = Add (y, b_5)"
)
ORDERS = {
    "usual": APART.format(zero=", zero", scales="s, scale", operands="r, both"),
    "turned": APART.format(zero=", zero", scales="scale, s", operands="both, r"),
    "symmetric": APART.format(zero="", scales="s, scale", operands="r, both"),
    "fused": "v = Flatten (f) q, s, z = DynamicQuantizeLinear (v) "
    "logits = com.microsoft.MatMulIntegerToFloat (q, codes, s, scale, z, zero, b_5)",
    "fused whole": "v = Flatten (f) logits = com.microsoft.DynamicQuantizeMatMul (v, codes, scale, zero, b_5)",
}


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_gradient_is_that_of_floats(order: str, per_column: bool) -> None:
    scale, zero = (SCALES, ZEROS) if per_column else (SCALE, ZERO)
    used = 0 if order == "symmetric" else zero.astype(np.float32)
    found = answer(ORDERS[order], {"codes": CODES, "scale": scale, "zero": zero}, features=FEATURES)
    floats = {"w": (CODES.astype(np.float32) - used) * scale}
    plain = answer("v = Flatten (f) logits = Gemm (v, w, b_5)", floats, features=FEATURES)
    assert found.head.algebra == "rounded"
    np.testing.assert_allclose(found.maps, plain.maps, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.bias, plain.bias, rtol=1e-5, atol=1e-6)
    assert_adds_up(found, plain)


def assert_adds_up(found: Answer, plain: Answer) -> None:
    """Up to the gap, which is the difference from the layer in floats."""
    total = found.maps.sum(axis=(2, 3)) + found.bias + found.gap
    np.testing.assert_allclose(total, found.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.gap, found.logits - plain.logits, atol=1e-4)
    assert np.abs(found.gap).max() > 1e-3
