"""SLIC's K-means as an ONNX model: sRGB in, label map out, in any runtime.

The superpixels are found on a coarse picture, the means of small blocks: K-means over CIELAB and position, in which a
block belongs to one of the nine superpixels around it, then every block that its superpixel does not hold together is
given to a neighbour. At full size a pixel belongs to the nearest of the superpixels that are around its block.

References
----------
.. [1] R. Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", IEEE TPAMI 34(11), 2012.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper

from secam_onnx.nodes import Nodes
from secam_onnx.superpixels.cells import NOWHERE, Cells
from secam_onnx.superpixels.lab import LAB_OF_ROOTS, cube_roots

__all__ = ["kmeans_model"]

_OPSET = 18
_IR_VERSION = 8  # the lowest that goes with this opset, so that older runtimes read it
_FAR = 4096.0  # a squared distance that no pixel has; float32 still tells 0.0005 beside it
_EMPTY = 1e-3  # pixels
_CHANNELS = 6  # L, a, b, y, x, 1
_GREY = 50.0  # subtracted from the lightness: small numbers are exact numbers
_SPREAD, _FILL = 8, 6  # rounds; a superpixel is rarely longer, a stray piece hardly ever wider
_PULL = 1.0  # of a block that belongs to a superpixel, in units of squared distance


def kmeans_model(
    size: tuple[int, int],
    segments: int | tuple[int, int] = 50,
    *,
    compactness: float = 20.0,
    iterations: int = 5,
    blocks: int = 8,
) -> ModelProto:
    """Build the model for pictures of one size.

    Parameters
    ----------
    size : (int, int)
        Height and width, in pixels.
    segments : int or (int, int)
        How many superpixels to aim at, or in how many rows and columns: cells of whole blocks that fit best.
    compactness : float
        Weight of closeness against colour.
    iterations : int
        Rounds of K-means.
    blocks : int
        Blocks along the edge of a cell, about: fewer are faster, more follow finer structures.

    Returns
    -------
    ModelProto
        `image (N, height, width, 3)` uint8, sRGB -> `segments (N, height, width)` int32, labels below the number of
        cells, of which a few may have no pixel.
    """
    cells = Cells.fitted(size, segments, blocks)
    n = Nodes()
    step = np.sqrt(cells.down.edge * cells.across.edge)
    pixels = _features(n, _in_cells(n, "image", cells), cells, compactness, step)
    blocks = _means(n, pixels, cells)
    centres = _centres(n, n.op("ReduceSum", [blocks, n.integers([2])], keepdims=0))
    transposed = n.op("Transpose", [blocks], perm=[0, 1, 3, 2])
    for _ in range(iterations):
        members, _ = _assign(n, centres, transposed, cells)
        parts = n.op("MatMul", [n.op("Cast", [members], to=TensorProto.FLOAT), blocks])
        centres = _centres(n, _gather_parts(n, parts, cells))
    labels = _held_together(n, centres, blocks, transposed, cells)
    result = _on_picture(n, _refined(n, centres, pixels, labels, cells), cells)
    body = helper.make_graph(
        [*n.nodes, helper.make_node("Identity", [result], ["segments"])],
        "kmeans",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *size, 3])],
        [helper.make_tensor_value_info("segments", TensorProto.INT32, ["N", *size])],
        n.values,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def _in_cells(n: Nodes, image: str, cells: Cells) -> str:
    """`(N, H, W, 3)` to `(N, K, pixels, 3)`."""
    down, across = cells.down, cells.across
    if pads := [0, down.before, across.before, 0, 0, down.after, across.after, 0]:
        image = n.op("Pad", [image, n.integers(pads)], mode="edge") if any(pads) else image
    # Whole runs of pixels move, colours stay beside each other: ten times as fast as planes of colours.
    runs = n.op("Reshape", [image, n.integers([-1, down.cells, down.edge, across.cells, across.edge * 3])])
    runs = n.op("Transpose", [runs], perm=[0, 1, 3, 2, 4])
    return n.op("Reshape", [runs, n.integers([-1, cells.count, cells.pixels, 3])])


def _features(n: Nodes, colours: str, cells: Cells, compactness: float, step: float) -> str:
    """L, a, b over the compactness, y, x over the cell's edge, and 1: `(N, K, pixels, 6)`; zeros beyond the picture.

    With the 1, a distance is one product, and sums over pixels carry their number along.
    """
    lab = np.zeros((3, _CHANNELS))
    lab[:, :3] = LAB_OF_ROOTS.T / compactness
    values = n.op("MatMul", [cube_roots(n, colours), n.floats(lab)])
    down, across = cells.down, cells.across
    inside = cells.in_cells(down.inside[:, None] & across.inside)[..., None]
    rest = np.zeros((cells.count, cells.pixels, _CHANNELS))
    rest[..., 0] = -_GREY / compactness
    rest[..., 3] = cells.in_cells(np.broadcast_to(down.positions[:, None], _padded(cells))) / step
    rest[..., 4] = cells.in_cells(np.broadcast_to(across.positions, _padded(cells))) / step
    rest[..., 5] = 1
    if not inside.all():
        values = n.op("Mul", [values, n.floats(inside)])
    return n.op("Add", [values, n.floats(rest * inside)])


def _padded(cells: Cells) -> tuple[int, int]:
    return cells.down.cells * cells.down.edge, cells.across.cells * cells.across.edge


def _means(n: Nodes, pixels: str, cells: Cells) -> str:
    """The features of blocks, `(N, K, blocks, 6)`: means of what is picture, times its share."""
    down, across = cells.down, cells.across
    if down.stride == across.stride == 1:
        return pixels
    rows = n.op("Reshape", [pixels, n.integers([-1, down.stride, across.edge * _CHANNELS])])
    rows = n.op("ReduceMean", [rows, n.integers([1])], keepdims=0)
    mean = np.kron(np.kron(np.eye(across.blocks), np.full((across.stride, 1), 1 / across.stride)), np.eye(_CHANNELS))
    rows = n.op("Reshape", [rows, n.integers([-1, across.edge * _CHANNELS])])
    columns = n.op("MatMul", [rows, n.floats(mean)])  # a reduction over an inner axis is slow
    return n.op("Reshape", [columns, n.integers([-1, cells.count, cells.blocks, _CHANNELS])])


def _centres(n: Nodes, sums: str) -> str:
    """From sums `(N, K, 6)` to what gives squared distances, but for a constant of each pixel: `(N, K, 6)`."""
    count = n.op("Slice", [sums, n.integers([_CHANNELS - 1]), n.integers([_CHANNELS]), n.integers([2])])
    centre = n.op("Div", [sums, n.op("Max", [count, n.floats(_EMPTY)])])  # its last number: 0 of nobody's, else 1
    square = n.op("ReduceSumSquare", [centre, n.integers([2])], keepdims=1)
    linear = n.op("Mul", [centre, n.floats([-2.0] * (_CHANNELS - 1) + [-_FAR])])
    return n.op("Add", [linear, n.op("Mul", [square, n.floats([0.0] * (_CHANNELS - 1) + [1.0])])])


def _around(n: Nodes, centres: str, cells: Cells) -> str:
    """The nine centres of each cell, `(N, K, 9, 6)`."""
    table = cells.neighbours
    far = np.zeros((*table.shape, _CHANNELS))
    far[..., -1] = np.where(table == NOWHERE, _FAR, 0)
    nine = n.op("Gather", [centres, n.integers(np.maximum(table, 0))], axis=1)
    return n.op("Add", [nine, n.floats(far)])


def _assign(n: Nodes, centres: str, transposed: str, cells: Cells) -> tuple[str, str]:
    """Which of the nine each block belongs to, `(N, K, 9, blocks)` bool, and its distance `(N, K, 1, blocks)`."""
    distances = n.op("MatMul", [_around(n, centres, cells), transposed])
    least = n.op("ReduceMin", [distances, n.integers([2])], keepdims=1)
    return n.op("LessOrEqual", [distances, least]), least


def _gather_parts(n: Nodes, parts: str, cells: Cells) -> str:
    """Sums of the nine in each cell, `(N, K, 9, 6)`, to those of each superpixel, `(N, K, 6)`."""
    table = cells.gathered
    flat = n.op("Reshape", [parts, n.integers([-1, cells.count * 9, _CHANNELS])])
    flat = n.op("Pad", [flat, n.integers([0, 0, 0, 0, 1, 0])])  # nobody's, zeros
    nine = n.op("Gather", [flat, n.integers(np.where(table == NOWHERE, cells.count * 9, table))], axis=1)
    return n.op("ReduceSum", [nine, n.integers([2])], keepdims=0)


def _held_together(n: Nodes, centres: str, blocks: str, transposed: str, cells: Cells) -> str:
    """The label of every block, `(N, rows, columns)` int64, once stray pieces are given to their neighbours."""
    members, least = _assign(n, centres, transposed, cells)
    seeds = _seeds(n, members, least, blocks, cells)
    planes = n.array(np.arange(16).reshape(1, 16, 1, 1))
    first = n.op("ArgMax", [n.op("Cast", [members], to=TensorProto.FLOAT)], axis=2, keepdims=0)
    rows = n.integers(np.arange(cells.count)[:, None] * 9)
    numbers = cells.planes[np.maximum(cells.neighbours, 0)].reshape(-1)
    plane = n.op("Gather", [n.integers(numbers), n.op("Add", [first, rows])])
    own = n.op("Cast", [n.op("Equal", [_as_picture(n, plane, cells), planes])], to=TensorProto.FLOAT)
    # From the seeds through the superpixel, up and down, then left and right.
    reached = n.op("Mul", [own, _as_picture(n, seeds, cells)])
    for _ in range(_SPREAD):
        for kernel in ([3, 1], [1, 3]):
            reached = n.op("Mul", [_highest_around(n, reached, kernel), own])
    # What was not reached goes to whoever comes first; what nobody reaches stays.
    possible = np.zeros((cells.count, 16), dtype=np.float32)
    for cell, near in enumerate(cells.neighbours):
        possible[cell, cells.planes[near[near != NOWHERE]]] = 1
    down, across = cells.down, cells.across
    shape = (1, 16, down.cells, 1, across.cells, 1)
    here = possible.T.reshape(shape)
    whole = [1, 16, down.cells, down.blocks, across.cells, across.blocks]
    here_name = n.op("Expand", [n.floats(here), n.integers(whole)])
    here_name = n.op(
        "Reshape", [here_name, n.integers([1, 16, down.cells * down.blocks, across.cells * across.blocks])]
    )
    for _ in range(_FILL):
        free = n.op("Sub", [n.floats(1), n.op("ReduceMax", [reached, n.integers([1])], keepdims=1)])
        grown = n.op("Mul", [_highest_around(n, reached, [3, 3]), n.op("Mul", [free, here_name])])
        reached = n.op("Add", [reached, grown])
    reached = n.op("Add", [reached, n.op("Mul", [own, n.floats(0.5)])])
    plane = n.op("ArgMax", [reached], axis=1, keepdims=0)
    cell_rows = np.arange(down.cells * down.blocks) // down.blocks * across.cells
    cell_columns = np.arange(across.cells * across.blocks) // across.blocks
    place = n.op("Add", [plane, n.integers((cell_rows[:, None] + cell_columns) * 16)])
    return n.op("Gather", [n.integers(cells.by_plane.reshape(-1)), place])


def _seeds(n: Nodes, members: str, least: str, blocks: str, cells: Cells) -> str:
    """The block of each superpixel that is nearest to its centre, `(N, K, blocks)` float, 1 or 0."""
    own = n.op("ReduceSumSquare", [blocks, n.integers([3])], keepdims=0)
    distance = n.op("Add", [least, n.op("Unsqueeze", [own, n.integers([2])])])
    distance = n.op("Where", [members, distance, n.floats(_FAR)])
    best = n.op("ReduceMin", [distance, n.integers([3])], keepdims=0)  # (N, K, 9), of each in each cell
    flat = n.op("Reshape", [best, n.integers([-1, cells.count * 9])])
    flat = n.op("Pad", [flat, n.integers([0, 0, 0, 1]), n.floats(_FAR)])
    table = np.where(cells.gathered == NOWHERE, cells.count * 9, cells.gathered)
    best = n.op("ReduceMin", [n.op("Gather", [flat, n.integers(table)], axis=1), n.integers([2])], keepdims=0)
    best = n.op("Min", [best, n.floats(_FAR / 2)])
    nine = n.op("Gather", [best, n.integers(np.maximum(cells.neighbours, 0))], axis=1)
    nine = n.op("Unsqueeze", [nine, n.integers([3])])
    found = n.op("Cast", [n.op("LessOrEqual", [distance, nine])], to=TensorProto.FLOAT)
    return n.op("ReduceMax", [found, n.integers([2])], keepdims=0)


def _as_picture(n: Nodes, values: str, cells: Cells) -> str:
    """`(N, K, blocks)` to `(N, 1, rows, columns)`."""
    down, across = cells.down, cells.across
    parts = n.op("Reshape", [values, n.integers([-1, down.cells, across.cells, down.blocks, across.blocks])])
    parts = n.op("Transpose", [parts], perm=[0, 1, 3, 2, 4])
    return n.op("Reshape", [parts, n.integers([-1, 1, down.cells * down.blocks, across.cells * across.blocks])])


def _highest_around(n: Nodes, planes: str, kernel: list[int]) -> str:
    return n.op("MaxPool", [planes], kernel_shape=kernel, pads=[kernel[0] // 2, kernel[1] // 2] * 2)


def _refined(n: Nodes, centres: str, pixels: str, labels: str, cells: Cells) -> str:
    """Which of the nine each pixel belongs to, `(N, K, pixels)` int64: the nearest of those around its block."""
    down, across = cells.down, cells.across
    # The halo of the picture repeats its edge.
    padded = n.op("Pad", [labels, n.integers([0, 1, 1, 0, 1, 1])], mode="edge")
    flat = n.op("Reshape", [padded, n.integers([0, -1])])
    patches = n.op("Unsqueeze", [n.op("Gather", [flat, n.integers(cells.patches)], axis=1), n.integers([2])])
    here = n.op("Cast", [n.op("Equal", [patches, n.integers(cells.neighbours[..., None])])], to=TensorProto.FLOAT)
    # Interpolated, and `least` below nothing where no block around is the superpixel's: the weights add up to 1.
    least = down.enlarging[down.enlarging > 0].min() * across.enlarging[across.enlarging > 0].min()
    here = n.op("Mul", [n.op("Sub", [here, n.floats(least)]), n.floats(_PULL)])
    here = n.op("Reshape", [here, n.integers([-1, cells.count, 9, down.blocks + 2, across.blocks + 2])])
    share = n.op("MatMul", [here, n.floats(across.enlarging)])
    share = n.op("MatMul", [n.floats(down.enlarging.T), share])
    share = n.op("Reshape", [share, n.integers([-1, cells.count, 9, cells.pixels])])
    bonus = n.op("LeakyRelu", [share], alpha=_FAR / (least * _PULL))
    distances = n.op("MatMul", [_around(n, centres, cells), n.op("Transpose", [pixels], perm=[0, 1, 3, 2])])
    return n.op("ArgMin", [n.op("Sub", [distances, bonus])], axis=2, keepdims=0)


def _on_picture(n: Nodes, nearest: str, cells: Cells) -> str:
    """From one of nine `(N, K, pixels)` to labels `(N, H, W)` int32."""
    down, across = cells.down, cells.across
    # Arithmetic where a table would do: reading one number at a time takes longer.
    index = n.op("Cast", [nearest], to=TensorProto.FLOAT)
    row = n.op("Floor", [n.op("Mul", [index, n.floats(0.334)])])
    label = n.op("Add", [index, n.op("Mul", [row, n.floats(across.cells - 3)])])
    label = n.op("Add", [label, n.floats(np.arange(cells.count)[:, None] - across.cells - 1)])
    label = n.op("Cast", [label], to=TensorProto.INT32)
    label = n.op("Reshape", [label, n.integers([-1, down.cells, across.cells, down.edge, across.edge])])
    label = n.op("Transpose", [label], perm=[0, 1, 3, 2, 4])
    label = n.op("Reshape", [label, n.integers([-1, *_padded(cells)])])
    if (down.length, across.length) == _padded(cells):
        return label
    starts = n.integers([down.before, across.before])
    ends = n.integers([down.before + down.length, across.before + across.length])
    return n.op("Slice", [label, starts, ends, n.integers([1, 2])])
