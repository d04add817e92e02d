"""Means and sums over axes, and average pools of windows."""

from __future__ import annotations

import pytest
from heads import assert_refused, build, check, fill

from secam_onnx.graph.index import Graph
from secam_onnx.head.rules import NoMatchError
from secam_onnx.head.rules.pool import ReduceRule

FC = "logits = MatMul (v, w_4x5)"
LARGE = "v = Flatten (p) logits = MatMul (v, w_8x5)"
GLOBAL = {  # of (N, 4, 3, 2); opset
    "global average pool": (f"p = GlobalAveragePool (f) v = Flatten (p) {FC}", 18),
    "global average pool, oldest": (f"p = GlobalAveragePool (f) v = Flatten (p) {FC}", 7),
    "mean": (f"v = ReduceMean <keepdims = 0> (f, i_2_3) {FC}", 18),
    "mean, newest": (f"v = ReduceMean <keepdims = 0> (f, i_2_3) {FC}", 24),
    "mean, axes from behind": (f"v = ReduceMean <keepdims = 0> (f, i_m1_m2) {FC}", 18),
    "mean that keeps axes": (f"p = ReduceMean (f, i_2_3) v = Flatten (p) {FC}", 18),
    "mean, axes as attribute": (f"v = ReduceMean <axes = [2, 3], keepdims = 0> (f) {FC}", 13),
    "mean, axes as attribute from behind": (f"p = ReduceMean <axes = [-1, -2]> (f) v = Flatten (p) {FC}", 11),
    "mean, one axis after the other": (
        f"r = ReduceMean <keepdims = 0> (f, i_3) v = ReduceMean <keepdims = 0> (r, i_2) {FC}",
        18,
    ),
    "mean, one axis after the other, kept": (
        f"r = ReduceMean (f, i_2) p = ReduceMean (r, i_3) v = Flatten (p) {FC}",
        18,
    ),
    "sum": (f"v = ReduceSum <keepdims = 0> (f, i_2_3) {FC}", 18),
    "sum, axes as attribute": (f"v = ReduceSum <axes = [2, 3], keepdims = 0> (f) {FC}", 11),
    "sum, axes as input": (f"p = ReduceSum (f, i_m2_m1) v = Flatten (p) {FC}", 13),
    "average pool": (f"p = AveragePool <kernel_shape = [3, 2]> (f) v = Flatten (p) {FC}", 18),
    "average pool, oldest": (f"p = AveragePool <kernel_shape = [3, 2]> (f) v = Flatten (p) {FC}", 7),
    "average pool, newest": (f"p = AveragePool <kernel_shape = [3, 2]> (f) v = Flatten (p) {FC}", 22),
    "average pool with a stride": (
        f"p = AveragePool <kernel_shape = [3, 2], strides = [3, 2]> (f) v = Flatten (p) {FC}",
        18,
    ),
    "average pool, padded to more than the map": (
        f"p = AveragePool <kernel_shape = [4, 4], strides = [4, 4], pads = [1, 1, 0, 1]> (f) v = Flatten (p) {FC}",
        18,
    ),
    "average pool, pads counted": (
        f"p = AveragePool <kernel_shape = [4, 4], pads = [1, 1, 0, 1], count_include_pad = 1> (f) v = Flatten (p) {FC}",
        18,
    ),
    "average pool, rounded up": (
        f"p = AveragePool <kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1> (f) v = Flatten (p) {FC}",
        18,
    ),
    "mean of the channels": ("v = ReduceMean <keepdims = 0> (f, i_1) g = Flatten (v) logits = MatMul (g, w_6x5)", 18),
    "mean of the channels, kept": ("v = ReduceMean (f, i_1) g = Flatten (v) logits = MatMul (g, w_6x5)", 18),
    "mean of the rows": ("v = ReduceMean <keepdims = 0> (f, i_2) g = Flatten (v) logits = MatMul (g, w_8x5)", 18),
    "mean of channels and columns": ("v = ReduceMean (f, i_1_3) g = Flatten (v) logits = MatMul (g, w_3x5)", 18),
    "mean of all": ("v = ReduceMean (f, i_1_2_3) g = Flatten (v) logits = MatMul (g, w_1x5)", 18),
    "sum of all, nothing kept but one": ("v = ReduceSum <keepdims = 0> (f, i_1_2) logits = MatMul (v, w_2x5)", 18),
    "mean of the logits' groups": (
        "v = Flatten (f) l = MatMul (v, w_24x20) g = Reshape (l, i_0_5_4) logits = ReduceMean <keepdims = 0> (g, i_2)",
        18,
    ),
    "logits without their mean": (
        "v = Flatten (f) l = MatMul (v, w_24x5) m = ReduceMean (l, i_1) logits = Sub (l, m)",
        18,
    ),
}


