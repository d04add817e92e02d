"""Activations: every operator at every place in a head, against central differences."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, assert_refused, build, check, constants_of, fill, run

EXACT = {
    "relu": "Y = Relu (X)",
    "leaky relu": "Y = LeakyRelu (X)",
    "leaky relu, steep": "Y = LeakyRelu <alpha = 1.5> (X)",
    "prelu, one slope": "Y = PRelu (X, p_1)",
    "clip, both sides": "Y = Clip (X, c_m0p5, c_0p7)",
    "clip, open above": "Y = Clip (X, c_m0p5)",
    "clip, open below": "Y = Clip (X, , c_0p7)",
    "clip, open": "Y = Clip (X)",
    "hard sigmoid": "Y = HardSigmoid (X)",
    "hard sigmoid, steep": "Y = HardSigmoid <alpha = 0.9, beta = 0.3> (X)",
    "thresholded relu": "Y = ThresholdedRelu <alpha = 0.4> (X)",
    "abs": "Y = Abs (X)",
    "max with a constant": "Y = Max (X, c_0p2)",
    "max with a constant, the other way": "Y = Max (c_0, X)",
    "min with a constant": "Y = Min (X, c_0p2)",
    "relu6 in two": "a = Max (X, c_0) Y = Min (a, c_0p6)",
    "neg": "Y = Neg (X)",
}
SMOOTH = {
    "elu": "Y = Elu <alpha = 1.3> (X)",
    "erf": "Y = Erf (X)",
    "exp": "Y = Exp (X)",
    "hard swish": "Y = HardSwish (X)",
    "mish": "Y = Mish (X)",
    "pow 2": "Y = Pow (X, c_2)",
    "pow 3": "Y = Pow (X, c_3)",
    "pow of an integer": "Y = Pow (X, i_2)",
    "selu": "Y = Selu (X)",
    "selu of its own": "Y = Selu <alpha = 1.2, gamma = 0.8> (X)",
    "sigmoid": "Y = Sigmoid (X)",
    "softplus": "Y = Softplus (X)",
    "softsign": "Y = Softsign (X)",
    "tanh": "Y = Tanh (X)",
    "silu in two": "s = Sigmoid (X) Y = Mul (X, s)",
    "silu the other way": "s = Sigmoid (X) Y = Mul (s, X)",
    "gelu in five": "d = Div (X, c_1p4142135) e = Erf (d) a = Add (e, c_1) m = Mul (X, a) Y = Mul (m, c_0p5)",
    "hard swish in four": "a = Add (X, c_3) c = Clip (a, c_0, c_6) m = Mul (X, c) Y = Div (m, c_6)",
    "hard swish in two": "g = HardSigmoid <alpha = 0.1666667, beta = 0.5> (X) Y = Mul (X, g)",
    "sigmoid in four": "n = Neg (X) e = Exp (n) a = Add (e, c_1) Y = Div (c_1, a)",
    "mish in three": "s = Softplus (X) t = Tanh (s) Y = Mul (X, t)",
}
POSITIVE = {
    "log": "Y = Log (X)",
    "pow 0.5": "Y = Pow (X, c_0p5)",
    "pow -1": "Y = Pow (X, c_m1)",
    "constant over": "Y = Div (c_2, X)",
    "reciprocal": "Y = Reciprocal (X)",
    "sqrt": "Y = Sqrt (X)",
}
OPSETS = {
    "gelu": ("Y = Gelu (X)", 20),
    "gelu by tanh": ('Y = Gelu <approximate = "tanh"> (X)', 20),
    "elu": ("Y = Elu (X)", 22),
    "hard swish, newer": ("Y = HardSwish (X)", 22),
    "mish, newer": ("Y = Mish (X)", 22),
    "swish": ("Y = Swish (X)", 24),
    "swish of its own": ("Y = Swish <alpha = 1.7> (X)", 24),
    "tanh": ("Y = Tanh (X)", 7),
    "pow": ("Y = Pow (X, c_2)", 7),
}
OLD = {
    "clip by attributes": ("Y = Clip <min = -0.5, max = 0.7> (X)", 7),
    "clip by attributes, newest": ("Y = Clip <min = -0.5, max = 0.7> (X)", 10),
    "clip by one attribute": ("Y = Clip <max = 0.7> (X)", 9),
    "clip by inputs": ("Y = Clip (X, c_m0p5, c_0p7)", 11),
    "prelu": ("Y = PRelu (X, p_1)", 7),
    "prelu, newer": ("Y = PRelu (X, p_1)", 16),
    "relu": ("Y = Relu (X)", 7),
    "leaky relu": ("Y = LeakyRelu (X)", 8),
    "thresholded relu": ("Y = ThresholdedRelu (X)", 10),
    "neg": ("Y = Neg (X)", 9),
    "hard sigmoid, newest": ("Y = HardSigmoid (X)", 22),
}
PLACES = ["dense", "uniform", "hidden", "logits"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("template", EXACT.values(), ids=EXACT)
def test_piecewise_linear(template: str, place: str) -> None:
    check(fill(template, place))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("template", SMOOTH.values(), ids=SMOOTH)
def test_smooth(template: str, place: str) -> None:
    if place == "logits" and template in (SMOOTH["sigmoid"], SMOOTH["sigmoid in four"]):
        pytest.skip("the logits are before it")
    check(fill(template, place), algebra="smooth")


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize("template", POSITIVE.values(), ids=POSITIVE)
def test_of_positive_features(template: str, place: str) -> None:
    features = np.random.default_rng(3).uniform(0.3, 3, (3, 4, 3, 2))
    check(fill(template, place), algebra="smooth", features=features)


@pytest.mark.parametrize(("template", "opset"), OPSETS.values(), ids=OPSETS)
def test_smooth_by_version(template: str, opset: int) -> None:
    check(fill(template, "hidden"), algebra="smooth", opset=opset)


@pytest.mark.parametrize(("template", "opset"), OLD.values(), ids=OLD)
def test_piecewise_linear_by_version(template: str, opset: int) -> None:
    check(fill(template, "dense"), opset=opset)


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize("slope", ["p_4x1x1", "p_1x4x1x1", "p_3x2", "p_4x3x2"])
def test_prelu_has_slopes_of_any_shape_that_broadcasts(slope: str, place: str) -> None:
    check(fill(f"Y = PRelu (X, {slope})", place))


@pytest.mark.parametrize("template", ["Y = Relu (X)", "Y = PRelu (X, p_4x1x1)", "Y = Clip (X, c_0, c_0p7)"])
def test_half_precision(template: str) -> None:
    check(fill(template, "dense"), half=True)


@pytest.mark.parametrize("template", ["Y = Sigmoid (X)", "s = Sigmoid (X) Y = Mul (X, s)", "Y = Pow (X, c_2)"])
def test_half_precision_smooth(template: str) -> None:
    check(fill(template, "dense"), half=True, algebra="smooth")


def test_relu_at_zero_has_slope_zero() -> None:
    features = np.zeros((3, 4, 3, 2))
    model = build(fill("Y = Relu (X)", "dense"))
    maps, bias, gap = run(model, features)
    assert not maps.any()
    assert not gap.any()
    np.testing.assert_allclose(bias, constants_of("b_5")["b_5"][CLASS_IDS_ASKED], rtol=1e-6)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("m = ReduceMax <keepdims = 0> (f, i_0_1_2_3) Y = Clip (X, , m)", "its parameters is computed"),
        ("Y = Pow (c_2, X)", "the features are its parameter"),
        ("Y = Max (X, c_0, c_1)", "compares more than two tensors"),
    ],
)
def test_refused(template: str, reason: str) -> None:
    assert_refused(fill(template, "dense"), reason)


@pytest.mark.parametrize("template", ["Y = Sqrt (X)", "Y = Pow (X, c_0p5)"])
def test_roots_have_a_finite_slope_at_zero(template: str) -> None:
    """The path of integrated gradients begins at the zero feature map."""
    maps, bias, gap = run(build(fill(template, "dense")), np.zeros((3, 4, 3, 2)))
    assert not maps.any()
    assert np.isfinite(bias + gap).all()
