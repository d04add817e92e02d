"""How a tensor shows the picture, and how single nodes change that: crops, mirrors, pads, other axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, describe
from secam_onnx.head.picture_crop import covered, kept_slices
from secam_onnx.head.picture_span import WHOLE_PICTURE, Span

__all__ = ["ALIKE", "DisplacedError", "TurnedError", "UnknownPlaceError", "View", "view_behind", "view_of_input"]

ALIKE = 0.02
"""Spans that differ by less, as shares of the edge, are the same: slices of every other pixel begin side by side."""

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
_CHANGES_AXES = {"Gather", "Squeeze", "Unsqueeze"}
_WINDOWS = {"AveragePool", "Conv", "ConvInteger", "MaxPool", "QLinearConv"}
_CONVOLUTION_PADS = 6  # pixels, half of the largest kernels, 11 to 13 wide: which exporters write as a Pad before them


class UnknownPlaceError(Exception):
    """It is not known which part of the picture a tensor shows; the message is the reason, for the user."""


class DisplacedError(UnknownPlaceError):
    """The graph moved, cut or padded the picture in a way that is not understood, so a map may lie elsewhere."""


class TurnedError(DisplacedError):
    """The graph exchanged rows and columns, so a map lies elsewhere."""


@dataclass(frozen=True)
class View:
    """How a tensor shows the picture.

    Attributes
    ----------
    axes : (int, int)
        The axes that count rows and columns.
    span : Span
        The part of the picture on them.
    pads : int
        The number of pixels by which it was padded on the way.
    """

    axes: tuple[int, int]
    span: Span = WHOLE_PICTURE
    pads: int = 0


def view_of_input(graph: Graph, tensor: str) -> View:
    """The view of a model's input.

    Raises
    ------
    UnknownPlaceError
        The input is not a picture.
    """
    return View(_image_axes(graph.shape(tensor) or (), graph.image_axes))


def view_behind(
    graph: Graph, node: NodeProto, output: str, views: Sequence[View], readers: Sequence[NodeProto]
) -> View:
    """The view of an output of a node that reads pictures.

    Parameters
    ----------
    graph : Graph
        The model.
    node : NodeProto
        A node without weights that mix.
    output : str
        One of its outputs.
    views : sequence of View
        The views of its inputs.
    readers : sequence of NodeProto
        The nodes that read `output`.

    Raises
    ------
    DisplacedError
        The inputs show several parts of the picture, or the node moves it in a way that is not understood.
    UnknownPlaceError
        The view is not known.
    """
    joins = f"{describe(node)} joins several parts of the picture"
    if any(not view.span.like(views[0].span, ALIKE) for view in views):
        raise DisplacedError(joins)
    if not views or any(view.axes != views[0].axes for view in views):
        raise UnknownPlaceError(joins)
    view, rank = views[0], len(graph.shape(output) or ())
    if node.op_type in _STAYS:
        return replace(view, axes=(view.axes[0] % rank, view.axes[1] % rank)) if rank else view
    if node.op_type == "Transpose":
        order = list(attribute(node, "perm", range(rank)[::-1]))
        return replace(view, axes=(order.index(view.axes[0]), order.index(view.axes[1])))
    if not rank or not graph.shape(node.input[0]):
        raise UnknownPlaceError(f"the number of axes of {output!r} is not known")
    if _leaves_places(node, view, rank):
        return view
    behind = _with_other_axes(graph, node, view) if node.op_type in _CHANGES_AXES else None
    if behind is None:
        behind = _padded(graph, node, view, readers) if node.op_type == "Pad" else _cropped(graph, node, output, view)
    if behind is not None:
        return behind
    kind = DisplacedError if node.op_type in _MOVES and _moves(graph, node, view) else UnknownPlaceError
    raise kind(f"{describe(node)} cuts, pads or turns the picture in a way that is not understood")


def _leaves_places(node: NodeProto, view: View, rank: int) -> bool:
    """Whether a node joins or splits channels, or resizes the whole picture."""
    if node.op_type in ("Concat", "Split"):
        return attribute(node, "axis", 1 if node.op_type == "Concat" else 0) % rank not in (0, *view.axes)
    mode = attribute(node, "coordinate_transformation_mode", b"")
    return node.op_type in ("Resize", "Upsample") and mode != b"tf_crop_and_resize"


def _moves(graph: Graph, node: NodeProto, view: View) -> bool:
    """Whether a node of `_MOVES` that is not understood can move rows or columns of the picture."""
    rank = len(graph.shape(node.input[0]) or ())
    if node.op_type == "Tile":
        repeats = graph.integers(node, "repeats", 1)
        return repeats is not None and any(repeats[axis] != 1 for axis in view.axes if axis < len(repeats))
    if node.op_type == "Gather" and len(graph.shape(node.input[1]) or ()) > 1:
        return False  # windows, side by side
    if node.op_type in ("Concat", "Gather", "Split"):
        return attribute(node, "axis", 1 if node.op_type == "Concat" else 0) % rank in view.axes
    if node.op_type == "Slice" and (axes := graph.integers(node, "axes", 3)) is not None:
        return any(axis % rank in view.axes for axis in axes)
    return True


def _with_other_axes(graph: Graph, node: NodeProto, view: View) -> View | None:
    """The same picture with more or fewer axes before its own; None if one of these is lost."""
    before, after = (len(graph.shape(name) or ()) for name in (node.input[0], node.output[0]))
    if node.op_type == "Gather":
        axes = [attribute(node, "axis", 0) % max(before, 1)]
        if after == before and axes[0] not in view.axes:
            return view if axes[0] else None
    else:
        axes = graph.integers(node, "axes", 1) or []
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


def _padded(graph: Graph, node: NodeProto, view: View, readers: Sequence[NodeProto]) -> View | None:
    """The picture behind a Pad that crops it or adds an edge as narrow as a convolution does; None for others."""
    shape = graph.shape(node.input[0]) or ()
    pads = graph.integers(node, "pads", 1)
    if pads is None:  # computed from the size, as for a convolution with padding "SAME"
        return view if readers and all(reader.op_type in _WINDOWS for reader in readers) else None
    axes = graph.integers(node, "axes", 3) or list(range(len(shape)))
    edges = {axis % len(shape): (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    ends = [edges.get(axis, (0, 0)) for axis in view.axes]
    widest = max(0, *(max(pair) for pair in ends))
    if widest and min(min(pair) for pair in ends) < 0:
        return None
    if widest:
        kernels = [_kernel(graph, reader) for reader in readers]
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


def _kernel(graph: Graph, node: NodeProto) -> int:
    """The longest edge of a node's window, in pixels; 0 if it has none."""
    if node.op_type not in _WINDOWS:
        return 0
    weight = node.input[3 if node.op_type == "QLinearConv" else 1] if len(node.input) > 1 else ""
    kernel: Sequence[int | None] = attribute(node, "kernel_shape") or (graph.shape(weight) or ())[2:]
    lengths = [length for length in kernel if length is not None and length > 1]
    return max(lengths, default=0)


def _cropped(graph: Graph, node: NodeProto, output: str, view: View) -> View | None:
    """The part of the picture that a crop keeps, or the mirrored picture."""
    slices = kept_slices(graph, node, output)
    if slices is None:
        return None
    shape, span = graph.shape(node.input[0]) or (), view.span
    for axis, cut in slices.items():
        if axis == 0 and axis not in view.axes:
            return None  # some of the photographs
        if axis in view.axes:
            part = covered(cut, shape[axis])
            if part is None:
                return None
            span = span.part(view.axes.index(axis), part)
    return replace(view, span=span)


def _image_axes(shape: Sequence[int | None], image_axes: str | None) -> tuple[int, int]:
    """The axes of rows and columns of a model's input: `image_axes`, or else all but the axis that has few channels."""
    if len(shape) not in (3, 4):
        raise UnknownPlaceError("the input is not a picture")
    if image_axes is not None and len(image_axes) == len(shape):
        return image_axes.index("H"), image_axes.index("W")
    first = len(shape) - 3
    few, many = shape[-1], shape[first]
    last = many not in (1, 3, 4) and (few in (1, 3, 4) or (few is not None and many is not None and few < many))
    return (first, first + 1) if last else (first + 1, first + 2)