@pytest.mark.parametrize(("body", "opset"), GLOBAL.values(), ids=GLOBAL)
def test_reductions(body: str, opset: int) -> None:
    check(body, opset=opset)


@pytest.mark.parametrize("body", [f"v = ReduceMean <keepdims = 0> (f, i_2_3) {FC}", GLOBAL["average pool"][0]])
def test_half_precision(body: str) -> None:
    check(body, half=True)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(("layout", "axes"), [("NHWC", "i_1_2"), ("NHWC", "i_m3_m2"), ("NLC", "i_1"), ("NCL", "i_m1")])
def test_any_layout(layout: str, axes: str, keep: int) -> None:
    found = check(f"p = ReduceMean <keepdims = {keep}> (f, {axes}) v = Flatten (p) {FC}", layout=layout)
    assert found.head.kind == "gap + fc"


MAP = (4, 7, 6)
WINDOWS = {  # attributes, shape of the result
    "2 x 2": ("kernel_shape = [2, 2]", (4, 6, 5)),
    "strided": ("kernel_shape = [2, 2], strides = [2, 2]", (4, 3, 3)),
    "strided, uncovered": ("kernel_shape = [2, 3], strides = [2, 2]", (4, 3, 2)),
    "padded": ("kernel_shape = [3, 3], pads = [1, 1, 1, 1]", (4, 7, 6)),
    "padded, strided": ("kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]", (4, 4, 3)),
    "padded on one side": ("kernel_shape = [3, 2], pads = [2, 0, 0, 1]", (4, 7, 6)),
    "pads counted": ("kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1", (4, 7, 6)),
    "pads counted, strided": (
        "kernel_shape = [3, 3], pads = [1, 0, 1, 1], strides = [2, 2], count_include_pad = 1",
        (4, 4, 3),
    ),
    "one cell, strided": ("kernel_shape = [1, 1], strides = [2, 2]", (4, 4, 3)),
    "one cell": ("kernel_shape = [1, 1]", (4, 7, 6)),
    "rows": ("kernel_shape = [7, 1]", (4, 1, 6)),
    "valid": ('kernel_shape = [2, 2], auto_pad = "VALID"', (4, 6, 5)),
    "rounded up, but nothing to round": ("kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1", (4, 3, 3)),
    "same upper": ('kernel_shape = [2, 2], auto_pad = "SAME_UPPER"', (4, 7, 6)),
}


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize(("attributes", "after"), WINDOWS.values(), ids=WINDOWS)
def test_windows(attributes: str, after: tuple[int, ...], place: str) -> None:
    check(fill(f"Y = AveragePool <{attributes}> (X)", place, MAP, after), shape=MAP)


@pytest.mark.parametrize("opset", [7, 10, 11, 19, 22])
def test_windows_by_version(opset: int) -> None:
    body = "Y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (X)"
    check(fill(body, "dense", MAP, (4, 4, 3)), shape=MAP, opset=opset)


def test_windows_in_half_precision() -> None:
    body = "Y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (X)"
    check(fill(body, "dense", MAP, (4, 4, 3)), shape=MAP, half=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            f"p = AveragePool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (f) {LARGE}",
            "rounds the number of windows up",
        ),
        (
            f"p = AveragePool <kernel_shape = [3, 2], strides = [2, 2], pads = [0,0,1,0], ceil_mode = 1> (f) {LARGE}",
            "rounds the number of windows up",
        ),
        (
            f"p = AveragePool <kernel_shape = [2, 2], dilations = [2, 1]> (f) v = Flatten (p) {FC}",
            "its windows are dilated",
        ),
        (
            f"p = ReduceMean (f, i_0_2_3) s = Add (f, p) t = ReduceMean (s, i_2_3) v = Flatten (t) {FC}",
            "one of which is the batch",
        ),
        (
            f"p = ReduceMean (f) s = Add (f, p) t = ReduceMean (s, i_2_3) v = Flatten (t) {FC}",
            "one of which is the batch",
        ),
    ],
)
def test_refused(body: str, reason: str) -> None:
    assert_refused(body, reason, opset=19)


def test_axes_that_are_computed_are_refused() -> None:
    graph = Graph(build("s = Shape (f) p = ReduceMean (f, s) v = Flatten (p) logits = MatMul (v, w_4x5)"))
    with pytest.raises(NoMatchError, match="axes are computed at run time"):
        ReduceRule().match(graph, graph.producer("p"))
