"""From a picture `(1, H, W, 3)` uint8 to cells, `(1, K, pixels, 3)` or `(1, K, 3, pixels)`."""

from __future__ import annotations

from onnx import TensorProto

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels import kmeans
from secam_onnx.superpixels.cells import Cells

__all__ = ["FORMS", "OURS"]


def runs(n: Nodes, cells: Cells) -> str:
    return kmeans._in_cells(n, "image", cells)


def runs_of_floats(n: Nodes, cells: Cells) -> str:
    return kmeans._in_cells(n, n.op("Cast", ["image"], to=TensorProto.FLOAT), cells)


def pixels(n: Nodes, cells: Cells) -> str:
    parts = n.op("Transpose", [_split(n, cells)], perm=[0, 1, 3, 2, 4, 5])
    return n.op("Reshape", [parts, n.integers([-1, cells.count, cells.pixels, 3])])


def planes(n: Nodes, cells: Cells) -> str:
    parts = n.op("Transpose", [_split(n, cells)], perm=[0, 1, 3, 5, 2, 4])
    return n.op("Reshape", [parts, n.integers([-1, cells.count, 3, cells.pixels])])


def _split(n: Nodes, cells: Cells) -> str:
    down, across = cells.down, cells.across
    return n.op("Reshape", ["image", n.integers([-1, down.cells, down.edge, across.cells, across.edge, 3])])


OURS = "Transpose of runs of pixels, colours beside each other"
FORMS = {
    "Transpose into planes of colours": planes,
    "Transpose of single pixels": pixels,
    OURS: runs,
    "the same of float32": runs_of_floats,
}
