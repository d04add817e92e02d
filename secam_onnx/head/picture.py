"""The picture inside the graph: tensors that no weights have mixed yet, and which part of it each of them shows.

However a picture was cast, scaled, cropped, mirrored or resized, it is no feature map: nothing was seen in it yet.
Where it was cropped or mirrored on its way into a network, that network's feature map lies on that part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from secam_onnx.head.contrib import as_standard
from secam_onnx.head.graph import Graph, attribute, describe
from secam_onnx.head.span import WHOLE, Span

__all__ = ["Pictures", "UnknownPlaceError"]

_STANDARD = ("", "ai.onnx")
_MIXES = {
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "If", "LSTM", "Loop",
    "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan",
}  # fmt: skip
_STAYS = {
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "DequantizeLinear", "Div",
    "Dropout", "Exp", "Floor", "Identity", "InstanceNormalization", "LRN", "LayerNormalization", "Log", "Max",
    "MaxPool", "Mean", "Min", "Mul", "Neg", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Sigmoid",
    "SpaceToDepth", "Sqrt", "Sub", "Sum", "Tanh", "Where",
}  # fmt: skip
_CONVOLUTION_PADS = 6  # pixels, half of the largest kernels, 11 to 13 wide: what exporters write as a Pad of its own
_ALIKE = 0.02  # of the edge: slices of every other pixel begin beside one another


class UnknownPlaceError(Exception):
    """Which part of the picture a tensor shows cannot be told; the message is the reason, in words for the user."""


@dataclass(frozen=True)
class _View:
    """A tensor that is the picture: its two axes, and what they span."""

    axes: tuple[int, int]
    span: Span = WHOLE


class Pictures:
    """The tensors of a graph that are still the picture.

    Parameters
    ----------
    graph : Graph
        The model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names = {value.name for value in graph.inputs}
        for node in graph.model.graph.node:
            read = self._data(node)
            if read and self._names.issuperset(read) and not _mixes(node):
                self._names.update(name for name in node.output if name)
        self._views: dict[str, _View | UnknownPlaceError] = {}

    def __contains__(self, tensor: object) -> bool:
        return tensor in self._names

    def span(self, tensor: str) -> Span:
        """The part of the picture that the network before a feature map is given.

        Raises
        ------
        UnknownPlaceError
            It is given several parts, or one that is cut out in a way that is not understood.
        """
        spans = []
        todo, met = [tensor], {tensor}
        while todo:
            name = todo.pop()
            if name in self._names:
                view = self._view(name)
                if view.axes[0] > view.axes[1]:
                    raise UnknownPlaceError(f"{name!r} is the picture turned by its diagonal")
                spans.append(view.span)
                continue
            node = self._graph.producer(name)
            read = [] if node is None else [other for other in self._data(node) if other not in met]
            met.update(read)
            todo += read
        if not spans:
            raise UnknownPlaceError(f"{tensor!r} does not depend on the picture")
        if not all(span.like(spans[0], _ALIKE) for span in spans):
            raise UnknownPlaceError(f"{tensor!r} is made of several parts of the picture")
        return spans[0]

    def _data(self, node: NodeProto) -> list[str]:
        """The inputs of a node that depend on the values of the picture."""
        graph = self._graph
        return [
            name for name in node.input if name and not graph.is_constant(name) and not graph.is_from_shapes(name)
        ]  # what a body reads from outside makes a node that mixes anyway

    def _view(self, tensor: str) -> _View:
        if tensor not in self._views:
            try:
                self._views[tensor] = self._made(tensor)
            except UnknownPlaceError as reason:
                self._views[tensor] = reason
        view = self._views[tensor]
        if isinstance(view, UnknownPlaceError):
            raise view
        return view

    def _made(self, tensor: str) -> _View:
        node = self._graph.producer(tensor)
        if node is None:
            return _View(_image_axes(self._graph.shape(tensor) or ()))
        node = as_standard(node)
        read = self._data(node)
        views = [self._view(name) for name in read if not self._is_one_number(name)]
        if not views or any(view.axes != views[0].axes or not view.span.like(views[0].span, _ALIKE) for view in views):
            raise UnknownPlaceError(f"{describe(node)} joins several parts of the picture")
        view, rank = views[0], len(self._graph.shape(tensor) or ())
        if node.op_type in _STAYS:
            return replace(view, axes=(view.axes[0] % rank, view.axes[1] % rank)) if rank else view
        if node.op_type == "Transpose":
            order = list(attribute(node, "perm", range(rank)[::-1]))
            return replace(view, axes=(order.index(view.axes[0]), order.index(view.axes[1])))
        if node.op_type == "Concat" and attribute(node, "axis", 1) % rank not in (0, *view.axes):
            return view
        if node.op_type == "Split" and attribute(node, "axis", 0) % rank not in (0, *view.axes):
            return view
        mode = attribute(node, "coordinate_transformation_mode", b"")
        if node.op_type in ("Resize", "Upsample") and mode != b"tf_crop_and_resize":
            return view
        if node.op_type in ("Squeeze", "Unsqueeze", "Gather") and (moved := self._moved(node, view)) is not None:
            return moved
        if (part := self._part(node, view)) is not None:
            return part
        raise UnknownPlaceError(f"{describe(node)} cuts or turns the picture in a way that is not understood")

    def _is_one_number(self, tensor: str) -> bool:
        """Whether it has no places: a mean over the picture, say."""
        shape = self._graph.shape(tensor)
        return shape is not None and len([length for length in shape[1:] if length != 1]) <= 1

    def _moved(self, node: NodeProto, view: _View) -> _View | None:
        """The same picture with an axis more or less before its own."""
        before, after = (len(self._graph.shape(name) or ()) for name in (node.input[0], node.output[0]))
        if node.op_type == "Gather":
            axes = [attribute(node, "axis", 0) % max(before, 1)]
            if after == before and axes[0] not in view.axes:
                return view if axes[0] else None
        else:
            axes = self._graph.integers(node, "axes", 1) or []
            axes = [axis % max(before, after, 1) for axis in axes]
        if not axes or abs(before - after) != len(axes):
            return None
        if after > before:
            places = [axis for axis in range(after) if axis not in axes]
            return replace(view, axes=(places[view.axes[0]], places[view.axes[1]]))
        if set(axes) & set(view.axes) or (node.op_type == "Gather" and 0 in axes):
            return None
        return replace(
            view, axes=(view.axes[0] - sum(a < view.axes[0] for a in axes),
                        view.axes[1] - sum(a < view.axes[1] for a in axes)),
        )  # fmt: skip

    def _part(self, node: NodeProto, view: _View) -> _View | None:
        """What is left of the picture behind a crop or a mirror."""
        shape = self._graph.shape(node.input[0]) or ()
        if node.op_type == "Slice":
            starts, ends = (
                self._graph.integers(node, name, index) for index, name in enumerate(("starts", "ends"), start=1)
            )
            if starts is None or ends is None:
                return None
            axes = self._graph.integers(node, "axes", 3) or list(range(len(starts)))
            steps = self._graph.integers(node, "steps", 4) or [1] * len(starts)
            cuts = {axis % len(shape): slice(*bounds) for axis, *bounds in zip(axes, starts, ends, steps, strict=True)}
        elif node.op_type == "Gather":
            indices = np.asarray(self._graph.integers(node, "indices", 1) or [])
            step = -1 if len(indices) > 1 and indices[0] > indices[1] else 1
            if not len(indices) or (np.diff(indices) != step).any() or indices.min() < 0:
                return None
            end = int(indices[-1]) + step
            cuts = {attribute(node, "axis", 0) % len(shape): slice(int(indices[0]), end if end >= 0 else None, step)}
        elif node.op_type == "ReverseSequence":
            axis, lengths = attribute(node, "time_axis", 0), self._graph.integers(node, "sequence_lens", 1)
            if lengths is None or set(lengths) != {shape[axis]}:
                return None
            cuts = {axis: slice(None, None, -1)}
        elif node.op_type == "Pad":
            pads = self._graph.integers(node, "pads", 1)
            few = pads is not None and all(0 <= pad <= _CONVOLUTION_PADS for pad in pads)
            return view if few else None
        else:
            return None
        span = view.span
        for axis, cut in cuts.items():
            if axis == 0 and axis not in view.axes:
                return None  # some of the photographs
            if axis in view.axes:
                part = _covered(cut, shape[axis])
                if part is None:
                    return None
                span = span.part(view.axes.index(axis), part)
        return replace(view, span=span)


