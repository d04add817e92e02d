"""Layer, group and instance normalisation, softmax, and lengths of vectors; whole and taken apart by exporters."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, answer, assert_refused, check, constants_of, fill, same

FC = "v = Flatten (y) logits = Gemm (v, w_24x5, b_5)"
LAYER_NORM = "LayerNormalization <axis = {axis}, epsilon = {eps}> "
APART = (  # as PyTorch wrote it before opset 17
    "m = ReduceMean <axes = [-1]> (X) d = Sub (X, m) q = Pow (d, c_2) s = ReduceMean <axes = [-1]> (q) "
    "e = Add (s, c_0p1) r = Sqrt (e) n = Div (d, r) k = Mul (n, {w}) Y = Add (k, {b})"
)


@pytest.mark.parametrize("eps", [1e-5, 1.0])
@pytest.mark.parametrize(
    ("axis", "parameters"),
    [(-1, "w_2, b_2"), (3, "w_2"), (1, "w_4x3x2, b_4x3x2"), (2, "w_3x2, b_3x2"), (-3, "w_4x3x2")],
)
def test_layer_norm(axis: int, parameters: str, eps: float) -> None:
    body = f"y = {LAYER_NORM.format(axis=axis, eps=eps)} (f, {parameters})"
    check(f"{body} {FC}", algebra="smooth", tolerance=1e-4)
    check(
        f"{body} p = GlobalAveragePool (y) v = Flatten (p) logits = MatMul (v, w_4x5)", algebra="smooth", tolerance=1e-4
    )


@pytest.mark.parametrize("place", ["hidden", "logits"])
def test_layer_norm_of_vectors(place: str) -> None:
    n = {"hidden": 6, "logits": 5}[place]
    check(fill(f"Y = LayerNormalization (X, w_{n}, b_{n})", place), algebra="smooth", tolerance=1e-4)


@pytest.mark.parametrize("layout", ["NHWC", "NLC"])
def test_layer_norm_of_channels_last(layout: str) -> None:
    axes = {"NHWC": "i_1_2", "NLC": "i_1"}[layout]
    body = f"y = LayerNormalization (f, w_4, b_4) p = ReduceMean <keepdims = 0> (y, {axes}) logits = MatMul (p, w_4x5)"
    found = check(body, layout=layout, algebra="smooth", tolerance=1e-4)
    assert found.head.kind == "layernorm + gap + fc"


def test_layer_norm_in_half_precision() -> None:
    check("y = LayerNormalization (f, w_2, b_2) " + FC, algebra="smooth", half=True)


@pytest.mark.parametrize("layout", ["NHWC", "NLC"])
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_layer_norm_taken_apart(opset: int, layout: str) -> None:
    body = APART.format(w="w_4", b="b_4").replace("X", "f").replace("Y", "y") + " " + FC
    check(body, layout=layout, opset=opset, algebra="smooth", tolerance=1e-4)


def test_layer_norm_taken_apart_with_products_instead_of_powers() -> None:
    body = APART.format(w="w_6", b="b_6").replace("Pow (d, c_2)", "Mul (d, d)")
    body = body.replace("r = Sqrt (e) n = Div (d, r)", "s2 = Sqrt (e) r = Div (c_1, s2) n = Mul (d, r)")
    check(fill(body, "hidden"), algebra="smooth", opset=13, tolerance=1e-4)


def test_bias_of_layer_norm_is_the_gradient_times_its_bias() -> None:
    body = "v = Flatten (f) y = LayerNormalization (v, w_24, b_24) logits = Gemm (y, w_24x5, b_5)"
    found, values = check(body, algebra="smooth", tolerance=1e-4), constants_of(body)
    wanted = values["b_5"] + values["b_24"] @ values["w_24x5"]
    np.testing.assert_allclose(found.bias, wanted[CLASS_IDS_ASKED], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize(
    ("template", "opset"),
    [
        ("Y = InstanceNormalization (X, w_4, b_4)", 7),
        ("Y = InstanceNormalization <epsilon = 0.1> (X, w_4, b_4)", 22),
        (
            "r = Reshape (X, i_0_2_m1) i = InstanceNormalization (r, p_2, b_2) u = Reshape (i, i_0_4_3_2) "
            "m = Mul (u, w_4x1x1) Y = Add (m, b_4x1x1)",
            18,
        ),
    ],
)
def test_group_norm(template: str, opset: int, place: str) -> None:
    check(fill(template, place), algebra="smooth", opset=opset, tolerance=1e-4)


@pytest.mark.parametrize("place", ["dense", "uniform", "hidden"])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax(op: str, place: str) -> None:
    for axis in [-1, 1] if place == "hidden" else [-1, 1, 2]:
        check(fill(f"Y = {op} <axis = {axis}> (X)", place), algebra="smooth")


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("opset", "axis", "rows"), [(7, 1, "i_0_24"), (9, 2, "i_0_4_6"), (11, -2, "i_0_4_6"), (12, 3, "i_0_4_3_2")]
)
def test_softmax_before_opset_13_runs_over_all_axes_from_one_on(opset: int, axis: int, rows: str, op: str) -> None:
    newer = f"g = Reshape (X, {rows}) s = {op} (g) Y = Reshape (s, i_0_4_3_2)"
    same(fill(f"Y = {op} <axis = {axis}> (X)", "dense"), fill(newer, "dense"), opset, algebra="smooth")


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("place", ["dense", "uniform"])
def test_group_norm_is_instance_norm_of_groups(place: str, groups: int) -> None:
    apart = (
        f"g = Reshape (X, i_0_{groups}_m1) i = InstanceNormalization <epsilon = 0.1> (g, ones_a_group, zeros_a_group) "
        "u = Reshape (i, i_0_4_3_2) m = Mul (u, w_4x1x1) Y = Add (m, b_4x1x1)"
    )
    whole = f"Y = GroupNormalization <num_groups = {groups}, epsilon = 0.1> (X, scale, shift)"
    per_group = {"ones_a_group": np.ones(groups, np.float32), "zeros_a_group": np.zeros(groups, np.float32)}
    scale, shift = (value.reshape(4) for value in constants_of("w_4x1x1 b_4x1x1").values())
    features = np.random.default_rng(2).standard_normal((3, 4, 3, 2))
    wanted = check(fill(apart, place), per_group, algebra="smooth", features=features, tolerance=1e-4)
    found = answer(fill(whole, place), {"scale": scale, "shift": shift}, features=features, opset=21)
    np.testing.assert_allclose(found.maps, wanted.maps, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.bias, wanted.bias, rtol=1e-4, atol=1e-4)


LENGTHS = {
    "l1": ("ReduceL1 (X, {axes})", "piecewise linear"),
    "square": ("ReduceSumSquare (X, {axes})", "smooth"),
    "log sum exp": ("ReduceLogSumExp (X, {axes})", "smooth"),
}


@pytest.mark.parametrize("axes", ["i_1", "i_2_m1", "i_1_2_3"])
@pytest.mark.parametrize(("op", "algebra"), LENGTHS.values(), ids=LENGTHS)
def test_lengths(op: str, algebra: str, axes: str) -> None:
    size = {"i_1": 6, "i_2_m1": 4, "i_1_2_3": 1}[axes]
    for keep in ("", "<keepdims = 0>"):
        body = op.format(axes=axes).replace("(X", f"{keep} (X").replace("X", "f")
        check(f"y = {body} u = Unsqueeze (y, i_1) v = Flatten (u) logits = MatMul (v, w_{size}x5)", algebra=algebra)


def test_lengths_by_version() -> None:
    check("y = ReduceSumSquare <axes = [1]> (f) v = Flatten (y) logits = MatMul (v, w_6x5)", algebra="smooth", opset=11)
    check("y = ReduceSumSquare (f, i_1) v = Flatten (y) logits = MatMul (v, w_6x5)", algebra="smooth", opset=18)


COSINE = {
    "one node": "n = LpNormalization <axis = 1> (v)",
    "divided": "l = ReduceL2 (v, i_1) n = Div (v, l)",
    "as PyTorch writes it": "l = ReduceL2 (v, i_1) c = Clip (l, c_0p000001) s = Shape (v) e = Expand (c, s) "
    "n = Div (v, e)",
}


@pytest.mark.parametrize("body", COSINE.values(), ids=COSINE)
def test_cosine_heads_are_left_to_masking(body: str) -> None:
    """They jump at the zero feature map, so that no integral from there is the logit."""
    reason = "this operator is not understood"
    assert_refused(f"p = GlobalAveragePool (f) v = Flatten (p) {body} logits = MatMul (n, w_4x5)", reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Softmax <axis = 0> (f)", "over the batch"),
        ("m = ReduceMean <keepdims = 0> (f, i_0_1_2) y = LayerNormalization (f, m)", "scale or bias is computed"),
        ("y = LayerNormalization <axis = 0> (f, one)", "over the batch axis"),
        (
            "m = ReduceMean <keepdims = 0> (f, i_0_2_3) y = InstanceNormalization (f, m, b_4)",
            "scale or bias is computed",
        ),
        ("l = ReduceL1 (f, i_0) y = Add (f, l)", "one of which is the batch"),
    ],
)
def test_refused(body: str, reason: str) -> None:
    one = np.ones((2, 4, 3, 2), np.float32)
    assert_refused(f"{body} {FC}", reason, batch=2, constants={"one": one} if "one" in body else None)
