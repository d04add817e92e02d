"""The picture inside the graph: tensors that no weights have mixed yet, and which part of it each of them shows.

However a picture was cast, scaled, cropped, mirrored or resized, it is no feature map: nothing was seen in it yet.
Where it was cropped or mirrored on its way into a network, that network's feature map lies on that part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, describe
from secam_onnx.graph.onnxruntime_operators import as_standard
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.picture_span import WHOLE_PICTURE, Span

__all__ = ["DisplacedError", "Pictures", "TurnedError", "UnknownPlaceError"]

_STANDARD = ("", "ai.onnx")
_MIXES = {
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "If", "LSTM", "Loop",
    "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan",
}  # fmt: skip
_STAYS = {
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip",
    "DequantizeLinear", "Div", "Dropout", "Equal", "Exp", "Floor", "Greater", "GreaterOrEqual", "HardSigmoid",
    "Identity", "InstanceNormalization", "LRN", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "QuantizeLinear", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "SpaceToDepth", "Sqrt", "Sub", "Sum",
    "Tanh", "Where",
}  # fmt: skip
_MOVES = {
    "CenterCropPad", "Compress", "Concat", "Gather", "GatherElements", "GridSample", "MaxRoiPool", "Pad", "Resize",
    "ReverseSequence", "RoiAlign", "Slice", "Split", "Tile", "Upsample",
}  # fmt: skip
_WINDOWS = {"AveragePool", "Conv", "ConvInteger", "MaxPool", "QLinearConv"}
_CONVOLUTION_PADS = 6  # pixels, half of the largest kernels, 11 to 13 wide: what exporters write as a Pad of its own
_ALIKE = 0.02  # of the edge: slices of every other pixel begin beside one another


class UnknownPlaceError(Exception):
    """Which part of the picture a tensor shows cannot be told; the message is the reason, in words for the user."""


class DisplacedError(UnknownPlaceError):
    """The graph moved, cut or padded the picture in a way that is not understood: a map may lie elsewhere."""


class TurnedError(DisplacedError):
    """The graph exchanged rows and columns: a map lies elsewhere."""


@dataclass(frozen=True)
class _View:
    """A tensor that is the picture: its two axes, what they span, and by how many pixels it was padded on the way."""

    axes: tuple[int, int]
    span: Span = WHOLE_PICTURE
    pads: int = 0


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
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def __contains__(self, tensor: object) -> bool:
        return tensor in self._names

    def span(self, tensor: str) -> Span:
        """The part of the picture that the network before a feature map is given.

        Raises
        ------
        DisplacedError
            It is given several parts, or one that the graph moved in a way that is not understood.
        UnknownPlaceError
            Nothing is known of it.
        """
        views, reasons = self._begins(tensor)
        if reasons:
            raise min(reasons, key=lambda reason: not isinstance(reason, DisplacedError))
        if not views:
            raise UnknownPlaceError(f"{tensor!r} does not depend on the picture")
        if any(view.axes[0] > view.axes[1] for view in views):
            raise TurnedError(f"{tensor!r} is made of the picture turned by its diagonal")
        if not all(view.span.like(views[0].span, _ALIKE) for view in views):
            raise DisplacedError(f"{tensor!r} is made of several parts of the picture")
        if self._turns(tensor) == {True}:
            raise DisplacedError(f"on every way from the picture to {tensor!r}, a Transpose exchanges rows and columns")
        return views[0].span

    def _turns(self, tensor: str) -> set[bool]:
        """Whether rows and columns are exchanged on the ways from the picture: on some, on all, on none."""
        found: set[bool] = set()
        todo, met = [(tensor, False)], {(tensor, False)}
        while todo and len(found) < 2:
            name, turned = todo.pop()
            node = self._graph.producer(name)
            if name in self._names or node is None:
                found.add(turned)
                continue
            steps = [(other, turned ^ self._exchanges(node)) for other in self._data(node)]
            todo += [step for step in steps if step not in met]
            met.update(steps)
        return found

    def _exchanges(self, node: NodeProto) -> bool:
        """Whether a node is a Transpose of rows and columns of a map, of which there are more than one each."""
        if node.op_type != "Transpose" or len(shape := self._graph.shape(node.input[0]) or ()) != 4:
            return False
        channels, order = channel_axis(self._graph, node.input[0]), list(attribute(node, "perm", range(4)[::-1]))
        if channels not in (1, 3) or order[0] != 0:
            return False
        rows, columns = (axis for axis in (1, 2, 3) if axis != channels)
        return 1 not in (shape[rows], shape[columns]) and order.index(rows) > order.index(columns)

    def sizes(self, tensor: str) -> set[tuple[int, int]]:
        """Rows and columns, in pixels, of the pictures that the network before a tensor is given, where known."""
        found: set[tuple[int, int]] = set()
        todo, met = [tensor], {tensor}
        while todo:
            name = todo.pop()
            if name in self._names and (size := self._size(name)) is not None:
                found.add(size)
                continue
            node = self._graph.producer(name)
            read = [] if node is None else [other for other in self._data(node) if other not in met]
            met.update(read)
            todo += read
        return found

    def _size(self, tensor: str) -> tuple[int, int] | None:
        try:
            axes = self._view(tensor).axes
        except UnknownPlaceError:
            return None
        shape = self._graph.shape(tensor) or ()
        rows, columns = (shape[axis] if axis < len(shape) else None for axis in axes)
        if rows and columns:
            return rows, columns
        return self._graph.image_size if self._graph.producer(tensor) is None else None

    def _begins(self, tensor: str) -> tuple[list[_View], list[UnknownPlaceError]]:
        """The pictures that the network before a tensor reads; reasons, for those that are not understood."""
        views: list[_View] = []
        reasons: list[UnknownPlaceError] = []
        todo, met = [tensor], {tensor}
        while todo:
            name = todo.pop()
            if name in self._names:
                try:
                    views.append(self._view(name))
                except UnknownPlaceError as reason:
                    reasons.append(reason)
                continue
            node = self._graph.producer(name)
            read = [] if node is None else [other for other in self._data(node) if other not in met]
            met.update(read)
            todo += read
        return views, reasons

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
            return _View(_image_axes(self._graph.shape(tensor) or (), self._graph.image_axes))
        node = as_standard(node)
        read = self._data(node)
        views = [self._view(name) for name in read if not self._is_one_number(name)]
        joins = f"{describe(node)} joins several parts of the picture"
        if any(not view.span.like(views[0].span, _ALIKE) for view in views):
            raise DisplacedError(joins)
        if not views or any(view.axes != views[0].axes for view in views):
            raise UnknownPlaceError(joins)
        view, rank = views[0], len(self._graph.shape(tensor) or ())
        if node.op_type in _STAYS:
            return replace(view, axes=(view.axes[0] % rank, view.axes[1] % rank)) if rank else view
        if node.op_type == "Transpose":
            order = list(attribute(node, "perm", range(rank)[::-1]))
            return replace(view, axes=(order.index(view.axes[0]), order.index(view.axes[1])))
        if not rank or not self._graph.shape(node.input[0]):
            raise UnknownPlaceError(f"the number of axes of {tensor!r} is not known")
        axis = attribute(node, "axis", 1 if node.op_type == "Concat" else 0) % rank
        if node.op_type in ("Concat", "Split") and axis not in (0, *view.axes):
            return view
        mode = attribute(node, "coordinate_transformation_mode", b"")
        if node.op_type in ("Resize", "Upsample") and mode != b"tf_crop_and_resize":
            return view
        if node.op_type in ("Squeeze", "Unsqueeze", "Gather") and (moved := self._moved(node, view)) is not None:
            return moved
        placed = self._padded if node.op_type == "Pad" else self._part
        if (moved := placed(node, tensor, view)) is not None:
            return moved
        kind = DisplacedError if node.op_type in _MOVES and self._moves(node, view) else UnknownPlaceError
        raise kind(f"{describe(node)} cuts, pads or turns the picture in a way that is not understood")

    def _moves(self, node: NodeProto, view: _View) -> bool:
        """Whether what is not understood of a node that may move the picture concerns its places."""
        rank = len(self._graph.shape(node.input[0]) or ())
        if node.op_type == "Tile":
            repeats = self._graph.integers(node, "repeats", 1)
            return repeats is not None and any(repeats[axis] != 1 for axis in view.axes if axis < len(repeats))
        if node.op_type == "Gather" and len(self._graph.shape(node.input[1]) or ()) > 1:
            return False  # windows, one beside the other
        if node.op_type in ("Concat", "Gather", "Split"):
            return attribute(node, "axis", 1 if node.op_type == "Concat" else 0) % rank in view.axes
        if node.op_type == "Slice" and (axes := self._graph.integers(node, "axes", 3)) is not None:
            return any(axis % rank in view.axes for axis in axes)
        return True

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

    def _padded(self, node: NodeProto, output: str, view: _View) -> _View | None:
        """The picture behind a Pad: what is left of it, or with an edge as narrow as a convolution's."""
        shape = self._graph.shape(node.input[0]) or ()
        pads = self._graph.integers(node, "pads", 1)
        readers = self._readers.get(output, [])
        if pads is None:  # by the run's own size, as for a convolution whose padding is "SAME"
            return view if readers and all(reader.op_type in _WINDOWS for reader in readers) else None
        axes = self._graph.integers(node, "axes", 3) or list(range(len(shape)))
        edges = {axis % len(shape): (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
        ends = [edges.get(axis, (0, 0)) for axis in view.axes]
        widest = max(0, *(max(pair) for pair in ends))
        if widest and min(min(pair) for pair in ends) < 0:
            return None
        if widest:
            kernels = [self._kernel(reader) for reader in readers]
            if kernels and widest < min(kernels):
                return view
            return None if view.pads + widest > _CONVOLUTION_PADS else replace(view, pads=view.pads + widest)
        span = view.span
        for which, (axis, (before, behind)) in enumerate(zip(view.axes, ends, strict=True)):
            length = shape[axis]
            if before or behind:
                if length is None:
                    return None
                span = span.part(which, (-before / length, 1 + behind / length))
        return replace(view, span=span)

    def _kernel(self, node: NodeProto) -> int:
        """How many pixels the window of a node spans at least; 0 where it has none."""
        if node.op_type not in _WINDOWS:
            return 0
        weight = node.input[3 if node.op_type == "QLinearConv" else 1] if len(node.input) > 1 else ""
        kernel: Sequence[int | None] = attribute(node, "kernel_shape") or (self._graph.shape(weight) or ())[2:]
        lengths = [length for length in kernel if length is not None and length > 1]
        return max(lengths, default=0)

    def _part(self, node: NodeProto, output: str, view: _View) -> _View | None:
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
            axis = attribute(node, "axis", 0) % len(shape)
            length = shape[axis]
            if length is not None:
                indices = np.where(indices < 0, indices + length, indices)
            if not len(indices) or (np.diff(indices) != step).any() or indices.min() < 0:
                return None
            end = int(indices[-1]) + step
            cuts = {axis: slice(int(indices[0]), end if end >= 0 else None, step)}
        elif node.op_type == "Split":
            axis = attribute(node, "axis", 0) % len(shape)
            parts = [(self._graph.shape(name) or shape)[axis] or 0 for name in node.output]
            if 0 in parts or sum(parts) != shape[axis]:
                return None
            start = sum(parts[: list(node.output).index(output)])
            cuts = {axis: slice(start, start + parts[list(node.output).index(output)])}
        elif node.op_type == "ReverseSequence":
            axis, lengths = attribute(node, "time_axis", 0), self._graph.integers(node, "sequence_lens", 1)
            if lengths is None or set(lengths) != {shape[axis]}:
                return None
            cuts = {axis: slice(None, None, -1)}
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


def _image_axes(shape: Sequence[int | None], told: str | None) -> tuple[int, int]:
    """Rows and columns of a model's input: as they are told, or else by its colours, or its fewest channels."""
    if len(shape) not in (3, 4):
        raise UnknownPlaceError("the input is no picture")
    if told is not None and len(told) == len(shape):
        return told.index("H"), told.index("W")
    first = len(shape) - 3
    few, many = shape[-1], shape[first]
    last = many not in (1, 3, 4) and (few in (1, 3, 4) or (few is not None and many is not None and few < many))
    return (first, first + 1) if last else (first + 1, first + 2)


def _covered(cut: slice, length: int | None) -> tuple[float, float] | None:
    """Where a slice of an axis begins and ends, as shares of the axis; the other way round where it is mirrored."""
    step = 1 if cut.step is None else cut.step
    if length is None:
        far = 2**31 - 1
        if 0 <= (cut.start or 0) < step and (cut.stop is None or cut.stop >= far):
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
