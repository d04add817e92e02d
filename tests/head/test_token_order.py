"""Tokens in another order than row by row: a network of windows is the same function as one without them."""

from __future__ import annotations

import numpy as np
import pytest
from heads import build

from secam_onnx.classifier.analysis import analyse
from secam_onnx.classifier.sessions import open_sessions
from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head
from secam_onnx.head.token_order import are_scattered, order_of
from secam_onnx.head_query import HeadQuery

ROWS = "r = Reshape (f, i_0_3_m1) t = Transpose <perm = [0, 2, 1]> (r) "
WINDOWS = (  # of 2 x 2 cells, the first cells of all windows first, as Hiera lists them
    "r = Reshape (f, i_0_3_2_2_3_2) s3 = Transpose <perm = [0, 3, 5, 2, 4, 1]> (r) t = Reshape (s3, i_0_24_3) "
)
ATTEND = (
    "k = Transpose <perm = [0, 2, 1]> (t) s = MatMul (t, k) a = Softmax <axis = -1> (s) v = MatMul (t, w_3x3) "
    "y = MatMul (a, v) o = Add (y, t) "
)
FC = (
    "n = LayerNormalization <axis = -1> ({}, w_3, b_3) z = ReduceMean <keepdims = 0> (n, i_1) "
    "logits = MatMul (z, w_3x5)"
)
POOL = "w = Reshape (o, i_0_4_6_3) m = ReduceMax <keepdims = 0> (w, i_1) "
SHAPE = (3, 4, 6)
PICTURE = np.random.default_rng(5).standard_normal((2, *SHAPE)).astype(np.float32)


def maps(body: str, features: str, *, masking: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The maps `(N, classes, h, w)` and what belongs to no place."""
    analysed = analyse(build(body, shape=SHAPE), query=HeadQuery(features=features))
    sessions = open_sessions("test", analysed, "cpu", "masking" if masking else None)
    found, logits, _ = sessions.forward(PICTURE)
    cams, bias = sessions.contribute(found, np.tile(np.arange(5), (2, 1)))
    if not masking:
        np.testing.assert_allclose(cams.sum(axis=(2, 3)) + bias, logits, rtol=0, atol=1e-5)
    return cams, bias


def test_windows_of_a_map() -> None:
    graph = Graph(build(f"{WINDOWS}{ATTEND}{FC.format('o')}", shape=SHAPE))
    rows, columns, order = order_of(graph, "o", 1) or (0, 0, ())
    cells = np.arange(24).reshape(2, 2, 3, 2).transpose(1, 3, 0, 2).reshape(-1)
    assert (rows, columns) == (4, 6)
    assert (cells[list(order)] == np.arange(24)).all()
    assert order_of(graph, "o", 2) is None  # channels


def test_pooled_windows_are_row_by_row_again() -> None:
    graph = Graph(build(f"{WINDOWS}{ATTEND}{POOL}{FC.format('m')}", shape=SHAPE))
    assert order_of(graph, "m", 1) == (2, 3, tuple(range(6)))


@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize("features", ["t", "o"])
def test_maps_are_those_of_the_same_network_without_windows(features: str, masking: bool) -> None:
    wanted = maps(f"{ROWS}{ATTEND}{FC.format('o')}", features, masking=masking)
    found = maps(f"{WINDOWS}{ATTEND}{FC.format('o')}", features, masking=masking)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_the_grid_knows_its_order() -> None:
    head = find_head(Graph(build(f"{WINDOWS}{ATTEND}{FC.format('o')}", shape=SHAPE)))
    assert head.algebra == "detached"
    assert (head.features, head.grid.shape) == ("t", SHAPE)
    assert head.grid.order is not None


def test_windows_and_their_cells_are_no_rows_and_columns() -> None:
    """As in torchvision's MaxViT, which keeps both axes."""
    windows = (
        "r = Reshape (f, i_0_3_2_2_2_3) s3 = Transpose <perm = [0, 2, 4, 3, 5, 1]> (r) t = Reshape (s3, i_0_4_6_3) "
    )
    attend = (
        "k = Transpose <perm = [0, 1, 3, 2]> (t) s = MatMul (t, k) a = Softmax <axis = -1> (s) y = MatMul (a, t) "
        "o = Add (y, t) z = ReduceMean <keepdims = 0> (o, i_1_2) logits = MatMul (z, w_3x5)"
    )
    graph = Graph(build(windows + attend, shape=SHAPE))
    assert are_scattered(graph, "o", (1, 2))
    assert not are_scattered(graph, "f", (2, 3))
    head = find_head(graph)
    assert (head.features, head.algebra) == ("f", "detached")
    assert "windows of the picture" in " ".join(entry.reason for entry in head.rejected)
