"""Maximum pools: of windows and of whole maps, with ties."""

from __future__ import annotations

import numpy as np
import pytest
from heads import assert_refused, build, check, constants_of, fill, run

MAP = (4, 7, 6)
WINDOWS = {  # attributes, shape of the result
    "2 x 2": ("kernel_shape = [2, 2], strides = [2, 2]", (4, 3, 3)),
    "overlapping": ("kernel_shape = [3, 3], strides = [2, 2]", (4, 3, 2)),
    "overlapping, padded": ("kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]", (4, 4, 3)),
    "stride 1": ("kernel_shape = [2, 3]", (4, 6, 4)),
    "rounded up": ("kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1", (4, 4, 3)),
    "dilated": ("kernel_shape = [2, 2], dilations = [2, 3]", (4, 5, 3)),
    "same upper": ('kernel_shape = [2, 2], auto_pad = "SAME_UPPER", strides = [2, 2]', (4, 4, 3)),
    "whole": ("kernel_shape = [7, 6]", (4, 1, 1)),
}


@pytest.mark.parametrize("place", ["dense", "uniform"])
@pytest.mark.parametrize(("attributes", "after"), WINDOWS.values(), ids=WINDOWS)
def test_windows(attributes: str, after: tuple[int, ...], place: str) -> None:
    check(fill(f"Y = MaxPool <{attributes}> (X)", place, MAP, after), shape=MAP)


@pytest.mark.parametrize("opset", [7, 8, 10, 11, 12, 22])
def test_versions(opset: int) -> None:
    body = "Y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (X)"
    check(fill(body, "dense", MAP, (4, 4, 3)), shape=MAP, opset=opset)


def test_windows_in_half_precision() -> None:
    check(
        fill("Y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (X)", "dense", MAP, (4, 3, 3)), shape=MAP, half=True
    )


FC = "logits = MatMul (v, w_4x5)"
GLOBAL = {
    "global": (f"p = GlobalMaxPool (f) v = Flatten (p) {FC}", 18),
    "global, oldest": (f"p = GlobalMaxPool (f) v = Flatten (p) {FC}", 7),
    "reduce, axes as input": (f"v = ReduceMax <keepdims = 0> (f, i_m1_2) {FC}", 18),
    "reduce, kept": (f"p = ReduceMax (f, i_2_3) v = Flatten (p) {FC}", 20),
    "reduce, axes as attribute": (f"v = ReduceMax <axes = [2, 3], keepdims = 0> (f) {FC}", 13),
    "over channels": ("p = ReduceMax (f, i_1) v = Flatten (p) logits = MatMul (v, w_6x5)", 18),
    "over rows": ("p = ReduceMax <keepdims = 0> (f, i_2) v = Flatten (p) logits = MatMul (v, w_8x5)", 18),
    "of the logits' groups": (
        "v = Flatten (f) l = MatMul (v, w_24x20) g = Reshape (l, i_0_5_4) logits = ReduceMax <keepdims = 0> (g, i_2)",
        18,
    ),
}


@pytest.mark.parametrize(("body", "opset"), GLOBAL.values(), ids=GLOBAL)
def test_whole_maps(body: str, opset: int) -> None:
    check(body, opset=opset)


@pytest.mark.parametrize(("layout", "axes"), [("NHWC", "i_1_2"), ("NLC", "i_1"), ("NCL", "i_2")])
@pytest.mark.parametrize("keep", [0, 1])
def test_whole_maps_in_any_layout(layout: str, axes: str, keep: int) -> None:
    found = check(f"p = ReduceMax <keepdims = {keep}> (f, {axes}) v = Flatten (p) {FC}", layout=layout)
    assert found.head.kind == "gmp + fc"


def test_whole_maps_in_half_precision() -> None:
    check(GLOBAL["global"][0], half=True)


@pytest.mark.parametrize("pool", ["GlobalMaxPool (f)", "ReduceMax (f, i_2_3)"])
def test_equal_winners_share(pool: str) -> None:
    features = np.zeros((3, 4, 3, 2), np.float32)
    features[:, :, 0, 0] = features[:, :, 2, 1] = 2
    classes = np.tile(np.arange(5), (3, 1))
    maps, bias, gap = run(build(f"p = {pool} v = Flatten (p) {FC}"), features, classes)
    half = constants_of(FC)["w_4x5"].sum(axis=0)
    np.testing.assert_allclose(maps[:, :, 0, 0], np.tile(half, (3, 1)), rtol=1e-5)
    np.testing.assert_allclose(maps[:, :, 2, 1], np.tile(half, (3, 1)), rtol=1e-5)
    assert not bias.any()
    assert not gap.any()


def test_of_equal_winners_in_a_window_one_takes_all() -> None:
    features = np.ones((3, 4, 3, 2), np.float32)
    body = fill("Y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (X)", "dense", after=(4, 1, 1))
    maps, bias, _ = run(build(body), features)
    assert (maps != 0).sum() == maps[:, :, 0, 0].size
    values = constants_of(body)
    wanted = values["w_5x4"].sum(axis=1) + values["b_5"]
    np.testing.assert_allclose((maps.sum((2, 3)) + bias)[0], wanted[[4, 0, 2]], rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "p = MaxPool <kernel_shape = [3, 2], storage_order = 1> (f) v = Flatten (p) logits = MatMul (v, w_4x5)",
            "storage_order=1",
        ),
        (f"g = Reshape (f, i_0_4_6) p = MaxPool <kernel_shape = [6]> (g) v = Flatten (p) {FC}", "a spatial map"),
        (
            f"p = ReduceMax (f, i_0_2_3) s = Add (f, p) t = ReduceMean (s, i_2_3) v = Flatten (t) {FC}",
            "one of which is the batch",
        ),
    ],
)
def test_refused(body: str, reason: str) -> None:
    assert_refused(body, reason)
