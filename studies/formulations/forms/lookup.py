"""From the number among the nine, `(1, K, pixels)` int64, to the label, int32."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels.cells import Cells

__all__ = ["FORMS", "OURS", "gather_elements"]


def gather(n: Nodes, cells: Cells, index: str = "index") -> str:
    return n.op("Gather", [_table(n, cells), _into_table(n, cells, index)])


def gather_elements(n: Nodes, cells: Cells, index: str = "index") -> str:
    """As the package does it."""
    flat = n.op("Reshape", [_into_table(n, cells, index), n.integers([-1])])
    return n.op("GatherElements", [_table(n, cells), flat], axis=0)


def gather_rows(n: Nodes, cells: Cells, index: str = "index") -> str:
    table = n.array(cells.neighbours.astype(np.int32)[None])
    return n.op("GatherElements", [table, index], axis=2)


def integers(n: Nodes, cells: Cells, index: str = "index") -> str:
    # Row and column of the nine: number + (columns - 3) * (number // 3) from the upper left one.
    row = n.op("Div", [index, n.integers(3)])
    moved = n.op("Add", [index, n.op("Mul", [row, n.integers(cells.across.cells - 3)])])
    label = n.op("Add", [moved, n.integers(_corner(cells))])
    return n.op("Cast", [label], to=TensorProto.INT32)


def floats(n: Nodes, cells: Cells, index: str = "index") -> str:
    number = n.op("Cast", [index], to=TensorProto.FLOAT)
    row = n.op("Floor", [n.op("Mul", [number, n.floats(0.334)])])
    moved = n.op("Add", [number, n.op("Mul", [row, n.floats(cells.across.cells - 3)])])
    return n.op("Cast", [n.op("Add", [moved, n.floats(_corner(cells))])], to=TensorProto.INT32)


def _table(n: Nodes, cells: Cells) -> str:
    return n.array(cells.neighbours.ravel().astype(np.int32))


def _into_table(n: Nodes, cells: Cells, index: str) -> str:
    return n.op("Add", [index, n.integers(np.arange(cells.count)[:, None] * 9)])


def _corner(cells: Cells) -> np.ndarray:
    return np.arange(cells.count)[:, None] - cells.across.cells - 1


OURS = "a table of all, GatherElements"
FORMS = {
    "a table of all, Gather": gather,
    OURS: gather_elements,
    "a table for each cell, GatherElements": gather_rows,
    "arithmetic in int64": integers,
    "arithmetic in float32": floats,
}
