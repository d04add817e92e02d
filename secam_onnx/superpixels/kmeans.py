"""SLIC's K-means as an ONNX model: sRGB in, label map out, in any runtime.

The superpixels are found on a coarse picture, the means of small blocks. K-means over CIELAB and position assigns each
block to one of the nine superpixels around it; stray pieces of a superpixel then go to its neighbours. At full size a
pixel belongs to the nearest of the superpixels around its block.

References
----------
.. [1] R. Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", IEEE TPAMI 34(11), 2012.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.opset import OLDEST_IR_VERSION, OPSET
from secam_onnx.superpixels.cells import NOWHERE, Cells
from secam_onnx.superpixels.lab import BLACK, LAB_OF_ROOTS, cube_roots
from secam_onnx.superpixels.pieces import FAR, held_together

__all__ = ["BLOCKS", "kmeans", "kmeans_model"]

BLOCKS = 8
"""Blocks along the edge of a cell, approximately: fewer are faster, more follow finer structures."""

_EMPTY = 1e-3  # blocks
_CHANNELS = 6  # L, a, b, y, x, 1
_GREY = 50.0  # subtracted from the lightness, as float32 is finer for small numbers
_IS_LAST = np.arange(_CHANNELS) == _CHANNELS - 1
_PULL = 1.0  # squared distance that brings the superpixel of a pixel's own block nearer


def kmeans_model(
    size: tuple[int, int],
    n_segments: int | tuple[int, int] = 50,
    *,
    compactness: float = 15.0,
    iterations: int = 5,
    blocks: int = BLOCKS,
) -> ModelProto:
    """Build the model for pictures of one size.

    Parameters
    ----------
    size : (int, int)
        Height and width, in pixels.
    n_segments : int or (int, int)
        How many superpixels to aim at, or in how many rows and columns; whole blocks decide what fits.
    compactness : float
        Weight of closeness against colour.
    iterations : int
        Rounds of K-means.
    blocks : int
        See `BLOCKS`.

    Returns
    -------
    ModelProto
        From `image (N, height, width, 3)` uint8, sRGB, to `segments (N, height, width)` int32, labels without gaps in
        the order of the cells.
    """
    n = Nodes()
    cells = Cells.fitted(size, n_segments, blocks)
    result = kmeans(n, "image", cells, compactness=compactness, iterations=iterations)
    body = helper.make_graph(
        [*n.nodes, helper.make_node("Identity", [result], ["segments"])],
        "kmeans",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *size, 3])],
        [helper.make_tensor_value_info("segments", TensorProto.INT32, ["N", *size])],
        n.values,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=OLDEST_IR_VERSION)


def kmeans(n: Nodes, image: str, cells: Cells, *, compactness: float = 15.0, iterations: int = 5) -> str:
    """Write the nodes of K-means.

    Parameters
    ----------
    n : Nodes
        Where the nodes go; opset 18 or newer.
    image : str
        `(N, height, width, 3)` uint8, sRGB.
    cells : Cells
        The layout; there are at most as many superpixels as cells.
    compactness, iterations
        See `kmeans_model`.

    Returns
    -------
    str
        The label map, `(N, height, width)` int32.
    """
    pixels = _features(n, _in_cells(n, image, cells), cells, compactness)
    means = _block_means(n, pixels, cells)
    centres = _centres(n, n.op("ReduceSum", [means, n.integers([2])], keepdims=0))
    seen, middle = _from_the_middle(n, means)
    for _ in range(iterations):
        members, _ = _assign(n, centres, seen, cells, middle)
        sums = n.op("MatMul", [n.op("Cast", [members], to=TensorProto.FLOAT), means])
        centres = _centres(n, _summed_up(n, sums, cells))
    members, least = _assign(n, centres, seen, cells, middle)
    square = n.op("Unsqueeze", [n.op("ReduceSumSquare", [seen, n.integers([3])], keepdims=0), n.integers([2])])
    distances = n.op("Add", [least, square])
    if (cells.shares < 1).any():  # blocks partly outside the picture come later, blocks outside it last
        distances = n.op("Add", [distances, n.floats(FAR * (1 - cells.shares)[:, None])])
    labels = held_together(n, members, distances, cells)
    return _on_picture(n, _nearest(n, centres, pixels, labels, cells), cells)


def _in_cells(n: Nodes, image: str, cells: Cells) -> str:
    """Rearrange `(N, H, W, 3)` into `(N, K, pixels, 3)`."""
    down, across = cells.down, cells.across
    pads = [0, down.before, across.before, 0, 0, down.after, across.after, 0]
    if any(pads):
        image = n.op("Pad", [image, n.integers(pads)])
    # Runs of pixels move with their colours side by side, which is far faster than planes of colours.
    runs = n.op("Reshape", [image, n.integers([-1, down.cells, down.edge, across.cells, across.edge * 3])])
    runs = n.op("Transpose", [runs], perm=[0, 1, 3, 2, 4])
    return n.op("Reshape", [runs, n.integers([-1, cells.count, cells.pixels, 3])])


def _features(n: Nodes, colours: str, cells: Cells, compactness: float) -> str:
    """L, a, b over the compactness, y, x over the cell's edge, and 1: `(N, K, pixels, 6)`; zeros outside the picture.

    With the 1, a distance is one product, and sums over pixels carry their count along. Outside the picture pixels are
    black, and black's features are subtracted there: a product with a mask would broadcast over the last axis, which
    ONNX Runtime does slowly.
    """
    lab = np.zeros((3, _CHANNELS))
    lab[:, :3] = LAB_OF_ROOTS.T / compactness
    values = n.op("MatMul", [cube_roots(n, colours), n.floats(lab)])
    # As a sum of terms for rows and columns, which a runtime computes once when it opens the model. That saves a
    # megabyte of the file.
    down, across = cells.down, cells.across
    rows = np.zeros((down.cells, 1, down.edge, 1, _CHANNELS))
    rows[..., 0], rows[..., 5] = -_GREY / compactness, 1
    edge = np.sqrt(down.edge * across.edge)
    rows[..., 3] = down.positions.reshape(down.cells, 1, down.edge, 1) / edge
    columns = np.zeros((1, across.cells, 1, across.edge, _CHANNELS))
    columns[..., 4] = across.positions.reshape(1, across.cells, 1, across.edge) / edge
    both = ((down, rows), (across, columns))
    inside = n.op("And", [n.array(axis.inside.reshape(part.shape[:-1])) for axis, part in both])
    inside = n.op("Unsqueeze", [inside, n.integers([-1])])
    outside = n.floats([*(-BLACK / compactness), 0, 0, 0])
    rest = n.op("Where", [inside, n.op("Add", [n.floats(rows), n.floats(columns)]), outside])
    return n.op("Add", [values, n.op("Reshape", [rest, n.integers([cells.count, cells.pixels, _CHANNELS])])])


def _block_means(n: Nodes, pixels: str, cells: Cells) -> str:
    """The features of blocks, `(N, K, blocks, 6)`: means over their pixels in the picture, times the share of those."""
    down, across = cells.down, cells.across
    rows = n.op("Reshape", [pixels, n.integers([-1, down.stride, across.edge * _CHANNELS])])
    rows = n.op("ReduceMean", [rows, n.integers([1])], keepdims=0)
    # A product, as a reduction over an inner axis takes five times as long.
    mean = np.kron(np.eye(across.blocks), np.full((across.stride, 1), 1 / across.stride))
    each = n.op("Mul", [n.floats(mean[:, None, :, None]), n.floats(np.eye(_CHANNELS)[:, None])])
    each = n.op("Reshape", [each, n.integers([across.edge * _CHANNELS, across.blocks * _CHANNELS])])
    columns = n.op("MatMul", [rows, each])
    return n.op("Reshape", [columns, n.integers([-1, cells.count, cells.blocks, _CHANNELS])])


def _centres(n: Nodes, sums: str) -> str:
    """Divide sums into means, `(N, K, 6)`; the last number is `FAR` for empty superpixels, else 0."""
    count = n.op("Slice", [sums, n.integers([_CHANNELS - 1]), n.integers([_CHANNELS]), n.integers([2])])
    centre = n.op("Div", [sums, n.op("Max", [count, n.floats(_EMPTY)])])
    far = n.op("Mul", [n.op("Cast", [n.op("Less", [count, n.floats(_EMPTY)])], to=TensorProto.FLOAT), n.floats(FAR)])
    return n.op("Where", [n.array(_IS_LAST), far, centre])


def _distances(n: Nodes, centres: str, features: str, cells: Cells, middle: str | None = None) -> str:
    """Squared distances to the nine centres around each cell, up to a constant per column: `(N, K, 9, columns)`.

    Features may be relative to a point in each cell, `middle` `(N, K, 1, 6)`.
    """
    table = cells.neighbours
    nine = n.op("Gather", [centres, n.integers(np.maximum(table, 0))], axis=1)
    if middle is not None:
        nine = n.op("Sub", [nine, middle])
    far = n.op("Mul", [n.floats(np.where(table == NOWHERE, FAR, 0)[..., None]), n.floats(_IS_LAST)])
    nine = n.op("Add", [_factors(n, nine), far])
    return n.op("MatMul", [nine, n.op("Transpose", [features], perm=[0, 1, 3, 2])])


def _factors(n: Nodes, centres: str) -> str:
    """Turn centres into factors whose product with features is the squared distance: both `(..., 6)`.

    Only impossible centres get `FAR`: added to all of them, it would cost the digits that tell distances apart.
    """
    place = n.op("Where", [n.array(_IS_LAST), n.floats(0.0), centres])
    square = n.op("ReduceSumSquare", [place, n.integers([-1])], keepdims=1)
    linear = n.op("Mul", [centres, n.floats(-2.0)])
    return n.op("Where", [n.array(_IS_LAST), n.op("Add", [centres, square]), linear])


def _from_the_middle(n: Nodes, features: str) -> tuple[str, str]:
    """Features `(N, K, points, 6)` relative to the middle of their cell, and that middle, `(N, K, 1, 6)`.

    Relative numbers are small, and so are the rounding errors, which differ between engines and may decide which centre
    is the nearest.
    """
    middle = n.op("ReduceMean", [features, n.integers([2])], keepdims=1)
    middle = n.op("Where", [n.array(_IS_LAST), n.floats(0.0), middle])
    share = n.op("Slice", [features, n.integers([_CHANNELS - 1]), n.integers([_CHANNELS]), n.integers([3])])
    return n.op("Sub", [features, n.op("Mul", [middle, share])]), middle


def _assign(n: Nodes, centres: str, means: str, cells: Cells, middle: str) -> tuple[str, str]:
    """Assign each block to one of the nine, `(N, K, 9, blocks)` bool, with its distance, `(N, K, 1, blocks)`."""
    distances = _distances(n, centres, means, cells, middle)
    least = n.op("ReduceMin", [distances, n.integers([2])], keepdims=1)
    return n.op("LessOrEqual", [distances, least]), least


def _summed_up(n: Nodes, sums: str, cells: Cells) -> str:
    """Add up the sums of the nine in each cell, `(N, K, 9, 6)`, for every superpixel, `(N, K, 6)`."""
    flat = n.op("Reshape", [sums, n.integers([-1, cells.count * 9, _CHANNELS])])
    nine = n.op("Gather", [flat, n.integers(cells.held_by)], axis=1)
    return n.op("ReduceSum", [nine, n.integers([2])], keepdims=0)


def _nearest(n: Nodes, centres: str, pixels: str, labels: Sequence[str], cells: Cells) -> str:
    """Assign each pixel to one of the nine, `(N, K, pixels)` int64: the nearest of the superpixels around its block.

    `labels` are one or several label maps of the blocks, `(N, rows, columns)`.
    """
    down, across = cells.down, cells.across
    row, column = (n.integers(part) for part in cells.patches)
    patches = n.op("Reshape", [n.op("Add", [row, column]), n.integers([cells.count, -1])])
    each = []
    for holder in labels:
        padded = n.op("Pad", [holder, n.integers([0, 1, 1, 0, 1, 1])], mode="edge")
        flat = n.op("Reshape", [padded, n.integers([0, -1])])
        around = n.op("Unsqueeze", [n.op("Gather", [flat, patches], axis=1), n.integers([2])])
        each.append(n.op("Equal", [around, n.integers(cells.neighbours[..., None])]))
    here = n.op("Cast", [n.op("Or", each)], to=TensorProto.FLOAT)
    # Membership is interpolated bilinearly, and lowered below 0 where none of the four blocks around is a member; there
    # the slope is steep.
    least = down.enlarging[down.enlarging > 0].min() * across.enlarging[across.enlarging > 0].min()
    here = n.op("Mul", [n.op("Sub", [here, n.floats(least)]), n.floats(_PULL)])
    here = n.op("Reshape", [here, n.integers([-1, cells.count, 9, down.blocks + 2, across.blocks + 2])])
    share = n.op("MatMul", [n.floats(down.enlarging.T), n.op("MatMul", [here, n.floats(across.enlarging)])])
    share = n.op("Reshape", [share, n.integers([-1, cells.count, 9, cells.pixels])])
    nearer = n.op("LeakyRelu", [share], alpha=FAR / (least * _PULL))
    return n.op("ArgMin", [n.op("Sub", [_distances(n, centres, pixels, cells), nearer])], axis=2, keepdims=0)


def _on_picture(n: Nodes, nearest: str, cells: Cells) -> str:
    """Turn one of nine, `(N, K, pixels)`, into labels without gaps, `(N, H, W)` int32."""
    down, across = cells.down, cells.across
    index = n.op("Add", [nearest, n.integers(np.arange(cells.count)[:, None] * 9)])
    index = n.op("Reshape", [index, n.integers([-1, cells.count * cells.pixels])])
    label = _looked_up(n, n.array(cells.neighbours.reshape(1, -1).astype(np.int32)), index)
    label = n.op("Reshape", [label, n.integers([-1, down.cells, across.cells, down.edge, across.edge])])
    label = n.op("Transpose", [label], perm=[0, 1, 3, 2, 4])
    label = n.op("Reshape", [label, n.integers([-1, down.cells * down.edge, across.cells * across.edge])])
    starts = [down.before, across.before]
    ends = [down.before + down.length, across.before + across.length]
    label = n.op("Slice", [label, n.integers(starts), n.integers(ends), n.integers([1, 2])])
    # A superpixel may have lost all its pixels to its neighbours, so the remaining ones are numbered again.
    flat = n.op("Reshape", [label, n.integers([-1, down.length * across.length])])
    ones = n.op("Expand", [n.array(np.ones(1, np.int32)), n.op("Shape", [flat])])
    nobody = _repeated(n, n.array(np.zeros((1, cells.count), np.int32)), flat)
    there = n.op("ScatterElements", [nobody, flat, ones], axis=1)
    number = n.op("Sub", [n.op("CumSum", [there, n.integers(1)]), n.array(np.ones(1, np.int32))])
    dense = n.op("GatherElements", [number, flat], axis=1)
    return n.op("Reshape", [dense, n.integers([-1, down.length, across.length])])


def _looked_up(n: Nodes, table: str, index: str) -> str:
    """Look up `table (1, M)` at `index (N, P)`; Gather copies numbers one by one and takes ten times as long."""
    return n.op("GatherElements", [_repeated(n, table, index), index], axis=1)


def _repeated(n: Nodes, row: str, like: str) -> str:
    """Repeat `(1, M)` along the first axis of `like`, `(N, ...)`."""
    return n.op("Expand", [row, n.op("Concat", [n.op("Shape", [like], start=0, end=1), n.integers([1])], axis=0)])
