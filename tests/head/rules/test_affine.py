"""Constants that shift and scale, and batch normalisation."""

from __future__ import annotations

import pytest
from heads import assert_refused, check, fill

OPERATIONS = [
    "Add (X, {c})",
    "Add ({c}, X)",
    "Sub (X, {c})",
    "Sub ({c}, X)",
    "Mul (X, {c})",
    "Mul ({c}, X)",
    "Div (X, {c})",
]
ON_MAPS = ["p_1", "p_4x1x1", "p_1x4x1x1", "p_2", "p_3x1", "p_3x2", "p_4x3x2", "p_1x1x1x1", "c_2"]
ON_VECTORS = {"hidden": ["p_1", "p_6", "p_1x6", "c_2"], "logits": ["p_1", "p_5", "p_1x5", "p_1x1", "c_2"]}


@pytest.mark.parametrize("constant", ON_MAPS)
@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_on_maps(operation: str, place: str, constant: str) -> None:
    check(fill(f"Y = {operation.format(c=constant)}", place))


@pytest.mark.parametrize(("place", "constant"), [(place, name) for place in ON_VECTORS for name in ON_VECTORS[place]])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_on_vectors(operation: str, place: str, constant: str) -> None:
    check(fill(f"Y = {operation.format(c=constant)}", place))


@pytest.mark.parametrize("layout", ["NHWC", "NLC", "NCL"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_before_a_pool_in_any_layout(operation: str, layout: str) -> None:
    constant = {"NHWC": "p_4", "NLC": "p_4", "NCL": "p_4x1"}[layout]
    axes = {"NHWC": "i_1_2", "NLC": "i_1", "NCL": "i_2"}[layout]
    check(
        f"y = {operation.format(c=constant).replace('X', 'f')} p = ReduceMean <keepdims = 0> (y, {axes}) "
        "logits = Gemm (p, w_4x5, b_5)",
        layout=layout,
    )


@pytest.mark.parametrize("opset", [7, 13, 14, 18])
def test_versions(opset: int) -> None:
    check(fill("m = Mul (X, p_4x1x1) Y = Add (m, b_4x1x1)", "uniform"), opset=opset)


def test_half_precision() -> None:
    check(fill("m = Mul (X, p_4x1x1) Y = Add (m, b_4x1x1)", "uniform"), half=True)


@pytest.mark.parametrize("opset", [7, 8, 9, 14, 15, 18])
@pytest.mark.parametrize("place", ["dense", "uniform"])
def test_batch_norm(place: str, opset: int) -> None:
    found = check(fill("Y = BatchNormalization <epsilon = 0.01> (X, w_4, b_4, w_4, p_4)", place), opset=opset)
    assert "batchnorm" in found.head.kind


@pytest.mark.parametrize(("place", "count"), [("hidden", 6), ("logits", 5)])
def test_batch_norm_of_vectors(place: str, count: int) -> None:
    check(fill(f"Y = BatchNormalization (X, w_{count}, b_{count}, w_{count}, p_{count})", place))


@pytest.mark.parametrize("layout", ["NCL", "NCHW"])
def test_batch_norm_and_flatten(layout: str) -> None:
    check("y = BatchNormalization (f, w_4, b_4, w_4, p_4) v = Flatten (y) logits = MatMul (v, w_24x5)", layout=layout)


def test_batch_norm_in_half_precision() -> None:
    check(fill("Y = BatchNormalization (X, w_4, b_4, w_4, p_4)", "uniform"), half=True)


@pytest.mark.parametrize(
    ("template", "reason", "opset"),
    [
        ("Y, m, s = BatchNormalization <training_mode = 1> (X, w_4, b_4, w_4, p_4)", "training mode", 15),
        (
            "Y = BatchNormalization <spatial = 0> (X, w_4x3x2, b_4x3x2, w_4x3x2, p_4x3x2)",
            "statistics for each position",
            8,
        ),
        (
            "m = ReduceMean <axes = [0, 2, 3], keepdims = 0> (X) Y = BatchNormalization (X, w_4, b_4, m, p_4)",
            "statistics are computed",
            13,
        ),
        ("Y = Add (X, b_3x4x3x2)", "differs between the images of a batch", 18),
        ("Y = Add (X, b_3x1x1x1)", "differs between the images of a batch", 18),
    ],
)
def test_refused(template: str, reason: str, opset: int) -> None:
    assert_refused(fill(template, "dense"), reason, batch=3, opset=opset)
