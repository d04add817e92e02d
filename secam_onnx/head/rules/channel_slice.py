"""Split, Slice and Gather of one index along the channels: the gradient of the channels left out is zero.

A token that is selected from a feature map does not match. It is a class token, which attention has already mixed with
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ChannelSliceStep(Step):
    """The numbers from `start` to `length - behind` along one axis."""

    axis: int
    start: int
    behind: int
    drops: bool = False
    """Whether a single one is left and its axis is dropped."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        dense, axis = builder.dense(gradient), builder.integers([self.axis + 1])
        if self.drops:
            dense = builder.op("Unsqueeze", [dense, axis])
        pads = builder.integers([self.start, self.behind])
        return [Gradient(builder.op("Pad", [dense, pads, "", axis]), self.input)]


class SplitRule(Rule):
    """Split along the channels; each output is a step of its own."""

    ops = frozenset({"Split"})

    def match(self, graph: Graph, node: NodeProto, output: str = "") -> Step:
        shapes = [graph.shape(name) or () for name in node.output]
        axis, length = _channels(graph, node, attribute(node, "axis", 0))
        lengths = [shape[axis] if len(shape) > axis else None for shape in shapes]
        ends = list(accumulate(known for known in lengths if known is not None))
        if None in lengths or ends[-1] != length:
            raise NoMatchError("it splits into parts of unknown lengths")
        index = list(node.output).index(output or node.output[0])
        return _channel_slice(node, axis, (0, *ends)[index], length - ends[index], output=node.output[index])

    def match_output(self, graph: Graph, node: NodeProto, output: str) -> Step:
        return self.match(graph, node, output)


class SliceRule(Rule):
    """Slice with constant bounds along the channels."""

    ops = frozenset({"Slice"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        starts, ends, axes, steps = (
            _bounds(graph, node, name, index) for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
        )
        if starts is None or ends is None or len(starts) != 1 or (steps or [1]) != [1]:
            raise NoMatchError("it skips numbers or cuts several axes at once")
        axis, length = _channels(graph, node, (axes or [0])[0])
        start, end, _ = slice(starts[0], ends[0]).indices(length)
        if end <= start:
            raise NoMatchError("it leaves no channels")
        return _channel_slice(node, axis, start, length - end)


class GatherRule(Rule):
    """Gather of one constant index along the channels."""

    ops = frozenset({"Gather"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        indices = node.input[1]
        if not graph.is_constant(indices) or np.size(value := graph.constant(indices)) != 1:
            raise NoMatchError("it selects several of the features")
        axis, length = _channels(graph, node, attribute(node, "axis", 0))
        index = int(value.reshape(-1)[0]) % length
        if value.ndim > 1:
            raise NoMatchError("its index has several axes")
        return _channel_slice(node, axis, index, length - index - 1, drops=not value.ndim)


def _channel_slice(
    node: NodeProto, axis: int, start: int, behind: int, *, output: str = "", drops: bool = False
) -> ChannelSliceStep:
    return ChannelSliceStep(
        node, (node.input[0],), output or node.output[0], role="",
        reason=f"{node.op_type} of the channels from {start} on, without the last {behind}",
        axis=axis, start=start, behind=behind, drops=drops,
    )  # fmt: skip


def _channels(graph: Graph, node: NodeProto, axis: int) -> tuple[int, int]:
    """The axis, counted from the first, and its length.

    Raises
    ------
    NoMatchError
        The axis does not count channels.
    """
    x = node.input[0]
    shape = graph.shape(x)
    if not shape or graph.is_constant(x):
        raise NoMatchError("the shape of its input is unknown")
    axis %= len(shape)
    length = shape[axis]
    if axis == 0 or length is None or (len(shape) > 2 and channel_axis(graph, x) != axis):
        raise NoMatchError(
            f"it selects some of the features {shape_text(shape)} on axis {axis}, as one selects a class token"
        )
    return axis, length


def _bounds(graph: Graph, node: NodeProto, name: str, index: int) -> list[int] | None:
    """Starts, ends, axes or steps: attributes before opset 10, then inputs."""
    if len(node.input) > index and node.input[index]:
        if not graph.is_constant(node.input[index]):
            raise NoMatchError(f"its {name} are computed at run time")
        return [int(value) for value in graph.constant(node.input[index]).reshape(-1)]
    return attribute(node, name)
