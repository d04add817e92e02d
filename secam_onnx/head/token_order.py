"""The order of a picture's cells among tokens that the graph has put into another order than row by row.

Hiera lists the tokens of a window together, so that a pool of four is one over an axis. Each number of a map gets the
place that its position has on the picture, and the places are moved through the nodes that move numbers.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.rules.base import NoMatchError
from secam_onnx.head.rules.channel_slice import SliceRule, SliceStep

__all__ = ["are_scattered", "order_of"]

_DEEPEST = 400  # nodes
_RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_POOLS = {"ReduceMax", "ReduceMean", "ReduceSum"}
_MAPS = {"AveragePool", "Conv", "MaxPool"}
_UNKNOWN = {
    "Concat", "ConvTranspose", "Einsum", "Expand", "Gather", "GatherElements", "GatherND", "Pad", "Resize",
    "ReverseSequence", "ScatterND", "Split", "Tile", "TopK",
}  # fmt: skip
_ALIKE = 1e-6  # of an edge of the picture
_STEPS = 2**0.5 * 1e6  # to an edge; irrational, so that no place lies in the middle between two


def order_of(graph: Graph, tensor: str, axis: int) -> tuple[int, int, tuple[int, ...]] | None:
    """Rows and columns of the cells along an axis of a tensor, and for each cell, row by row, the index of its token.

    None if the graph does not tell, or the tokens are not the cells of a grid.
    """
    places = _Places(graph.for_one_image()).of(tensor, 0)
    if places is None or axis >= places.ndim - 1:
        return None
    tokens = np.moveaxis(places, axis + 1, 1).reshape(2, places.shape[axis + 1], -1)
    if np.ptp(tokens, axis=2).max(initial=0) > _ALIKE:
        return None
    cells = np.round(tokens[:, :, 0] * _STEPS).astype(np.int64)
    rows, columns = (np.unique(edge) for edge in cells)
    if len(rows) * len(columns) != cells.shape[1] or len(np.unique(cells, axis=1).T) != cells.shape[1]:
        return None
    return len(rows), len(columns), tuple(int(index) for index in np.lexsort((cells[1], cells[0])))


def are_scattered(graph: Graph, tensor: str, axes: tuple[int, ...]) -> bool:
    """Whether two axes of a tensor are known not to be rows and columns of the picture, but windows and their cells."""
    places = _Places(graph.for_one_image()).of(tensor, 0)
    if places is None:
        return False
    varying = [
        {axis for axis in range(edge.ndim) if edge.shape[axis] > 1 and np.ptp(edge, axis=axis).max() > _ALIKE}
        for edge in places
    ]
    return any(len(found) > 1 or not found <= set(axes) for found in varying)


class _Places:
    """Row and column, as fractions of the picture's edges, of each number of a tensor, `(2, *shape)`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def of(self, tensor: str, depth: int) -> np.ndarray | None:
        graph, node = self._graph, self._graph.producer(tensor)
        shape = graph.shape(tensor)
        if node is None or not shape or None in shape or depth > _DEEPEST or node.op_type in _UNKNOWN:
            return None
        lengths = [length or 0 for length in shape]
        if node.op_type in _MAPS:
            return _regular(lengths) if len(lengths) == 4 else None
        data = [name for name in node.input if name and not graph.is_constant(name)]
        same = sorted((name for name in data if graph.shape(name) == shape), key=graph.position)  # skip connections
        moves = node.op_type in (_RESHAPES | _POOLS | {"Transpose", "Slice", "MatMul", "Gemm"})
        source = data[0] if moves and data else next(iter(same), None)
        before = None if source is None else self.of(source, depth + 1)
        if before is None or not moves:
            return before
        return self._moved(node, before, lengths)

    def _moved(self, node: NodeProto, places: np.ndarray, shape: list[int]) -> np.ndarray | None:
        if node.op_type in _RESHAPES:
            return places.reshape(2, *shape)
        if node.op_type == "Transpose":
            order = attribute(node, "perm", range(len(shape))[::-1])
            return places.transpose(0, *(axis + 1 for axis in order))
        if node.op_type in _POOLS:
            axes = self._graph.integers(node, "axes", 1)
            over = tuple(axis % (places.ndim - 1) + 1 for axis in axes or range(places.ndim - 1))
            return places.mean(axis=over).reshape(2, *shape)
        if node.op_type == "Slice":
            return self._cut(node, places)
        alike = places.ndim - 1 == len(shape) and list(places.shape[1:-1]) == shape[:-1]
        return np.broadcast_to(places[..., :1], (2, *shape)) if alike else None  # a linear layer

    def _cut(self, node: NodeProto, places: np.ndarray) -> np.ndarray | None:
        try:
            step = SliceRule().match(self._graph, node)
        except NoMatchError:
            return None
        assert isinstance(step, SliceStep)
        for axis, start, behind in step.parts:
            places = places.take(range(start, places.shape[axis + 1] - behind), axis=axis + 1)
        return places


def _regular(shape: list[int]) -> np.ndarray:
    """The places of a map `(N, C, h, w)`."""
    rows, columns = ((np.arange(length) + 0.5) / length for length in shape[2:])
    return np.stack([np.broadcast_to(rows[:, None], shape), np.broadcast_to(columns, shape)])
