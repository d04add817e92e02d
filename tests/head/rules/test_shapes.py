"""Nodes that move numbers or leave them: reshapes, transposes, picks, repeats, strided views, rounding, no-ops."""

from __future__ import annotations

import numpy as np
import pytest
from heads import assert_refused, build, check, fill, same

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head
from secam_onnx.head_query import HeadQuery

FC = "logits = Gemm (v, w_24x5, b_5)"
FC3 = "logits = Gemm (v, w_3x5, b_5)"
FC4 = "logits = Gemm (v, w_4x5, b_5)"
FC6 = "logits = Gemm (v, w_6x5, b_5)"
FC12 = "logits = Gemm (v, w_12x5, b_5)"
FC18 = "logits = Gemm (v, w_18x5, b_5)"
BODIES = {  # opset
    "flatten": (f"v = Flatten (f) {FC}", 7),
    "flatten of axis 1, from behind": (f"v = Flatten <axis = -3> (f) {FC}", 13),
    "reshape": (f"v = Reshape (f, i_0_m1) {FC}", 7),
    "reshape, batch open": (f"v = Reshape (f, i_m1_24) {FC}", 13),
    "reshape, in two": (f"u = Reshape (f, i_0_2_2_6) v = Reshape (u, i_0_24) {FC}", 18),
    "reshape by a computed shape": (
        f"s = Shape (f) b = Gather (s, i_0) t = Concat <axis = 0> (b, i_m1) v = Reshape (f, t) {FC}",
        13,
    ),
    "squeeze": (f"p = GlobalAveragePool (f) v = Squeeze (p, i_2_3) {FC4}", 13),
    "squeeze, axes as attribute": (f"p = GlobalAveragePool (f) v = Squeeze <axes = [2, 3]> (p) {FC4}", 11),
    "squeeze from behind": (f"p = GlobalAveragePool (f) v = Squeeze (p, i_m1_m2) {FC4}", 18),
    "unsqueeze": (f"v = Flatten (f) u = Unsqueeze (v, i_1) w = Squeeze (u, i_1) {FC.replace('(v', '(w')}", 13),
    "unsqueeze, axes as attribute": (f"g = Flatten (f) u = Unsqueeze <axes = [1, 3]> (g) v = Flatten (u) {FC}", 11),
    "transpose, flatten": (f"t = Transpose <perm = [0, 2, 3, 1]> (f) v = Flatten (t) {FC}", 7),
    "transpose of rows and columns": (f"t = Transpose <perm = [0, 1, 3, 2]> (f) v = Flatten (t) {FC}", 18),
    "transpose, pool": (f"t = Transpose <perm = [0, 3, 1, 2]> (f) v = ReduceMean <keepdims = 0> (t, i_1_2) {FC3}", 18),
    "transposed to channels last, pool": (
        f"t = Transpose <perm = [0, 2, 3, 1]> (f) v = ReduceMean <keepdims = 0> (t, i_1_2) {FC4}",
        18,
    ),
    "transpose twice": (
        f"t = Transpose <perm = [0, 3, 1, 2]> (f) u = Transpose <perm = [0, 2, 3, 1]> (t) v = Flatten (u) {FC}",
        18,
    ),
    "identity, dropout, casts": (
        f"i = Identity (f) d = Dropout (i) c = Cast <to = 11> (d) b = Cast <to = 1> (c) v = Flatten (b) {FC}",
        13,
    ),
    "dropout with a ratio": (f"d = Dropout <ratio = 0.3> (f) v = Flatten (d) {FC}", 7),
    "dropout with inputs": (f"d = Dropout (f, c_0p5, no) v = Flatten (d) {FC}", 13),
    "dropout's mask is not used": (f"d, m = Dropout (f) v = Flatten (d) {FC}", 12),
    "cast like": (f"d = CastLike (f, c_1) v = Flatten (d) {FC}", 18),
    "padded with zeros": (f"y = Pad (f, i_0_0_1_0_0_0_0_2) v = Flatten (y) {FC.replace('24', '64')}", 18),
    "padded along named axes": (f"y = Pad (f, i_1_0_0_2, , i_m1_1) v = Flatten (y) {FC.replace('24', '54')}", 18),
    "padded, numbers as attribute": (
        f"y = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 2]> (f) v = Flatten (y) {FC.replace('24', '64')}",
        10,
    ),
    "padded by nothing": (f'y = Pad <mode = "reflect"> (f, i_0_0_0_0_0_0_0_0) v = Flatten (y) {FC}', 18),
    "split": (f"a, b = Split <axis = 1> (f, i_1_3) r = Relu (a) c = Concat <axis = 1> (b, r) v = Flatten (c) {FC}", 13),
    "split, lengths as attribute": (
        f"a, b = Split <axis = 1, split = [3, 1]> (f) c = Concat <axis = 1> (b, a) v = Flatten (c) {FC}",
        11,
    ),
    "split, equal parts": (
        f"a, b = Split <axis = -3, num_outputs = 2> (f) c = Concat <axis = 1> (b, a) v = Flatten (c) {FC}",
        18,
    ),
    "split, the second only": (f"a, b = Split <axis = 1> (f, i_1_3) v = Flatten (b) {FC18}", 13),
    "slice": (f"s = Slice (f, i_1, i_3, i_1) v = Flatten (s) {FC12}", 13),
    "slice to the end": (f"s = Slice (f, i_m3, i_9223372036854775807, i_1, i_1) v = Flatten (s) {FC18}", 13),
    "slice, bounds as attributes": (f"s = Slice <axes = [1], starts = [0], ends = [-1]> (f) v = Flatten (s) {FC18}", 9),
    "halves of a vector": (
        "g = Flatten (f) a = Slice (g, i_0, i_12, i_1) b = Slice (g, i_12, i_24, i_1) v = Max (a, c_0) s = Sub (v, b) "
        "logits = Gemm (s, w_12x5, b_5)",
        13,
    ),
    "gather of a channel": (f"g = Gather <axis = 1> (f, one) v = Flatten (g) {FC6}", 13),
    "gather of a channel, kept": (f"g = Gather <axis = 1> (f, i_m1) v = Flatten (g) {FC6}", 13),
    "two classes made of one": (
        "v = Flatten (f) z = Gemm (v, w_24x1, b_1) n = Neg (z) logits = Concat <axis = 1> (n, z)",
        13,
    ),
    "repeated": (f"p = ReduceMean (f, i_2_3) e = Expand (p, grid) v = Flatten (e) {FC}", 13),
    "repeated along one axis": (f"p = ReduceMean (f, i_3) e = Expand (p, i_1_1_1_2) v = Flatten (e) {FC}", 18),
}
CONSTANTS = {"no": np.array(False), "one": np.array(1), "grid": np.array([1, 1, 3, 2])}


