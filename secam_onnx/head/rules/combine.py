"""Two computed tensors that meet in the head: `x + y`, `x - y`, `x * y`, `x / y`, with numpy's broadcasting.

Sums are linear. Products are not: `d(x y) = y dx + x dy` counts every value twice, so gradient times input overshoots
by one product, and the completeness gap says so (hard swish, GELU and layer normalisation as exporters take them
apart, squeeze-and-excite inside a head).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph, shape_text
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.builder import Builder

__all__ = ["CombineRule"]


class CombineStep(Step):
    """One node with two computed operands, which may be the same tensor."""

    @property
    def exact(self) -> bool:
        return self.node.op_type in ("Add", "Sub")

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        left, right = self.node.input
        dense = builder.dense(gradient)
        if self.node.op_type in ("Add", "Sub"):
            parts = {left: dense, right: dense if self.node.op_type == "Add" else builder.op("Neg", [dense])}
            if left == right:
                parts = {left: builder.op("Add", [dense, parts[right]])}
                if self.node.op_type == "Sub":
                    parts = {left: builder.op("Mul", [dense, builder.floats([0.0])])}
        else:
            x, y = (builder.per_class(builder.value(name)) for name in (left, right))
            if self.node.op_type == "Mul":
                by_left, by_right = builder.op("Mul", [dense, y]), builder.op("Mul", [dense, x])
            else:
                by_left = builder.op("Div", [dense, y])
                by_right = builder.op("Neg", [builder.op("Div", [builder.op("Mul", [by_left, x]), y])])
            parts = {left: by_left, right: by_right}
            if left == right:
                parts = {left: builder.op("Add", [by_left, by_right])}
        return [Gradient(builder.unbroadcast(parts[name], self.output, name), name) for name in self.inputs]


class CombineRule(Rule):
    """Add, Sub, Mul, Div of two computed tensors."""

    ops = frozenset({"Add", "Sub", "Mul", "Div"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if any(graph.is_constant(name) for name in node.input):
            raise NoMatchError("one operand is constant")
        ranks = {len(graph.shape(name) or ()) for name in (*node.input, node.output[0])}
        if len(ranks) != 1 or ranks == {0}:
            shapes = " and ".join(shape_text(graph.shape(name)) for name in node.input)
            raise NoMatchError(f"it combines tensors of shapes {shapes}; equally many axes were expected")
        inputs = tuple(dict.fromkeys(node.input))
        role = "" if node.op_type in ("Add", "Sub") else node.op_type.lower()
        return CombineStep(node, inputs, node.output[0], role=role, reason=f"{node.op_type} of two computed tensors")
