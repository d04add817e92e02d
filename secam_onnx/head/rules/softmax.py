"""Softmax inside a head: `y = exp(x) / sum exp(x)`, so `dz/dx = y (g - sum(g y))` with `g = dz/dy`; smooth.

And LogSoftmax, `y = x - log sum exp(x)`: `dz/dx = g - exp(y) sum(g)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["SoftmaxRule"]


@dataclass(frozen=True)
class SoftmaxStep(Step):
    """Softmax or LogSoftmax over some axes; from opset 13 on, over one."""

    axes: tuple[int, ...]

    @property
    def exact(self) -> bool:
        return False

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, dense = builder, builder.dense(gradient)
        axes = b.integers([axis + 1 for axis in self.axes])
        y = b.per_class(b.value(self.output))
        if self.node.op_type == "LogSoftmax":
            spread = b.op("Mul", [b.op("Exp", [y]), b.op("ReduceSum", [dense, axes], keepdims=1)])
            return [Gradient(b.op("Sub", [dense, spread]), self.input)]
        mean = b.op("ReduceSum", [b.op("Mul", [dense, y]), axes], keepdims=1)
        return [Gradient(b.op("Mul", [y, b.op("Sub", [dense, mean])]), self.input)]


class SoftmaxRule(Rule):
    """Softmax and LogSoftmax over any axes but the batch."""

    ops = frozenset({"Softmax", "LogSoftmax"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        rank = len(graph.shape(node.input[0]) or ())
        if rank < 2:
            raise NoMatchError("the shape of its input is unknown")
        axis = attribute(node, "axis", -1 if graph.opset >= 13 else 1) % rank
        axes = (axis,) if graph.opset >= 13 else tuple(range(axis, rank))
        if 0 in axes:
            raise NoMatchError("it runs over the batch")
        role, reason = node.op_type.lower(), f"{node.op_type} over axes {axes}; smooth"
        return SoftmaxStep(node, (node.input[0],), node.output[0], role=role, reason=reason, axes=axes)
