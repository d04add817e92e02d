"""What nodes with constants do to a picture: one rule for each kind of operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.photograph.graph_preprocessing.picture_tensor import PictureTensor, numbers
from secam_onnx.photograph.graph_preprocessing.ranges import clip, dequantise, quantise

__all__ = ["follow_node"]

_INTEGERS = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64)


def follow_node(graph: Graph, node: NodeProto, taken: list[PictureTensor]) -> list[PictureTensor] | None:
    """The picture after a node; None if the node is a layer."""
    rule = _RULES.get(node.op_type)
    if node.op_type == "Concat":
        return _concat(graph, node, taken)
    if rule is None or len(taken) != 1:
        return None
    made = rule(graph, node, taken[0])
    return made if made is None or isinstance(made, list) else [made]


def _same(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    if node.op_type == "Cast" and picture.grid is not None:
        return None
    if node.op_type == "Cast" and attribute(node, "to") in _INTEGERS and graph.dtype(node.input[0]) not in _INTEGERS:
        untouched = all(one.scale == 1 and one.shift == 0 for one in picture.channels)
        return picture.after("a Cast to integers", whole=picture.whole or untouched)
    return picture


def _transpose(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor:
    order = attribute(node, "perm", list(range(len(picture.axes)))[::-1])
    return replace(picture, axes="".join(picture.axes[axis] for axis in order))


def _arithmetic(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """Add, Sub, Mul and Div with a constant, which may be a whole mean image."""
    first, second = node.input
    turned = graph.is_constant(first)
    values = _a_channel(graph.constant(first if turned else second), picture)
    if values is None or (node.op_type == "Div" and (turned or not values.all())):
        return None
    scale, shift = np.ones_like(values), np.zeros_like(values)
    if node.op_type in ("Mul", "Div"):
        scale = values if node.op_type == "Mul" else 1 / values
    else:
        shift = values if node.op_type == "Add" or turned else -values
        scale = -scale if node.op_type == "Sub" and turned else scale
    if np.all(scale == 1) and np.all(shift == 0):
        return picture
    words = {
        "Add": "the addition of",
        "Sub": "the subtraction of",
        "Mul": "a multiplication by",
        "Div": "a division by",
    }
    word = "the subtraction from" if turned and node.op_type == "Sub" else words[node.op_type]
    changed = tuple(one.then(*pair) for one, *pair in zip(picture.channels, scale, shift, strict=True))
    return picture.after(f"{word} {numbers(values)}", channels=changed)


def _a_channel(constant: np.ndarray, picture: PictureTensor) -> np.ndarray | None:
    """A constant as one number per channel: its mean over the other axes."""
    values = np.asarray(constant, dtype=np.float64)
    count = len(picture.channels)
    if values.size == 1:
        return np.full(count, float(values.ravel()[0]))
    if values.ndim > len(picture.axes):
        return None
    values = values.reshape((1,) * (len(picture.axes) - values.ndim) + values.shape)
    if "C" not in picture.axes:
        return np.full(count, values.mean())
    along = values.mean(axis=tuple(axis for axis, letter in enumerate(picture.axes) if letter != "C"))
    return np.broadcast_to(along, count).astype(np.float64) if len(along) in (1, count) else None


def _normalisation(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    if picture.axes[1:2] != "C" or not all(graph.is_constant(name) for name in node.input[1:]):
        return None
    gain, bias, mean, variance = (graph.constant(name).astype(np.float64) for name in node.input[1:5])
    variance = variance + attribute(node, "epsilon", 1e-5)
    if not (variance > 0).all():
        return None
    std = np.sqrt(variance)
    changed = []
    for place, one in enumerate(picture.channels):
        seen = one.seen
        if seen is None and one.scale:
            seen = (mean[place] - one.shift) / one.scale, std[place] / abs(one.scale)
        scale = gain[place] / std[place]
        changed.append(replace(one.then(scale, bias[place] - scale * mean[place]), seen=seen))
    step = f"a BatchNormalization with mean {numbers(mean)} and std {numbers(std)}"
    return picture.after(step, channels=tuple(changed))


def _convolution(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """A 1 x 1 convolution that only scales, shifts and reorders channels."""
    if picture.axes != "NCHW" or not all(graph.is_constant(name) for name in node.input[1:] if name):
        return None
    if any(attribute(node, "pads", [])) or any(stride != 1 for stride in attribute(node, "strides", [])):
        return None
    weights, count = graph.constant(node.input[1]).astype(np.float64), len(picture.channels)
    if weights.shape[0] != count or weights.shape[2:] != (1, 1):
        return None
    depthwise = attribute(node, "group", 1) == count
    matrix = np.diag(weights.ravel()) if depthwise else weights[:, :, 0, 0]
    if matrix.shape != (count, count) or not ((matrix != 0).sum(0) == 1).all() or not matrix.any(1).all():
        return None
    chosen = matrix.nonzero()[1].tolist()
    scale = matrix[range(count), chosen]
    shift = graph.constant(node.input[2]).astype(np.float64) if len(node.input) > 2 else np.zeros(count)
    if len(shift) != count:
        return None
    changed = tuple(picture.channels[index].then(*pair) for index, *pair in zip(chosen, scale, shift, strict=True))
    if changed == picture.channels:
        return picture
    added = f" plus {numbers(shift)}" if shift.any() else ""
    turned = " in another order" if chosen != list(range(count)) else ""
    return picture.after(f"a 1 x 1 Conv, each channel times {numbers(scale)}{added}{turned}", channels=changed)


def _negated(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor:
    return picture.after("a change of sign", channels=tuple(one.then(-1, 0) for one in picture.channels))


def _gather(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    axis = attribute(node, "axis", 0) % len(picture.axes)
    if picture.axes[axis] != "C" or not graph.is_constant(node.input[1]):
        return None
    indices = graph.constant(node.input[1])
    if indices.ndim > 1:
        return None
    count = len(picture.channels)
    chosen = [int(index) % count for index in np.atleast_1d(indices)]
    axes = picture.axes if indices.ndim else picture.axes.replace("C", "")
    return _picked(replace(picture, axes=axes), chosen)


def _gather_nd(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """Picking channels, as PyTorch's dynamo exporter writes it, with the channels in front."""
    if picture.axes[0] != "C" or attribute(node, "batch_dims", 0) or not graph.is_constant(node.input[1]):
        return None
    indices = graph.constant(node.input[1])
    if indices.ndim != 2 or indices.shape[1] != 1:
        return None
    return _picked(picture, [int(index) % len(picture.channels) for index in indices[:, 0]])