def _mixes(node: NodeProto) -> bool:
    node = as_standard(node)
    return node.op_type in _MIXES or node.op_type in ("Shape", "Size") or node.domain not in _STANDARD


def _image_axes(shape: Sequence[int | None]) -> tuple[int, int]:
    """Rows and columns of a model's input."""
    if len(shape) not in (3, 4):
        raise UnknownPlaceError("the input is no picture")
    first = len(shape) - 3
    last = shape[-1] in (1, 3, 4) and shape[first] not in (1, 3, 4)
    return (first, first + 1) if last else (first + 1, first + 2)


def _covered(cut: slice, length: int | None) -> tuple[float, float] | None:
    """Where a slice of an axis begins and ends, as shares of the axis; the other way round where it is mirrored."""
    step = 1 if cut.step is None else cut.step
    if length is None:
        far = 2**31 - 1
        if step == 1 and cut.start in (0, None) and (cut.stop is None or cut.stop >= far):
            return 0.0, 1.0
        mirrored = step == -1 and cut.start in (-1, None) and (cut.stop is None or cut.stop <= -far)
        return (1.0, 0.0) if mirrored else None
    taken = range(*cut.indices(length))
    if not taken:
        return None
    low, high = min(taken), min(max(taken) + abs(step), length)
    if low < abs(step) > 1:
        low = 0
    return (low / length, high / length) if step > 0 else (high / length, low / length)
