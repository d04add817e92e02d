"""What a superpixel does not hold together goes to its neighbours: connected components, as a few rounds of pooling.

Superpixels are spread over 16 planes, such that two on the same plane never meet.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from secam_onnx.nodes import Nodes
from secam_onnx.superpixels.cells import PLANES, Cells

__all__ = ["FAR", "held_together"]

FAR = 4096.0
"""A squared distance that no pixel has; beside it float32 still tells 0.0005."""

_SPREAD = 8  # rounds; in one, a superpixel is followed a block down or up and a block to a side
_FILL = 6  # rounds; stray pieces are hardly ever wider than twice as many blocks


def held_together(n: Nodes, members: str, distances: str, cells: Cells) -> str:
    """Give every block that is not connected with its superpixel's centre to a superpixel beside it.

    Parameters
    ----------
    n : Nodes
        Where to write.
    members : str
        `(N, K, 9, blocks)` bool, which of the nine superpixels around its cell each block belongs to.
    distances : str
        `(N, K, 1, blocks)` float32, how far it is from the centre of that one; `FAR` for blocks without picture.
    cells : Cells
        The layout.

    Returns
    -------
    str
        `(N, rows, columns)` int64, the label of every block.
    """
    planes = PLANES * PLANES
    first = n.op("ArgMax", [n.op("Cast", [members], to=TensorProto.FLOAT)], axis=2, keepdims=0)
    rows = n.integers(np.arange(cells.count)[:, None] * 9)
    plane = n.op(
        "Gather", [n.integers(cells.planes[np.maximum(cells.neighbours, 0)].ravel()), n.op("Add", [first, rows])]
    )
    numbers = n.integers(np.arange(planes).reshape(1, planes, 1, 1))
    own = n.op("Cast", [n.op("Equal", [_as_picture(n, plane, cells), numbers])], to=TensorProto.FLOAT)
    if cells.empty_blocks.any():  # these are filled from beside
        whole = n.floats(~cells.empty_blocks[None])
        own = n.op("Mul", [own, _as_picture(n, whole, cells)])
    reached = n.op("Mul", [own, _as_picture(n, _seeds(n, members, distances, cells), cells)])
    for _ in range(_SPREAD):
        for window in ([3, 1], [1, 3]):
            reached = n.op("Mul", [_highest(n, reached, window), own])
    within = n.floats(cells.within_reach)
    for _ in range(_FILL):
        free = n.op("Sub", [within, n.op("ReduceMax", [reached, n.integers([1])], keepdims=1)])
        reached = n.op("Add", [reached, n.op("Mul", [_highest(n, reached, [3, 3]), n.op("Relu", [free])])])
    # What nobody has reached stays; among several that came at once, the one that it was taken from is first.
    reached = n.op("Add", [reached, n.op("Mul", [own, n.floats(0.5)])])
    place = n.op("Add", [n.op("ArgMax", [reached], axis=1, keepdims=0), n.integers(cells.of_block * planes)])
    return n.op("Gather", [n.integers(cells.by_plane.ravel()), place])


def _seeds(n: Nodes, members: str, distances: str, cells: Cells) -> str:
    """Of each superpixel the block that is nearest to its centre: `(N, K, blocks)` float32, 1 or 0."""
    distances = n.op("Where", [members, distances, n.floats(FAR)])
    least = n.op("ReduceMin", [distances, n.integers([3])], keepdims=0)  # of each of the nine in each cell
    flat = n.op("Reshape", [least, n.integers([-1, cells.count * 9])])
    least = n.op("ReduceMin", [n.op("Gather", [flat, n.integers(cells.held_by)], axis=1), n.integers([2])], keepdims=0)
    least = n.op("Min", [least, n.floats(FAR / 2)])  # who has no block has no seed
    nine = n.op(
        "Unsqueeze", [n.op("Gather", [least, n.integers(np.maximum(cells.neighbours, 0))], axis=1), n.integers([3])]
    )
    found = n.op("Cast", [n.op("LessOrEqual", [distances, nine])], to=TensorProto.FLOAT)
    return n.op("ReduceMax", [found, n.integers([2])], keepdims=0)


def _as_picture(n: Nodes, values: str, cells: Cells) -> str:
    """`(N, K, blocks)` to `(N, 1, rows, columns)`."""
    down, across = cells.down, cells.across
    parts = n.op("Reshape", [values, n.integers([-1, down.cells, across.cells, down.blocks, across.blocks])])
    parts = n.op("Transpose", [parts], perm=[0, 1, 3, 2, 4])
    return n.op("Reshape", [parts, n.integers([-1, 1, down.cells * down.blocks, across.cells * across.blocks])])


def _highest(n: Nodes, planes: str, window: list[int]) -> str:
    return n.op("MaxPool", [planes], kernel_shape=window, pads=[window[0] // 2, window[1] // 2] * 2)
