"""Sums of absolute values, squares or exponentials: `y = r(x)` over some axes, so `dz/dx = dz/dy dr/dx`.

ReduceL2 and LpNormalization are left out on purpose. A head that compares directions does not depend on the norm of its
features and is discontinuous at zero, where integrated gradients begin; masking explains it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import Rule, Step
from secam_onnx.head.rules.pool import reduced_axes

__all__ = ["NormRule"]

_SLOPES: dict[str, Callable[[Builder, str, str], str]] = {
    "ReduceL1": lambda b, x, y: b.op("Sign", [x]),
    "ReduceLogSumExp": lambda b, x, y: b.op("Exp", [b.op("Sub", [x, y])]),
    "ReduceSumSquare": lambda b, x, y: b.scale(x, 2.0),
}


@dataclass(frozen=True)
class NormStep(Step):
    """A reduction over some axes."""

    axes: tuple[int, ...]

    @property
    def exact(self) -> bool:
        return self.node.op_type == "ReduceL1"

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, axes = builder, builder.integers(self.axes)
        x = b.value(self.input)
        y = b.op(self.node.op_type, [x, axes], keepdims=1)
        slope = b.per_class(_SLOPES[self.node.op_type](b, x, y))
        dense = b.with_axes(b.dense(gradient), self.axes, self.output, self.input)
        return [Gradient(b.op("Mul", [dense, slope]), self.input)]


class NormRule(Rule):
    """ReduceL1, ReduceLogSumExp and ReduceSumSquare."""

    ops = frozenset(_SLOPES)

    def match(self, graph: Graph, node: NodeProto) -> Step:
        axes, shape = reduced_axes(graph, node)
        what = node.op_type.removeprefix("Reduce").lower()
        reason = f"{what} over axes {axes} of {shape_text(shape)}"
        return NormStep(node, (node.input[0],), node.output[0], role=what, reason=reason, axes=axes)
