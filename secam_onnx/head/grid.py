"""Feature maps: which axes of a tensor count channels and positions, and nodes to `(N, C, h, w)` and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, shape_text
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.picture_span import WHOLE_PICTURE, Span
from secam_onnx.head.token_order import are_scattered, order_of
from secam_onnx.head.tokens import CutTokensError, Tokens, cells_by_aspect, tokens_of

__all__ = ["Grid", "NoGridError", "grid_of"]

# By the number of axes and the axes of batch and channels.
_LAYOUTS = {(4, 0, 1): "NCHW", (4, 0, 3): "NHWC", (3, 0, 1): "NCL", (3, 0, 2): "NLC", (3, 1, 2): "LNC"}
_MOST_SPECIAL = 16  # tokens without position that --token-grid alone may imply


class NoGridError(Exception):
    """A tensor is not a feature map; the message is the reason, in words for the user."""


@dataclass(frozen=True)
class Grid:
    """A tensor seen as a feature map.

    Attributes
    ----------
    tensor : str
        Its name.
    layout : {'NCHW', 'NHWC', 'NLC', 'NCL', 'LNC'}
        The axes of the tensor; L counts tokens, row by row.
    shape : tuple
        `(C, h, w)`; None for lengths that the run decides.
    prefix, suffix : int
        The numbers of tokens before and behind the grid that have no position (class tokens, registers).
    span : Span
        The part of the picture that it lies on.
    pooled : bool
        Whether a token without position is a pool of cells.
    order : tuple of int or None
        For each cell, row by row, the index of its token; None if tokens are listed row by row.
    """

    tensor: str
    layout: str
    shape: Shape
    prefix: int = 0
    suffix: int = 0
    span: Span = WHOLE_PICTURE
    pooled: bool = False
    order: tuple[int, ...] | None = None

    @property
    def channel_axis(self) -> int:
        """The axis of the tensor that counts channels."""
        return self.layout.index("C")

    @property
    def special(self) -> int:
        """The number of tokens without position."""
        return self.prefix + self.suffix

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """`(tokens, C)`, tokens without position included."""
        channels, rows, columns = self.shape
        return (rows * columns + self.special if rows and columns else None), channels

    @property
    def batch_axis(self) -> int:
        """The axis of the tensor that counts photographs."""
        return self.layout.index("N")

    def batch_first(self, source: str, target: str) -> list[NodeProto]:
        """Nodes that bring the batch of a tensor of this layout to the front, or back to its place."""
        return [_node("Transpose", [source], target, perm=[1, 0, 2])] if self.batch_axis else []

    def to_nchw(self, source: str, target: str) -> list[NodeProto]:
        """Nodes that bring a tensor of this layout, which is not NCHW and has its batch in front, to `(N, C, h, w)`."""
        if self.layout == "NHWC":
            return [_node("Transpose", [source], target, perm=[0, 3, 1, 2])]
        first = f"{target}_channels_first"
        turned = []
        if self.special:
            kept = f"{target}_with_position"
            turned = _slice(source, kept, axis=1, start=self.prefix, behind=self.suffix)
            source = kept
        if self.layout in ("NLC", "LNC"):
            turned.append(_node("Transpose", [source], first, perm=[0, 2, 1]))
        if self.order is not None:
            listed = f"{target}_row_by_row"
            turned += _gather(first if turned else source, listed, self.order)
            first = listed
        return [
            *turned,
            *_reshape(first if turned else source, target, [0, 0, *(edge or -1 for edge in self.shape[1:])]),
        ]

    def from_nchw(self, source: str, target: str) -> list[NodeProto]:
        """Nodes that bring `(N, C, h, w)` to the tensor's own layout."""
        if self.layout == "NHWC":
            return [_node("Transpose", [source], target, perm=[0, 2, 3, 1])]
        if self.layout == "NCHW":
            return [_node("Identity", [source], target)]
        flat = f"{target}_flat"
        nodes = _reshape(source, flat, [0, 0, -1])
        if self.order is not None:
            nodes += _gather(flat, flat := f"{target}_in_order", np.argsort(self.order))
        if self.layout == "NCL":
            return [*nodes, _node("Identity", [flat], target)]
        perm = [2, 0, 1] if self.layout == "LNC" else [0, 2, 1]
        return [*nodes, _node("Transpose", [flat], target, perm=perm)]


