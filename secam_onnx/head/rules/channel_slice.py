"""Split, Slice and Gather of some indices along the channels: the gradient of the channels left out is zero.

A token that is selected from a feature map does not match. It is a class token, which attention has already mixed with
the others. In a graph for one image, whose attention is understood, any axis will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["GatherRule", "SliceRule", "SplitRule"]

Part = tuple[int, int, int]
"""An axis, the first number that is kept, and how many are left out behind the last."""


@dataclass(frozen=True)
class SliceStep(Step):
    """A part of a tensor."""

    parts: tuple[Part, ...]
    drops: bool = False
    """Whether a single number is left and its axis is dropped."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        axes, starts, ends = zip(*self.parts, strict=True)
        leads = builder.lead(self.input, self.output) and 0 not in axes
        dense = builder.dense(gradient) if leads else builder.whole(gradient)
        places = [axis + (1 if leads else 2) for axis in axes]
        if self.drops:
            dense = builder.op("Unsqueeze", [dense, builder.integers(places)])
        if builder.graph.one_image and len(self.parts) == 1:
            own = Gradient(dense, self.input) if leads else builder.of_whole(dense, self.input)
            return [replace(own, part=self.parts[0]) if any(self.parts[0][1:]) else own]
        padded = builder.pad(dense, self.input, places, starts, ends, whole=not leads)
        return [Gradient(padded, self.input) if leads else builder.of_whole(padded, self.input)]


@dataclass(frozen=True)
class PickStep(Step):
    """Some numbers along one axis, each at most once, in any order."""

    axis: int
    indices: tuple[int, ...]
    length: int

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        leads = builder.lead(self.input, self.output) and self.axis > 0
        dense = builder.dense(gradient) if leads else builder.whole(gradient)
        place = self.axis + (1 if leads else 2)
        # What was not picked gets the zero behind the last.
        padded = builder.pad(dense, self.input, [place], [0], [1], whole=not leads)
        back = np.full(self.length, len(self.indices))
        back[list(self.indices)] = np.arange(len(self.indices))
        picked = builder.op("Gather", [padded, builder.integers(back)], axis=place)
        return [Gradient(picked, self.input) if leads else builder.of_whole(picked, self.input)]


class SplitRule(Rule):
    """Split along the channels; each output is a step of its own."""

    ops = frozenset({"Split"})

    def match(self, graph: Graph, node: NodeProto, output: str = "") -> Step:
        shapes = [graph.shape(name) or () for name in node.output]
        axis, length = _features(graph, node, attribute(node, "axis", 0))
        lengths = [shape[axis] if len(shape) > axis else None for shape in shapes]
        ends = list(accumulate(known for known in lengths if known is not None))
        if None in lengths or ends[-1] != length:
            raise NoMatchError("it splits into parts of unknown lengths")
        index = list(node.output).index(output or node.output[0])
        return _slice(node, [(axis, (0, *ends)[index], length - ends[index])], output=node.output[index])

    def match_output(self, graph: Graph, node: NodeProto, output: str) -> Step:
        return self.match(graph, node, output)


class SliceRule(Rule):
    """Slice with constant bounds along the channels."""

    ops = frozenset({"Slice"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        starts, ends, axes, steps = (
            graph.integers(node, name, index) for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
        )
        if starts is None or ends is None:
            raise NoMatchError("its bounds are computed at run time")
        if set(steps or [1]) != {1} or (len(starts) != 1 and not graph.one_image):
            raise NoMatchError("it skips numbers or cuts several axes at once")
        parts = []
        for own, first, last in zip(axes or range(len(starts)), starts, ends, strict=True):
            axis, length = _features(graph, node, own)
            start, end, _ = slice(first, last).indices(length)
            if end <= start:
                raise NoMatchError("it leaves no channels")
            parts.append((axis, start, length - end))
        return _slice(node, parts)


class GatherRule(Rule):
    """Gather of one constant index along the channels; of one image, of several."""

    ops = frozenset({"Gather"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        indices = node.input[1]
        value = graph.constant(indices) if graph.is_constant(indices) else None
        if value is None or (value.size != 1 and not graph.one_image):
            raise NoMatchError("it selects several of the features")
        axis, length = _features(graph, node, attribute(node, "axis", 0))
        if value.ndim > 1:
            raise NoMatchError("its index has several axes")
        if value.size == 1:
            index = int(value.reshape(-1)[0]) % length
            return _slice(node, [(axis, index, length - index - 1)], drops=not value.ndim)
        picked = tuple(int(index) % length for index in value)
        if len(set(picked)) < len(picked):
            raise NoMatchError("it selects a number more than once")
        reason = f"{len(picked)} of {length} numbers along axis {axis}"
        return PickStep(node, (node.input[0],), node.output[0], "", reason, axis=axis, indices=picked, length=length)


def _slice(node: NodeProto, parts: Sequence[Part], *, output: str = "", drops: bool = False) -> SliceStep:
    kept = " and ".join(f"axis {axis} from {start} on, without the last {behind}" for axis, start, behind in parts)
    return SliceStep(
        node, (node.input[0],), output or node.output[0], role="", reason=f"{node.op_type} along {kept}",
        parts=tuple(parts), drops=drops,
    )  # fmt: skip


def _features(graph: Graph, node: NodeProto, axis: int) -> tuple[int, int]:
    """The axis, counted from the first, and its length.

    Raises
    ------
    NoMatchError
        The axis may not be cut.
    """
    x = node.input[0]
    shape = graph.shape(x)
    if not shape or graph.is_constant(x):
        raise NoMatchError("the shape of its input is unknown")
    axis %= len(shape)
    length = shape[axis]
    if length is None or (axis == 0 and not graph.one_image):
        raise NoMatchError(f"it selects from axis {axis} of {shape_text(shape)}, the batch or an unknown length")
    if not graph.one_image and len(shape) > 2 and channel_axis(graph, x) != axis:
        raise NoMatchError(
            f"it selects some of the features {shape_text(shape)} on axis {axis}, as one selects a class token"
        )
    return axis, length