def _picked(picture: PictureTensor, chosen: list[int]) -> PictureTensor:
    changed = tuple(picture.channels[index] for index in chosen)
    if len(chosen) > 1 and chosen == list(range(len(picture.channels)))[::-1]:
        return picture.after("the channels in reverse order", channels=changed)
    return replace(picture, channels=changed)


def _slice(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """A slice of channels, which may reverse them, or of rows and columns."""
    starts, ends, axes, steps = (attribute(node, name, []) for name in ("starts", "ends", "axes", "steps"))
    if len(node.input) > 1:
        if not all(graph.is_constant(name) for name in node.input[1:] if name):
            return None
        given = [graph.constant(name).ravel().tolist() if name else [] for name in node.input[1:]]
        starts, ends, axes, steps = [*given, [], []][:4]
    for place, axis in enumerate(axes or range(len(starts))):
        letter = picture.axes[axis % len(picture.axes)]
        if letter == "C":
            count = len(picture.channels)
            end = None if ends[place] < -count else ends[place]  # before the first one
            chosen = range(count)[slice(starts[place], end, steps[place] if steps else 1)]
            picture = _picked(picture, list(chosen))
        elif letter in "HW":
            picture = replace(picture, pending=(*picture.pending, "a crop"))
        else:
            return None
    return picture if picture.channels else None


def _split(graph: Graph, node: NodeProto, picture: PictureTensor) -> list[PictureTensor] | None:
    axis = attribute(node, "axis", 0) % len(picture.axes)
    if picture.axes[axis] != "C":
        return None
    bounds = np.linspace(0, len(picture.channels), len(node.output) + 1).astype(int)
    given = attribute(node, "split")
    if len(node.input) > 1 and node.input[1]:
        if not graph.is_constant(node.input[1]):
            return None
        given = graph.constant(node.input[1])
    if given is not None:
        bounds = np.append(0, np.cumsum(given))
    parts = [picture.channels[start:stop] for start, stop in pairwise(bounds)]
    return [replace(picture, channels=part) for part in parts]


def _concat(graph: Graph, node: NodeProto, taken: list[PictureTensor]) -> list[PictureTensor] | None:
    axes = taken[0].axes
    if len(taken) != len(set(node.input)) or any(one.axes != axes for one in taken):
        return None
    if axes[attribute(node, "axis", 0) % len(axes)] != "C":
        return None
    channels = tuple(channel for one in taken for channel in one.channels)
    picture = max(taken, key=lambda one: len(one.steps))
    steps = tuple(dict.fromkeys(step for one in taken for step in one.steps))
    merged = replace(picture, steps=steps, channels=channels)
    if len(channels) > 1 and [one.index for one in channels] == list(range(len(channels)))[::-1]:
        return [merged.after("the channels in reverse order")]
    return [merged]


def _unsqueeze(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """Adding the axis of the batch, or of a single channel."""
    added = attribute(node, "axes")
    if added is None and len(node.input) > 1 and graph.is_constant(node.input[1]):
        added = graph.constant(node.input[1]).ravel().tolist()
    axes, rank = picture.axes, len(picture.axes) + len(added or ())
    for place in sorted(axis % rank for axis in added or ()):
        missing = [letter for letter in "NC" if letter not in axes]
        if not missing:
            return None
        axes = f"{axes[:place]}{missing[0]}{axes[place:]}"
    return replace(picture, axes=axes) if added else None


def _resize(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    if "C" not in picture.axes:
        return None
    shape = graph.shape(node.output[0])
    size = None
    if shape is not None and len(shape) == len(picture.axes):
        rows, columns = (shape[picture.axes.index(letter)] for letter in "HW")
        size = (rows, columns) if rows and columns else None
    made = f"a Resize to {size[0]} x {size[1]}" if size else "a Resize"
    return picture.after(made, size=size)


def _pad(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor:
    return replace(picture, pending=(*picture.pending, "padding"))


_Rule = Callable[[Graph, NodeProto, PictureTensor], "PictureTensor | list[PictureTensor] | None"]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "BatchNormalization": _normalisation,
    "Clip": clip,
    "Conv": _convolution,
    "DequantizeLinear": dequantise,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Neg": _negated,
    "Pad": _pad,
    "QuantizeLinear": quantise,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
