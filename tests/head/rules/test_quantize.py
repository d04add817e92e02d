"""QuantizeLinear, then DequantizeLinear: straight through the rounding; a grid that begins at zero is a ReLU."""

from __future__ import annotations

import numpy as np
import pytest
from heads import answer, assert_refused, fill

SCALE = {"scale": np.float32(0.05), "zero": np.uint8(128)}
PAIR = "q = QuantizeLinear (X, scale, zero) Y = DequantizeLinear (q, scale, zero)"


def _features() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((3, 4, 3, 2)).astype(np.float32)


def assert_adds_up(found) -> None:
    total = found.maps.sum(axis=(2, 3)) + found.bias + found.gap
    np.testing.assert_allclose(total, found.logits, rtol=1e-4, atol=1e-4)
    assert np.abs(found.gap).max() > 0


@pytest.mark.parametrize("place", ["dense", "uniform"])
def test_the_gradient_goes_straight_through_quantisation(place: str) -> None:
    plain, rounded = (
        answer(fill("Y = Identity (X)", place), features=(features := _features())),
        answer(fill(PAIR, place), SCALE, features=features, opset=19),
    )
    assert rounded.head.algebra == "rounded"
    np.testing.assert_allclose(rounded.maps, plain.maps, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rounded.bias, plain.bias, rtol=1e-5, atol=1e-6)
    assert_adds_up(rounded)


def test_beyond_the_ends_the_gradient_goes_on_and_the_gap_says_what_was_cut_off() -> None:
    features = _features()
    features[0, 0, 0, 0] = 100  # the grid ends at (255 - 128) * 0.05 = 6.35
    plain = answer(fill("Y = Identity (X)", "dense"), features=features)
    found = answer(fill(PAIR, "dense"), SCALE, features=features, opset=19)
    np.testing.assert_allclose(found.maps, plain.maps, rtol=1e-5, atol=1e-6)
    assert_adds_up(found)
    assert np.abs(found.gap[0]).max() > 10 * np.abs(found.gap[1:]).max()


@pytest.mark.parametrize("zero", [np.uint8(0), np.int8(-128), np.uint16(0), np.int16(-32768)], ids=str)
def test_a_grid_from_zero_on_is_a_relu(zero: np.generic) -> None:
    scale = np.float32(0.05 if zero.itemsize == 1 else 0.05 / 256)
    features = _features()
    features[np.abs(features) < 0.03] = 0.1  # there rounding has its own idea of zero
    relu = answer(fill("Y = Relu (X)", "dense"), features=features)
    found = answer(fill(PAIR, "dense"), {"scale": scale, "zero": zero}, features=features, opset=21)
    assert found.head.algebra == "rounded"
    np.testing.assert_allclose(found.maps, relu.maps, rtol=1e-5, atol=1e-6)
    assert_adds_up(found)


def test_it_is_called_a_relu_after_what_can_be_negative() -> None:
    body = "v = Flatten (f) h = Gemm (v, w_24x6, b_6) {} logits = Gemm (Y, w_6x5, b_5)".format(PAIR.replace("X", "h"))
    found = answer(body, {"scale": np.float32(0.05), "zero": np.uint8(0)}, opset=19)
    assert found.head.kind == "flatten + fc + relu + fc"
    assert answer(body, SCALE, opset=19).head.kind == "flatten + fc + fc"


@pytest.mark.parametrize(
    ("body", "constants", "reason"),
    [
        (
            "q = QuantizeLinear <axis = 1> (f, s, z) y = DequantizeLinear <axis = 1> (q, s, z)",
            {"s": np.full(4, 0.05, np.float32), "z": np.zeros(4, np.uint8)},
            "a scale for each channel",
        ),
        (
            "q = QuantizeLinear (f, s, z) y = DequantizeLinear (q, t, z)",
            {"s": np.float32(0.05), "t": np.float32(0.06), "z": np.uint8(3)},
            "different grids",
        ),
        (
            "q = QuantizeLinear (f, s, z) y = DequantizeLinear (q, s, u)",
            {"s": np.float32(0.05), "z": np.uint8(3), "u": np.uint8(4)},
            "different grids",
        ),
        (
            "q, s, z = DynamicQuantizeLinear (f) y = DequantizeLinear (q, s, z)",
            {},
            "the node before it is no QuantizeLinear",
        ),
    ],
)
def test_other_ways_to_quantise_are_refused(body: str, constants: dict[str, np.ndarray], reason: str) -> None:
    assert_refused(f"{body} v = Flatten (y) logits = Gemm (v, w_24x5, b_5)", reason, constants=constants, opset=19)
