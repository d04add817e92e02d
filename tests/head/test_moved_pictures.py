"""Pictures that the graph itself moves before a single network: the map lies where it belongs, or it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from branched import CLASSES, SIZE, branch, model, opened, pictures

from secam_onnx import Explainer
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head
from secam_onnx.photograph.preprocessing import Preprocessing

END = "logits = Identity (a_z)"
ALL = np.arange(CLASSES)[None]
HALF = SIZE // 2
BACKWARDS = "_".join(["i", *(f"m{place}" for place in range(1, SIZE + 1))])

UNDERSTOOD = {
    "a mirror by negative indices": (
        f"t = Gather <axis = 3> (x, {BACKWARDS}) ", ((0, 1), (1, 0)), lambda x: x[..., ::-1],
    ),
    "a half by Split": (
        "u, t = Split <axis = 3> (x) ", ((0, 1), (0.5, 1)), lambda x: x[..., HALF:],
    ),
    "a crop by negative pads": (
        "t = Pad (x, i_0_0_m8_0_0_0_0_m16) ", ((0.25, 1), (0, 0.5)), lambda x: x[:, :, 8:, :HALF],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("moved", "span", "by_hand"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_what_is_understood_lies_on_its_part(moved: str, span: tuple, by_hand, tmp_path: Path) -> None:  # type: ignore[type-arg,no-untyped-def]
    """As of the picture moved by NumPy; what a map shows outside of its part is nothing."""
    classifier = opened(model(moved + branch("t", "a") + END), tmp_path)
    assert classifier.metadata.head.span == span
    assert "features_warning" not in classifier.metadata.origin
    x = pictures(1)
    features, *_ = classifier.forward(x)
    maps, _ = classifier.contribute(features, ALL)

    part = np.ascontiguousarray(by_hand(x))
    canvas = np.zeros_like(x)
    canvas[:, :, : part.shape[2], : part.shape[3]] = part
    whole = opened(model(branch("x", "a") + END), tmp_path)
    plain, *_ = whole.forward(canvas)
    inside = np.s_[..., : part.shape[2] // 4 - 1, : part.shape[3] // 4 - 1]  # a kernel looks over the edge
    rows, columns = (slice(round(8 * min(ends)), round(8 * max(ends))) for ends in span)
    found = maps[..., rows, columns][..., :: 1 if span[1][0] < span[1][1] else -1]
    scale = (part.shape[2] * part.shape[3]) / (SIZE * SIZE)  # of the mean over the cells
    wanted = whole.contribute(plain, ALL)[0] / scale
    np.testing.assert_allclose(found[inside], wanted[inside], rtol=1e-4, atol=1e-6)
    rest = maps.copy()
    rest[..., rows, columns] = 0
    assert np.abs(rest).max() < 1e-7


NOT_UNDERSTOOD = {
    "rolled": "u = Slice (x, i_0, i_16, i_3) v = Slice (x, i_16, i_32, i_3) t = Concat <axis = 3> (v, u) ",
    "the whole beside its mirror": "m = Slice (x, i_m1, i_m999, i_3, i_m1) t = Concat <axis = 2> (x, m) ",
    "added to its mirror": "m = Slice (x, i_m1, i_m999, i_3, i_m1) t = Add (x, m) ",
    "padded at two edges": "t = Pad (x, i_0_0_0_0_0_0_16_16) ",
    "padded twice": "u = Pad (x, i_0_0_6_6_0_0_0_0) t = Pad (u, i_0_0_6_6_0_0_0_0) ",
    "pulled about": "t = GridSample (x, wg_1x32x32x2) ",
    "tiled": "t = Tile (x, i_1_1_1_2) ",
    "cut at computed places": "s = Shape (x) e = Gather <axis = 0> (s, i_3) h = Div (e, i_2) t = Slice (x, h, e, i_3) ",
    "rows in another order": f"t = Gather <axis = 2> (x, {'_'.join(['i', *map(str, [*range(16, 32), *range(16)])])}) ",
}


@pytest.mark.parametrize("moved", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_is_not_understood_is_said(moved: str) -> None:
    head = find_head(Graph(model(moved + branch("t", "a") + END, batch=1)))
    assert "may lie in the wrong place" in head.warning


def test_it_reaches_the_results(tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(model(NOT_UNDERSTOOD["rolled"] + branch("t", "a") + END), tmp_path / "network.onnx")
    explainer = Explainer(tmp_path / "network.onnx", providers="cpu", preprocessing=Preprocessing((SIZE, SIZE)))
    assert "Concat 't' joins several parts of the picture" in (explainer.features_warning or "")
    assert explainer.explain(chelsea).method["features_warning"] == explainer.features_warning


@pytest.mark.parametrize("then", ["", "u = Slice (t, i_m1, i_m999, i_3, i_m1) "], ids=["transposed", "rotated"])
def test_rows_for_columns_are_refused(then: str) -> None:
    network = model("t = Transpose <perm = [0, 1, 3, 2]> (x) " + then + branch("u" if then else "t", "a") + END)
    with pytest.raises(HeadError, match="'a_f' would lie on the wrong places of the picture"):
        find_head(Graph(network))


ORDINARY = {
    "padded as for a convolution": "t = Pad (x, i_0_0_3_3_0_0_3_3) ",
    "padded as for SAME, by the size": "s = Shape (x) r = Mod (s, i_4) t = Pad (x, q) ",
    "every other pixel": (
        "u = Slice (x, i_0, i_9223372036854775807, i_2, i_2) v = Slice (x, i_1, i_9223372036854775807, i_2, i_2) "
        "t = Mean (u, v) "
    ),
    "resized": "t = Resize <mode = \"linear\"> (x, , , i_1_3_16_16) ",
    "reversed channels": "t = Gather <axis = 1> (x, i_2_1_0) ",
    "one photograph": "t = Slice (x, i_0, i_1, i_0) ",
    "a channel out of three": "u = Slice (x, i_0, i_1, i_1) t = Tile (u, i_1_3_1_1) ",
    "scaled by its own mean": "m = ReduceMean (x) t = Div (x, m) ",
    "transposed there and back": "u = Transpose <perm = [0, 3, 2, 1]> (x) t = Transpose <perm = [0, 3, 2, 1]> (u) ",
    "cells in the channels": (
        "r = Reshape (x, i_0_3_16_2_16_2) p = Transpose <perm = [0, 3, 5, 1, 2, 4]> (r) "
        "s = Reshape (p, i_0_12_16_16) t = Slice (s, i_0, i_3, i_1) "
    ),
}  # fmt: skip


@pytest.mark.parametrize("open_", [False, True], ids=["known size", "any size"])
@pytest.mark.parametrize("begin", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_networks_are_not_warned_of(begin: str, open_: bool) -> None:
    if "r = Mod" in begin:
        begin = begin.replace("q)", "c)").replace("t = Pad", "z = Sub (r, r) c = Concat <axis = 0> (z, r) t = Pad")
    network = model(begin + branch("t", "a") + END, batch=1)
    if open_:
        for dimension, name in zip(network.graph.input[0].type.tensor_type.shape.dim[2:], "HW", strict=True):
            dimension.dim_param = name
    assert find_head(Graph(network)).warning == ""


@pytest.mark.parametrize("shape", [("N", 32, 32, 12), ("N", "H", "W", 12), ("N", "H", "W", "C")], ids=str)
def test_channels_last_of_any_number_are_no_turn(shape: tuple[int | str, ...], tmp_path: Path) -> None:
    body = "t = Transpose <perm = [0, 3, 1, 2]> (x) " + branch("t", "a").replace("x3x5x5", "x12x5x5") + END
    network = model(body, last=True, check=False)
    for dimension, length in zip(network.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.Clear()
        setattr(dimension, "dim_param" if isinstance(length, str) else "dim_value", length)
    onnx.save(network, tmp_path / "network.onnx")
    settings = Preprocessing((SIZE, SIZE), mean=(0.5,) * 12, std=(1.0,) * 12, layout="NHWC")
    classifier = open_classifier(tmp_path / "network.onnx", providers="cpu", preprocessing=settings)
    assert classifier.metadata.head.features == "a_f"
    assert "features_warning" not in classifier.metadata.origin


C = "c = Conv <strides = [4, 4]> (x, wc_6x3x4x4) f = Relu (c) "
MIXED = "d = Conv (t, wd_6x6x1x1) g = Relu (d) p = GlobalAveragePool (g) "
POOLED = "p = ReduceMean <axes = [1, 2], keepdims = 0> (t) "


@pytest.mark.parametrize(
    ("body", "warned"),
    {
        "not turned": (C + "t = Identity (f) " + MIXED, False),
        "turned, then mixed": (C + "t = Transpose <perm = [0, 1, 3, 2]> (f) " + MIXED, True),
        "turned, channels last": (
            C + "u = Transpose <perm = [0, 3, 2, 1]> (f) t = MatMul (u, wd_6x6) " + POOLED, True,
        ),
        "channels last": (C + "u = Transpose <perm = [0, 2, 3, 1]> (f) t = MatMul (u, wd_6x6) " + POOLED, False),
        "there and back": (
            C + "u = Transpose <perm = [0, 1, 3, 2]> (f) v = Conv (u, we_6x6x1x1) "
            "t = Transpose <perm = [0, 1, 3, 2]> (v) " + MIXED, False,
        ),
        "beside what is not turned": (C + "u = Transpose <perm = [0, 1, 3, 2]> (f) t = Add (u, f) " + MIXED, False),
        "of one row": (
            C + "r = ReduceMean <axes = [2]> (f) t = Transpose <perm = [0, 1, 3, 2]> (r) " + MIXED, False,
        ),
    }.values(),
)  # fmt: skip
def test_features_that_are_turned_on_every_way(body: str, warned: bool) -> None:
    end = f"v9 = Flatten (p) logits = Gemm (v9, wf_6x{CLASSES}, wg_{CLASSES})"
    head = find_head(Graph(model(body + end)))
    assert ("a Transpose swaps rows and columns" in head.warning) is warned
