"""Convolutions of any kernel, stride, padding, dilation and group."""

from __future__ import annotations

import pytest
from heads import assert_refused, check, fill, same

MAP = (4, 7, 6)
CASES = {  # attributes, weight, shape of the result
    "1 x 1": ("", "w_5x4x1x1", (5, 7, 6)),
    "3 x 3": ("", "w_5x4x3x3", (5, 5, 4)),
    "padded": ("pads = [1, 1, 1, 1]", "w_5x4x3x3", (5, 7, 6)),
    "padded on one side": ("pads = [0, 1, 2, 0]", "w_5x4x3x3", (5, 7, 5)),
    "strided": ("strides = [2, 2]", "w_5x4x3x3", (5, 3, 2)),
    "strided, uncovered": ("strides = [2, 3]", "w_5x4x2x2", (5, 3, 2)),
    "strided, padded, uncovered": ("strides = [3, 2], pads = [1, 1, 1, 1]", "w_5x4x3x3", (5, 3, 3)),
    "stride over kernel": ("strides = [3, 3]", "w_5x4x1x1", (5, 3, 2)),
    "dilated": ("dilations = [2, 2]", "w_5x4x3x3", (5, 3, 2)),
    "dilated, strided, padded": ("dilations = [2, 1], strides = [2, 2], pads = [1, 0, 1, 1]", "w_5x4x3x2", (5, 3, 3)),
    "grouped": ("group = 2", "w_6x2x3x3", (6, 5, 4)),
    "depthwise": ("group = 4, pads = [1, 1, 1, 1]", "w_4x1x3x3", (4, 7, 6)),
    "depthwise, twice": ("group = 4, strides = [2, 2]", "w_8x1x3x3", (8, 3, 2)),
    "covers": ("", "w_5x4x7x6", (5, 1, 1)),
    "covers, grouped": ("group = 2", "w_6x2x7x6", (6, 1, 1)),
    "covers, padded": ("pads = [1, 1, 0, 0]", "w_5x4x7x6", (5, 2, 2)),
    "oblong": ("pads = [0, 2, 0, 2]", "w_5x4x1x5", (5, 7, 6)),
    "kernel written down": ("kernel_shape = [3, 3]", "w_5x4x3x3", (5, 5, 4)),
}


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize(("attributes", "weight", "after"), CASES.values(), ids=CASES)
def test_geometry(attributes: str, weight: str, after: tuple[int, ...], place: str) -> None:
    body = f"Y = Conv <{attributes}> (X, {weight}, b_{after[0]})" if attributes else f"Y = Conv (X, {weight})"
    check(fill(body, place, MAP, after), shape=MAP)


AUTOMATIC = {  # attributes, the same written out, weight, shape of the result
    "none": ('auto_pad = "VALID"', "strides = [1, 1]", "w_5x4x3x3", (5, 5, 4)),
    "same upper": (
        'auto_pad = "SAME_UPPER", strides = [2, 2]',
        "pads = [1, 0, 1, 1], strides = [2, 2]",
        "w_5x4x3x3",
        (5, 4, 3),
    ),
    "same lower": (
        'auto_pad = "SAME_LOWER", strides = [2, 1]',
        "pads = [1, 2, 0, 1], strides = [2, 1]",
        "w_5x4x2x4",
        (5, 4, 6),
    ),
    "same, 1 x 1": ('auto_pad = "SAME_UPPER"', "strides = [1, 1]", "w_5x4x1x1", (5, 7, 6)),
    "same, stride over kernel": (
        'auto_pad = "SAME_UPPER", strides = [3, 2]',
        "strides = [3, 2]",
        "w_5x4x1x1",
        (5, 3, 3),
    ),
}


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize(("attributes", "explicit", "weight", "after"), AUTOMATIC.values(), ids=AUTOMATIC)
def test_automatic_padding(attributes: str, explicit: str, weight: str, after: tuple[int, ...], place: str) -> None:
    bodies = [f"Y = Conv <{text}> (X, {weight}, b_5)" for text in (attributes, explicit)]
    one, other = (fill(body, place, MAP, after) for body in bodies)
    same(one, other, 18, shape=MAP)


LOGITS = {
    "covers": "logits = Conv (f, w_5x4x3x2, b_5)",
    "covers, no bias": "c = Conv (f, w_5x4x3x2) logits = Flatten (c)",
    "pool, 1 x 1": "p = GlobalAveragePool (f) c = Conv (p, w_5x4x1x1, b_5) logits = Flatten (c)",
    "1 x 1, pool": "c = Conv (f, w_5x4x1x1, b_5) p = GlobalAveragePool (c) logits = Flatten (p)",
    "1 x 1, relu, pool": "c = Conv (f, w_5x4x1x1, b_5) r = Relu (c) p = GlobalAveragePool (r) logits = Flatten (p)",
    "two after the pool": "p = GlobalAveragePool (f) c = Conv (p, w_7x4x1x1, b_7) r = Relu (c) "
    "logits = Conv (r, w_5x7x1x1, b_5)",
    "3 x 3 of a pooled map": "p = GlobalAveragePool (f) "
    "c = Conv <pads = [1, 1, 1, 1]> (p, w_5x4x3x3, b_5) logits = Flatten (c)",
    "1 x 1 of the logits": "c = Conv (f, w_5x4x3x2) logits = Conv (c, w_5x5x1x1, b_5)",
}


@pytest.mark.parametrize("body", LOGITS.values(), ids=LOGITS)
def test_classifier(body: str) -> None:
    check(body)


@pytest.mark.parametrize("opset", [7, 11, 22])
def test_versions(opset: int) -> None:
    check(fill("Y = Conv <strides = [2, 2]> (X, w_5x4x3x3, b_5)", "uniform", MAP, (5, 3, 2)), shape=MAP, opset=opset)


@pytest.mark.parametrize("place", ["dense", "uniform"])
def test_half_precision(place: str) -> None:
    check(fill("Y = Conv <strides = [2, 2]> (X, w_5x4x3x3, b_5)", place, MAP, (5, 3, 2)), shape=MAP, half=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("g = Flatten (f) h = MatMul (g, w_24x320) w = Reshape (h, i_20_4_2_2) Y = Conv (X, w)", "is not a constant"),
        ("b = ReduceMean <keepdims = 0> (f, i_0_2_3) Y = Conv (X, w_4x4x1x1, b)", "bias is computed"),
        (
            "g = Reshape (f, i_0_4_6) c = Conv (g, w_4x4x1) Y = Reshape (c, i_0_4_3_2)",
            "is not a constant (out, in, kh, kw)",
        ),
    ],
)
def test_refused(body: str, reason: str) -> None:
    after = (20, 2, 1) if "w_24x320" in body else None
    assert_refused(fill(body, "uniform", after=after), reason, batch=1)
