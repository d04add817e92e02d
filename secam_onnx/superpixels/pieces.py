"""Stray pieces of a superpixel go to its neighbours: connected components by a few rounds of shifts."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels.cells import Cells

__all__ = ["FAR", "held_together"]

FAR = 4096.0
"""A squared distance that no pixel has, for impossible assignments only, as it costs digits."""

_SPREAD = 12  # rounds; each follows a superpixel by one block in every direction
_FILL = 4  # rounds; stray pieces are hardly ever wider than eight blocks
_NONE = -1.0  # the label outside the picture


def held_together(n: Nodes, members: str, distances: str, cells: Cells) -> list[str]:
    """Give every block that is not connected to its superpixel's centre to a superpixel beside it.

    Parameters
    ----------
    n : Nodes
        Where the nodes go.
    members : str
        `(N, K, 9, blocks)` bool, which of the nine superpixels of its cell each block belongs to.
    distances : str
        `(N, K, 1, blocks)` float32, its distance to the centre of that one; `FAR` for blocks outside the picture.
    cells : Cells
        The layout.

    Returns
    -------
    list of str
        Two label maps of the blocks, `(N, rows, columns)` int64. They differ where several superpixels reach a free
        block at once: one has the highest label, one the lowest, and the block's pixels may choose between them.
    """
    first = n.op("ArgMax", [n.op("Cast", [members], to=TensorProto.FLOAT)], axis=2, keepdims=0)
    index = n.op("Add", [first, n.integers(np.arange(cells.count)[:, None] * 9)])
    label = n.op("Gather", [n.floats(cells.neighbours.ravel()), index])
    if cells.empty_blocks.any():  # so that their neighbours fill them
        label = n.op("Where", [n.array(cells.empty_blocks), n.floats(_NONE), label])
    label = _as_picture(n, label, cells)
    same = {way: n.op("Equal", [label, _shifted(n, label, way, _NONE)]) for way in _WAYS}
    same = {way: n.op("Cast", [mask], to=TensorProto.FLOAT) for way, mask in same.items()}
    reached = _as_picture(n, _seeds(n, members, distances, cells), cells)
    for _ in range(_SPREAD):
        for ways in (("down", "up"), ("right", "left")):
            beside = [n.op("Mul", [_shifted(n, reached, way), same[way]]) for way in ways]
            reached = n.op("Max", [reached, *beside])
    return [_filled(n, reached, label, way, cells) for way in ("up", "down")]


def _filled(n: Nodes, reached: str, label: str, order: str, cells: Cells) -> str:
    """Fill free blocks with the highest or the lowest label of those that reach them first."""
    # 1 and above where a superpixel holds the block, 0 where it is free.
    up = order == "up"
    number = n.op("Add", [label, n.floats(1)]) if up else n.op("Sub", [n.floats(cells.count), label])
    held = n.op("Mul", [reached, number])
    for _ in range(_FILL):
        best = n.op("MaxPool", [held], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        held = n.op("Where", [n.op("Cast", [held], to=TensorProto.BOOL), held, best])
    found = n.op("Sub", [held, n.floats(1)]) if up else n.op("Sub", [n.floats(cells.count), held])
    taken = n.op("And", [n.op("Cast", [held], to=TensorProto.BOOL), _within_reach(n, found, cells)])
    label = n.op("Where", [taken, found, label])
    return n.op("Squeeze", [n.op("Cast", [label], to=TensorProto.INT64), n.integers([1])])


def _within_reach(n: Nodes, label: str, cells: Cells) -> str:
    """Whether each label, `(N, 1, rows, columns)`, is one of the nine of the block's cell; bool."""
    columns = cells.across.cells
    row = n.op("Floor", [n.op("Div", [label, n.floats(columns)])])
    column = n.op("Sub", [label, n.op("Mul", [row, n.floats(columns)])])
    own_row, own_column = cells.of_block
    apart = [n.op("Abs", [n.op("Sub", [at, n.floats(own)])]) for at, own in ((row, own_row), (column, own_column))]
    return n.op("LessOrEqual", [n.op("Max", apart), n.floats(1)])


_WAYS = {"down": (1, 0), "up": (-1, 0), "right": (0, 1), "left": (0, -1)}


def _shifted(n: Nodes, picture: str, way: str, fill: float = 0.0) -> str:
    """Move a picture `(N, 1, rows, columns)` by one block."""
    down, right = _WAYS[way]
    pads = [0, 0, down, right, 0, 0, -down, -right]  # negative padding crops
    return n.op("Pad", [picture, n.integers(pads), n.floats(fill)])


def _seeds(n: Nodes, members: str, distances: str, cells: Cells) -> str:
    """Mark the block of each superpixel that is nearest to its centre: `(N, K, blocks)` float32, 1 or 0."""
    distances = n.op("Where", [members, distances, n.floats(FAR)])
    least = n.op("ReduceMin", [distances, n.integers([3])], keepdims=0)  # for each of the nine in each cell
    flat = n.op("Reshape", [least, n.integers([-1, cells.count * 9])])
    least = n.op("ReduceMin", [n.op("Gather", [flat, n.integers(cells.held_by)], axis=1), n.integers([2])], keepdims=0)
    least = n.op("Min", [least, n.floats(FAR / 2)])  # a superpixel without blocks has no seed
    nine = n.op("Gather", [least, n.integers(np.maximum(cells.neighbours, 0))], axis=1)
    nine = n.op("Unsqueeze", [nine, n.integers([3])])
    found = n.op("Cast", [n.op("LessOrEqual", [distances, nine])], to=TensorProto.FLOAT)
    return n.op("ReduceMax", [found, n.integers([2])], keepdims=0)


def _as_picture(n: Nodes, values: str, cells: Cells) -> str:
    """Rearrange `(N, K, blocks)` into `(N, 1, rows, columns)`."""
    down, across = cells.down, cells.across
    parts = n.op("Reshape", [values, n.integers([-1, down.cells, across.cells, down.blocks, across.blocks])])
    parts = n.op("Transpose", [parts], perm=[0, 1, 3, 2, 4])
    return n.op("Reshape", [parts, n.integers([-1, 1, down.cells * down.blocks, across.cells * across.blocks])])
