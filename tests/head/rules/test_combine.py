"""Several computed tensors that meet: sums, products, means, with broadcasting, and a tensor with itself."""

from __future__ import annotations

import pytest
from heads import assert_refused, check, fill

ALGEBRA = {"Add": "piecewise linear", "Sub": "piecewise linear", "Mul": "smooth", "Div": "smooth"}
PAIRS = {  # what is combined with X; for Div, nothing close to zero
    "a map": "t = Exp (X)",
    "one number a channel": "r = ReduceMean (X, i_2_3) t = Exp (r)",
    "one map for all channels": "r = ReduceMean (X, i_1) t = Exp (r)",
    "one number": "r = ReduceMean (X, i_1_2_3) t = Exp (r)",
    "rows": "r = ReduceMean (X, i_3) t = Exp (r)",
}


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("op", ALGEBRA)
def test_of_maps(op: str, pair: str, place: str) -> None:
    check(fill(f"{pair} Y = {op} (X, t)", place), algebra="smooth")
    check(fill(f"{pair} u = Exp (X) Y = {op} (t, u)", place), algebra="smooth")


@pytest.mark.parametrize("place", ["dense", "uniform", "hidden", "logits"])
@pytest.mark.parametrize("op", ALGEBRA)
def test_with_itself(op: str, place: str) -> None:
    check(fill(f"Y = {op} (X, X)", place), algebra=ALGEBRA[op])


@pytest.mark.parametrize("place", ["dense", "uniform", "hidden", "logits"])
@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_sums_of_pieces_are_exact(op: str, place: str) -> None:
    check(fill(f"r = Relu (X) n = LeakyRelu (X) Y = {op} (r, n)", place))


@pytest.mark.parametrize("op", ["Sum", "Mean"])
@pytest.mark.parametrize("place", ["dense", "uniform", "logits"])
@pytest.mark.parametrize("operands", ["X, r", "X, r, X", "r, X, n, r", "r"])
def test_of_several(operands: str, op: str, place: str) -> None:
    check(fill(f"r = Relu (X) n = Abs (X) Y = {op} ({operands})", place))


@pytest.mark.parametrize("opset", [7, 8, 13, 14])
def test_versions(opset: int) -> None:
    check(fill("r = Relu (X) s = Sub (X, r) a = Add (s, r) Y = Sum (a, r, s)", "dense"), opset=opset)


def test_squeeze_and_excite() -> None:
    body = "q = ReduceMean (X, i_2_3) c = Conv (q, w_2x4x1x1, b_2) r = Relu (c) e = Conv (r, w_4x2x1x1, b_4) "
    check(fill(body + "s = HardSigmoid (e) Y = Mul (X, s)", "uniform"), algebra="smooth")


def test_skip_connection() -> None:
    body = "c = Conv <pads = [1, 1, 1, 1]> (X, w_4x4x3x3, b_4) r = Relu (c) a = Add (r, X) Y = Relu (a)"
    check(fill(body, "uniform"))
    check(fill(body, "uniform"), half=True, tolerance=2e-2)


def test_half_precision() -> None:
    check(fill("t = Tanh (X) Y = Mul (X, t)", "dense"), half=True, algebra="smooth")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("m = ReduceMean <keepdims = 0> (X, i_1) Y = Add (X, m)", "the same number of axes was expected"),
        ("Y = Sum (X, b_4x1x1, X)", "one operand is constant"),
    ],
)
def test_refused(template: str, reason: str) -> None:
    shape = (4, 4, 4)
    assert_refused(fill(template, "dense", shape), reason, shape=shape)