@pytest.mark.parametrize(("body", "opset"), BODIES.values(), ids=BODIES)
def test_body(body: str, opset: int) -> None:
    check(body.replace("ReduceMean (f, i_2_3)", "GlobalAveragePool (f)"), CONSTANTS, opset=opset)


def test_gated_linear_unit() -> None:
    body = "a, b = Split <axis = 1> (X, i_3_3) s = Sigmoid (b) m = Mul (a, s) Y = Concat <axis = 1> (m, a)"
    check(fill(body, "hidden"), algebra="smooth", opset=18)


def test_half_precision() -> None:
    body = f"t = Transpose <perm = [0, 2, 3, 1]> (f) c = Cast <to = 1> (t) h = Cast <to = 10> (c) v = Flatten (h) {FC}"
    check(body, half=True)
    check(BODIES["split"][0], half=True)


STRIDED = (
    "row = Reshape (f, i_m1) s = Shape (f) b = Gather (s, first) n = Mul (b, size) r = Range (nought, n, first_1) "
    "i = Reshape (r, i_m1_4_3_2) g = Gather (row, i)"
)


def test_a_strided_view_that_leaves_all_in_place() -> None:
    constants = {"first": np.array(0), "first_1": np.array(1), "nought": np.array(0), "size": np.array(24)}
    found = check(f"{STRIDED} p = GlobalAveragePool (g) v = Flatten (p) logits = MatMul (v, w_4x5)", constants)
    assert "strided view that keeps all numbers in place" in [step.reason for step in found.head.steps]


def test_a_negative_pad_cuts() -> None:
    rest = f"v = Flatten (y) {FC18}"
    same(f"y = Pad (f, i_0_m1_0_0_0_0_0_0) {rest}", f"y = Slice (f, i_1, i_4, i_1) {rest}", 18)


def test_a_strided_view_that_reorders_is_refused() -> None:
    body = "row = Reshape (f, i_m1) g = Gather (row, turned) p = GlobalAveragePool (g) v = Flatten (p) "
    turned = np.arange(48).reshape(2, 4, 3, 2)[:, ::-1].copy()
    assert_refused(body + "logits = MatMul (v, w_4x5)", "reorders the features", batch=2, constants={"turned": turned})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "t = Transpose <perm = [1, 0, 2, 3]> (f) u = Transpose <perm = [1, 0, 2, 3]> (t) v = Flatten (u)",
            "moves the batch axis",
        ),
        ("u = Reshape (f, i_1_48) v = Reshape (u, i_2_24)", "mixes the images of a batch"),
        ("c = Cast <to = 7> (f) d = Cast <to = 1> (c) v = Flatten (d)", "casts to or from integers"),
        ("p = Pad (f, i_1_0_0_0_m1_0_0_0) v = Flatten (p)", "the batch"),
        ("p = Pad (f, i_0_0_0_0_0_0_3_m1, c_2) v = Flatten (p)", "other numbers than zero"),
        ('p = Pad <mode = "edge"> (f, i_0_0_0_0_0_0_3_m1) v = Flatten (p)', "other numbers than zero"),
        ("d = Dropout (f, c_0p5, yes) v = Flatten (d)", "drops values at random"),
        ("n, m = LayerNormalization <axis = 1> (f, w_4x3x2) s = Add (n, m) v = Flatten (s)", "is not its first"),
        (
            "a = Gather <axis = 2> (f, i_0) b = Concat <axis = 2> (a, f) g = Slice (b, i_1, i_4, i_2) v = Flatten (g)",
            "as one selects a class token",
        ),
        ("g = Gather <axis = 1> (f, i_0_2_3_1) v = Flatten (g)", "selects several of the features"),
        ("g = Slice (f, i_0_0, i_4_3, i_1_2) v = Flatten (g)", "cuts several axes at once"),
        ("g = Slice (f, i_3, i_m9, i_1, i_m1) v = Flatten (g)", "skips numbers"),
    ],
)
def test_refused(body: str, reason: str) -> None:
    constants = {"yes": np.array(True)} if "yes" in body else None
    assert_refused(f"{body} {FC}", reason, batch=2, constants=constants, opset=18)


def test_one_image_is_no_batch() -> None:
    with pytest.raises(HeadError, match="the model takes batches of 1"):
        find_head(Graph(build(f"e = Expand (f, i_2_4_3_2) v = Flatten (e) {FC}", batch=1)), HeadQuery(features="f"))
