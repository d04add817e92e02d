"""The pooling of a map on superpixels as nodes of an ONNX graph, with the results of `pooling`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels.pooling import bilinear_axis, centres

__all__ = ["Pooled", "pooled"]


@dataclass(frozen=True)
class Pooled:
    """The names of the resulting tensors.

    Attributes
    ----------
    segment_scores, segment_contributions : str
        `(N, K, S)` float32; 0 for labels without a superpixel.
    pixels : str
        `(N, 1, S)` float32, how many pixels each superpixel has.
    """

    segment_scores: str
    segment_contributions: str
    pixels: str


def pooled(
    n: Nodes, cam: str, segments: str, size: tuple[int, int], map_size: tuple[int, int], n_segments: int
) -> Pooled:
    """Write the nodes that carry maps to superpixels.

    Parameters
    ----------
    n : Nodes
        Where the nodes go; opset 18 or newer.
    cam : str
        `(N, K, h, w)` float32.
    segments : str
        `(N, H, W)` int32, labels from 0 on.
    size, map_size : (int, int)
        `(H, W)` and `(h, w)`.
    n_segments : int
        S; all labels are less than S.
    """
    (height, width), (rows, columns) = size, map_size
    left, right, across = bilinear_axis(columns, (np.arange(width) + 0.5) / width)
    down = _matrix(rows, height)
    # First along each row of pixels: the weight of each superpixel in each column of cells, two per pixel, is summed by
    # ScatterElements. Then down the rows, by a product. Scattering all four cells at once takes four times as long.
    labels = n.op("Cast", [segments], to=TensorProto.INT64)
    both = [n.op("Add", [labels, n.integers(column * n_segments)]) for column in (left, right)]
    place = n.op("Concat", both, axis=2)
    batch = n.op("Shape", [segments], start=0, end=1)
    weights = n.floats(np.concatenate([1 - across, across])[None, None])
    weights = n.op("Expand", [weights, n.op("Concat", [batch, n.integers([height, 1])], axis=0)])
    nothing = n.op("Concat", [batch, n.integers([height, columns * n_segments])], axis=0)
    nothing = n.op("Expand", [n.floats(np.zeros((1, 1, 1))), nothing])
    spread = n.op("ScatterElements", [nothing, place, weights], axis=2, reduction="add")
    spread = n.op("MatMul", [n.floats(down.T), spread])
    spread = n.op("Reshape", [spread, n.integers([-1, rows * columns, n_segments])])

    cells = n.op("Reshape", [cam, n.integers([0, 0, rows * columns])])
    pixels = n.op("ReduceSum", [spread, n.integers([1])], keepdims=1)  # the weights of a pixel sum to 1
    scores = n.op("Div", [n.op("MatMul", [cells, spread]), n.op("Max", [pixels, n.floats(1.0)])])
    reach = np.outer(down.sum(axis=0), _matrix(columns, width).sum(axis=0)).ravel()
    shares = n.op("Mul", [cells, n.floats(1 / np.where(reach > 0, reach, np.inf))])
    contributions = n.op("MatMul", [shares, spread])
    unseen = np.flatnonzero(reach == 0)
    if unseen.size:  # the map is finer than the picture
        y, x = centres(unseen, size, map_size)
        flat = n.op("Reshape", [labels, n.integers([-1, height * width])])
        under = n.op("Gather", [flat, n.integers(y * width + x)], axis=1)
        there = n.op("OneHot", [under, n.integers([n_segments]), n.floats([0.0, 1.0])], axis=-1)
        rest = n.op("MatMul", [n.op("Gather", [cells, n.integers(unseen)], axis=2), there])
        contributions = n.op("Add", [contributions, rest])
    return Pooled(scores, contributions, pixels)


def _matrix(cells: int, pixels: int) -> np.ndarray:
    """The matrix of bilinear interpolation along one axis, `(pixels, cells)`."""
    lower, upper, weight = bilinear_axis(cells, (np.arange(pixels) + 0.5) / pixels)
    matrix = np.zeros((pixels, cells))
    np.add.at(matrix, (np.arange(pixels), lower), 1 - weight)
    np.add.at(matrix, (np.arange(pixels), upper), weight)
    return matrix