def grid_of(
    graph: Graph,
    tensor: str,
    tokens: tuple[int, int] | None = None,
    readers_axis: int | None = None,
    *,
    special: bool = False,
) -> Grid:
    """See a tensor as a feature map.

    Parameters
    ----------
    graph : Graph
        The model.
    tensor : str
        A tensor that depends on the image.
    tokens : (int, int), optional
        Rows and columns of a tensor `(N, tokens, C)`; by default those that the graph tells, or else those in
        proportion to the picture's height and width.
    readers_axis : int, optional
        The axis that counts channels by the nodes that read the tensor, for tensors whose producers do not tell.
    special : bool
        Whether to allow tokens without position: those that the graph tells, or else those that `tokens` leaves over.

    Raises
    ------
    NoGridError
        The tensor is not a feature map; the message is the reason.
    """
    shape = graph.shape(tensor)
    text = f"shape {shape_text(shape)}"
    if any(value.name == tensor for value in graph.inputs):
        raise NoGridError(f"{text}: the image itself")
    if shape is None or len(shape) not in (3, 4):
        raise NoGridError(f"{text}: no spatial grid")
    layout = _layout(graph, tensor, shape, readers_axis)
    batch, axis = layout.index("N"), layout.index("C")
    positions = tuple(length for index, length in enumerate(shape) if index not in (batch, axis))
    if all(length == 1 for length in positions):
        raise NoGridError(f"{text}: no spatial grid")
    node = graph.producer(tensor)
    if len(positions) == 2 and 1 in positions and node is not None and node.op_type in ("Reshape", "Unsqueeze"):
        raise NoGridError(f"{text}: a single row of cells, made from tokens")
    if len(positions) == 2:
        if special and are_scattered(graph, tensor, tuple(index for index in range(4) if index not in (batch, axis))):
            raise NoGridError(f"{text}: windows of the picture and their cells, no rows and columns")
        return Grid(tensor, layout, (shape[axis], *positions))
    found = _cells(graph, tensor, layout.index("L"), tokens, text, special=special)
    if found.prefix + found.suffix and (not special or layout == "NCL"):
        raise NoGridError(f"{text}: {found.prefix + found.suffix} of its tokens have no position, like a class token")
    size = (shape[axis], found.rows, found.columns)
    return Grid(tensor, layout, size, found.prefix, found.suffix, pooled=found.pooled, order=found.order)


def _layout(graph: Graph, tensor: str, shape: Shape, readers_axis: int | None) -> str:
    """The axes of a tensor, by the operators that made it; `readers_axis` counts channels where these do not tell."""
    text = f"shape {shape_text(shape)}"
    axis = channel_axis(graph, tensor)
    axis = readers_axis if axis is None else axis
    if axis is None:
        raise NoGridError(f"{text}: its producer does not tell which axis counts channels")
    batch = graph.batch_axis(tensor)
    if batch is None:
        raise NoGridError(f"{text}: none of its axes counts the photographs alone")
    layout = _LAYOUTS.get((len(shape), batch, axis))
    if layout is None:
        where = f"the batch on axis {batch} and channels" if batch else "channels"
        raise NoGridError(f"{text}: {where} on axis {axis} are an unknown layout")
    return layout


def _cells(graph: Graph, tensor: str, axis: int, wanted: tuple[int, int] | None, text: str, *, special: bool) -> Tokens:
    """What an axis of tokens counts: as asked for, as the graph tells, or in proportion to the picture."""
    length = (graph.shape(tensor) or ())[axis]
    try:
        found = tokens_of(graph, tensor, axis)
    except CutTokensError:
        if wanted is None:
            raise NoGridError(f"{text}: only some of the picture's cells are among its {length} tokens") from None
        found = None
    if found is None and (ordered := order_of(graph, tensor, axis)) is not None:
        rows, columns, order = ordered
        if wanted in (None, (rows, columns)) and order != tuple(range(len(order))):
            return Tokens(rows, columns, order=order)
    if wanted is not None and length is not None:
        if found is not None and found.rows * found.columns == math.prod(wanted):
            return replace(found, rows=wanted[0], columns=wanted[1])
        left = length - math.prod(wanted)
        if left and not (special and found is None and 0 < left <= _MOST_SPECIAL):
            raise NoGridError(f"{text}: its {length} tokens do not form a grid of {wanted[0]} x {wanted[1]}")
        return Tokens(*wanted, prefix=left)
    if found is not None:
        return found
    size = cells_by_aspect(graph, tensor, length) if length else None
    if size is None:
        raise NoGridError(
            f"{text}: its {length or 'unknown number of'} tokens do not form a grid in proportion to the "
            "picture's height and width; give the grid (--token-grid)"
        )
    return Tokens(*size)


def _node(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, list(inputs), [output], name=output, **attributes)


def _slice(source: str, target: str, axis: int, start: int, behind: int) -> list[NodeProto]:
    """Nodes that leave out what is before `start` and the last ones along an axis, for opset 10 and newer."""
    bounds = {"start": start, "end": -behind if behind else np.iinfo(np.int64).max, "axis": axis}
    names = [f"{target}_{name}" for name in bounds]
    values = [numpy_helper.from_array(np.asarray([value], dtype=np.int64)) for value in bounds.values()]
    constants = [_node("Constant", [], name, value=value) for name, value in zip(names, values, strict=True)]
    return [*constants, _node("Slice", [source, *names], target)]


def _gather(source: str, target: str, indices: Sequence[int] | np.ndarray) -> list[NodeProto]:
    """Nodes that bring the tokens of `(N, C, L)` into another order."""
    value = numpy_helper.from_array(np.asarray(indices, dtype=np.int64))
    constant = _node("Constant", [], f"{target}_indices", value=value)
    return [constant, _node("Gather", [source, f"{target}_indices"], target, axis=2)]


def _reshape(source: str, target: str, shape: Sequence[int]) -> list[NodeProto]:
    # A Constant node: at IR version 3 an initializer would have to be a model input as well.
    value = numpy_helper.from_array(np.asarray(shape, dtype=np.int64))
    return [
        _node("Constant", [], f"{target}_shape", value=value),
        _node("Reshape", [source, f"{target}_shape"], target),
    ]
