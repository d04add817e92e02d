"""Which tokens of a transformer are cells of the picture, and which have no position (class tokens, registers).

The search follows the axis of tokens back through the graph to the node that made it from rows and columns of a map.
Tokens that were joined to these cells on the way, before or behind them, have no position. Their number is never
guessed from the count alone, such as 21 tokens being 16 and five more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute
from secam_onnx.graph.onnxruntime_operators import as_standard
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.picture import Pictures

__all__ = ["CutTokensError", "Tokens", "cells_by_aspect", "count_of", "tokens_of"]

_DEEPEST = 400  # nodes; a transformer of 48 blocks has half as many along its skip connections
_MOVE = {
    "ConvTranspose", "Einsum", "Expand", "GatherElements", "GatherND", "Pad", "Resize", "ReverseSequence", "ScatterND",
    "Tile", "TopK",
}  # fmt: skip

_POOLS = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean", "ReduceSum"}


class CutTokensError(Exception):
    """Some of the cells were left out; the others do not form a grid over the picture."""


@dataclass(frozen=True)
class Tokens:
    """What an axis of tokens counts.

    Attributes
    ----------
    prefix, suffix : int
        The numbers of tokens before and behind the cells.
    rows, columns : int
        Those of the grid of cells.
    pooled : bool
        Whether a token without position is a pool of cells, and no parameter at first.
    order : tuple of int or None
        For each cell, row by row, the index of its token; None if they are listed row by row.
    """

    rows: int
    columns: int
    prefix: int = 0
    suffix: int = 0
    pooled: bool = field(default=False, compare=False)
    order: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        """The number of all tokens."""
        return self.prefix + self.rows * self.columns + self.suffix


def tokens_of(graph: Graph, tensor: str, axis: int) -> Tokens | None:
    """What an axis of tokens counts; None if the graph does not tell.

    Parameters
    ----------
    graph : Graph
        The model.
    tensor : str
        A tensor whose shape is known.
    axis : int
        The axis that counts tokens.

    Raises
    ------
    CutTokensError
        Only some of the cells are left.
    """
    search = _Search(graph)
    found = search.along(tensor, axis, 0)
    if found is None and search.cut:
        raise CutTokensError
    length = (graph.shape(tensor) or ())[axis]
    return found if found is None or length in (None, found.count) else None


def cells_by_aspect(graph: Graph, tensor: str, count: int) -> tuple[int, int] | None:
    """Rows and columns of a number of cells over the whole picture; None if there is no such grid.

    Cells are as high as wide, up to an edge that is cut off or filled up. If the size of the picture is not known, it
    counts as square.

    Parameters
    ----------
    graph : Graph
        The model.
    tensor : str
        A tensor that is made from the picture.
    count : int
        The number of cells.
    """
    sizes = Pictures(graph).sizes(tensor) or {(1, 1)}
    found = {_divided(count, *size) for size in sizes}
    return found.pop() if len(found) == 1 else None


def _divided(count: int, height: int, width: int) -> tuple[int, int] | None:
    square, rest = divmod(count * height, width)
    rows = math.isqrt(square)
    if rows and not rest and rows * rows == square and count % rows == 0:
        return rows, count // rows
    edges = range(1, max(height, width) + 1)
    whole = {(height // edge, width // edge) for edge in edges}
    whole |= {(-(-height // edge), -(-width // edge)) for edge in edges}
    fitting = [size for size in whole if size[0] * size[1] == count]
    return fitting[0] if len(fitting) == 1 else None


class _Search:
    """Goes back from an axis of a tensor, to each tensor and axis once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[tuple[str, int], Tokens | None] = {}
        self.cut = False

    def along(self, tensor: str, axis: int, depth: int) -> Tokens | None:
        place = (tensor, axis)
        if place not in self._known:
            self._known[place] = None
            self._known[place] = self._made(tensor, axis, depth + 1) if depth < _DEEPEST else None
        return self._known[place]

    def _made(self, tensor: str, axis: int, depth: int) -> Tokens | None:
        node, shape = self._graph.producer(tensor), self._graph.shape(tensor)
        if node is None or shape is None or axis >= len(shape):
            return None
        node = as_standard(node)
        if node.op_type == "Concat" and attribute(node, "axis", 1) % len(shape) == axis:
            return self._joined(node, axis, depth)
        if node.op_type in ("Slice", "Split") and (cut := self._cut(node, tensor, axis)) is not None:
            return self._without(self.along(node.input[0], axis, depth), *cut)
        if node.op_type == "Transpose":
            return self.along(node.input[0], attribute(node, "perm", range(len(shape))[::-1])[axis], depth)
        if node.op_type == "Gather":
            return self._picked(node, axis, depth)
        if node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return self._reshaped(node.input[0], shape, axis, depth)
        if node.op_type == "MatMul":
            return self._multiplied(node, len(shape), axis, depth)
        return None if node.op_type in _MOVE else self._from_any(node, shape, axis, depth)

    def _data(self, node: NodeProto) -> list[str]:
        """The inputs of a node that carry data, the earliest first, as along a skip connection."""
        graph = self._graph
        names = (name for name in node.input if name and not graph.is_constant(name))
        return sorted((name for name in names if not graph.is_from_shapes(name)), key=graph.position)

    def _joined(self, node: NodeProto, axis: int, depth: int) -> Tokens | None:
        lengths = [(self._graph.shape(name) or ())[axis : axis + 1] for name in node.input]
        data = self._data(node)
        found = [self.along(name, axis, depth) if name in data else None for name in node.input]
        cells = [index for index, part in enumerate(found) if part is not None]
        if any(len(length) != 1 or length[0] is None for length in lengths):
            return None
        numbers = [length[0] or 0 for length in lengths]
        if not cells and len(data) == 1:  # the others are parameters
            cells = [list(node.input).index(data[0])]
            size = cells_by_aspect(self._graph, data[0], numbers[cells[0]])
            found[cells[0]] = None if size is None or max(size) == 1 else Tokens(*size)
        if len(cells) != 1 or (part := found[index := cells[0]]) is None:
            return None
        pooled = part.pooled or any(self._is_pooled(name) for name in data if name != node.input[index])
        before, behind = sum(numbers[:index]), sum(numbers[index + 1 :])
        return replace(part, prefix=part.prefix + before, suffix=part.suffix + behind, pooled=pooled)

    def _is_pooled(self, tensor: str) -> bool:
        """Whether a pool made a tensor, as the query of an attention pool: what it says has places."""
        node = self._graph.producer(tensor)
        while node is not None and node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"):
            node = self._graph.producer(node.input[0])
        return node is not None and node.op_type in _POOLS

    def _cut(self, node: NodeProto, output: str, axis: int) -> tuple[int, int] | None:
        """The numbers of tokens that a Slice or Split leaves out before and behind."""
        graph = self._graph
        whole = graph.shape(node.input[0]) or ()
        length = whole[axis] if axis < len(whole) else None
        if length is None:
            return None
        if node.op_type == "Split":
            if attribute(node, "axis", 0) % len(whole) != axis:
                return 0, 0
            parts = [(graph.shape(name) or ())[axis : axis + 1] for name in node.output]
            if any(len(part) != 1 or part[0] is None for part in parts):
                return None
            numbers, index = [part[0] or 0 for part in parts], list(node.output).index(output)
            return sum(numbers[:index]), sum(numbers[index + 1 :])
        starts, ends = (graph.integers(node, name, place) for place, name in enumerate(("starts", "ends"), start=1))
        if starts is None or ends is None:
            return None
        axes = graph.integers(node, "axes", 3) or list(range(len(starts)))
        steps = graph.integers(node, "steps", 4) or [1] * len(starts)
        for which, start, end, step in zip(axes, starts, ends, steps, strict=False):
            if which % len(whole) == axis:
                first, last, _ = slice(start, end).indices(length)
                return (first, length - last) if step == 1 else None
        return 0, 0

    def _without(self, tokens: Tokens | None, before: int, behind: int) -> Tokens | None:
        if tokens is None:
            return None
        if before > tokens.prefix or behind > tokens.suffix:
            self.cut = True
            return None
        return replace(tokens, prefix=tokens.prefix - before, suffix=tokens.suffix - behind)

    def _picked(self, node: NodeProto, axis: int, depth: int) -> Tokens | None:
        picked, rank = self._graph.shape(node.input[1]), len(self._graph.shape(node.input[0]) or ())
        if picked is None or not rank:
            return None
        along = attribute(node, "axis", 0) % rank
        if len(picked) == 1 and along == axis:
            return None
        added = len(picked) - 1 if axis > along or (not picked and axis >= along) else 0
        return self.along(node.input[0], axis - added, depth)

    def _reshaped(self, before: str, after: Shape, axis: int, depth: int) -> Tokens | None:
        shape = self._graph.shape(before)
        if shape is None:
            return None
        leading = count_of(after[:axis])
        for index, length in enumerate(shape):
            if count_of(shape[:index]) != leading:
                continue
            if length in (None, after[axis]) and (found := self.along(before, index, depth)) is not None:
                return found
            columns = shape[index + 1] if index + 1 < len(shape) else None
            if length and columns and length * columns == after[axis] and self._are_spatial(before, index, len(shape)):
                return Tokens(length, columns)
        return None

    def _are_spatial(self, tensor: str, first: int, rank: int) -> bool:
        """Whether an axis and the next are rows and columns of a map."""
        return rank == 4 and channel_axis(self._graph, tensor) == {2: 1, 1: 3}.get(first, -1)

    def _multiplied(self, node: NodeProto, rank: int, axis: int, depth: int) -> Tokens | None:
        """The rows of a product come from its first factor, the columns from the second."""
        index = 1 if axis == rank - 1 and rank > 1 else 0
        name = node.input[index]
        own = axis - rank + len(self._graph.shape(name) or ())
        return self.along(name, own, depth) if own >= 0 and name in self._data(node) else None

    def _from_any(self, node: NodeProto, shape: Shape, axis: int, depth: int) -> Tokens | None:
        """For nodes that leave tokens in place: activations, normalisations, sums, attention."""
        for name in self._data(node):
            own = self._graph.shape(name) or ()
            if len(own) == len(shape) and own[axis] in (None, shape[axis]):
                found = self.along(name, axis, depth)
                if found is not None:
                    return found
        return None


def count_of(lengths: Sequence[int | None]) -> tuple[int, int]:
    """The product of the known lengths and the number of unknown ones."""
    product = 1
    for length in lengths:
        product *= 1 if length is None else length
    return product, sum(length is None for length in lengths)
