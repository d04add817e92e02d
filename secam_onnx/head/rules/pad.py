"""Pad: the gradient of what was added is cut off, and of what was cut off, zero.

The windows of Swin are padded by nothing where they fit, and patch merging by nothing where rows and columns are even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.passthrough import PassThroughStep

__all__ = ["PadRule"]


@dataclass(frozen=True)
class PadStep(Step):
    """Zeros before and behind a tensor along some axes; a negative number of them cuts."""

    axes: tuple[int, ...]
    pads: tuple[int, ...]
    """The numbers before, then those behind."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        leads = builder.lead(self.input, self.output) and 0 not in self.axes
        dense = builder.dense(gradient) if leads else builder.whole(gradient)
        places = [axis + (1 if leads else 2) for axis in self.axes]
        taken = [-number for number in self.pads]
        count = len(places)
        back = builder.pad(dense, self.input, places, taken[:count], taken[count:], whole=not leads)
        return [Gradient(back, self.input) if leads else builder.of_whole(back, self.input)]


class PadRule(Rule):
    """Pad with zeros by constant numbers, along any axes but the batch; by nothing in any mode."""

    ops = frozenset({"Pad"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, shape = node.input[0], graph.shape(node.input[0])
        pads = graph.integers(node, "pads", 1)
        if not shape or graph.is_constant(x) or pads is None:
            raise NoMatchError("its input has no known shape, or its numbers are computed at run time")
        axes = graph.integers(node, "axes", 3) or range(len(shape))
        axes = [axis % len(shape) for axis in axes]
        count = len(axes)
        padded = [index for index in range(count) if pads[index] or pads[count + index]]
        if not padded:
            return PassThroughStep(node, (x,), node.output[0], role="", reason="padded by nothing")
        if any(axes[index] == 0 for index in padded) and not graph.one_image:
            raise NoMatchError(f"it pads axis 0 of {shape_text(shape)}, the batch")
        mode = attribute(node, "mode", b"constant")
        if mode not in (b"constant", "constant") or self._value(graph, node):
            raise NoMatchError("it pads with other numbers than zero")
        before, behind = ([pads[index + offset] for index in padded] for offset in (0, count))
        return PadStep(
            node, (x,), node.output[0], role="", reason=f"zeros before {before} and behind {behind}",
            axes=tuple(axes[index] for index in padded), pads=(*before, *behind),
        )  # fmt: skip

    @staticmethod
    def _value(graph: Graph, node: NodeProto) -> float:
        """The number that is put in; not a number if it is computed at run time."""
        if len(node.input) < 3 or not node.input[2]:
            return float(attribute(node, "value", 0.0))
        return float(graph.constant(node.input[2]).reshape(())) if graph.is_constant(node.input[2]) else float("nan")
