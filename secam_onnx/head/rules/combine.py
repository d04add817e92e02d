"""Operations on several computed tensors: `x + y`, `x - y`, `x * y`, `x / y`, with numpy's broadcasting.

Sums are linear. Products are not: `d(x y) = y dx + x dy` counts each value twice, so gradient times input overshoots by
one product, which the completeness gap shows (hard swish, GELU and layer normalisation of several nodes,
squeeze-and-excite inside a head).
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["CombineRule", "computed_operands"]


class CombineStep(Step):
    """A node with several computed operands, some of which may be the same tensor."""

    @property
    def exact(self) -> bool:
        return self.node.op_type not in ("Mul", "Div")

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        parts: dict[str, str] = {}
        shapes = {builder.graph.shape(name) for name in (*self.inputs, self.output)}
        held = gradient.part if len(shapes) == 1 and self.exact else None
        dense = builder.held(gradient) if held else builder.dense(gradient)
        for name, part in zip(self.node.input, self._parts(builder, dense), strict=True):
            parts[name] = builder.op("Add", [parts[name], part]) if name in parts else part
        if held:
            return [Gradient(parts[name], name, part=held) for name in self.inputs]
        return [Gradient(builder.unbroadcast(parts[name], self.output, name), name) for name in self.inputs]

    def _parts(self, builder: Builder, dense: str) -> list[str]:
        """The gradient with respect to each operand."""
        op, operands = self.node.op_type, self.node.input
        if op in ("Add", "Sum"):
            return [dense] * len(operands)
        if op == "Mean":
            return [builder.scale(dense, 1 / len(operands))] * len(operands)
        if op == "Sub":
            return [dense, builder.op("Neg", [dense])]
        x, y = (builder.per_class(builder.value(name), name) for name in operands)
        if op == "Mul":
            return [builder.op("Mul", [dense, y]), builder.op("Mul", [dense, x])]
        by_x = builder.op("Div", [dense, y])
        return [by_x, builder.op("Neg", [builder.op("Div", [builder.op("Mul", [by_x, x]), y])])]


class CombineRule(Rule):
    """Add, Sub, Mul, Div of two computed tensors; Sum and Mean of several."""

    ops = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Mean"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        inputs = computed_operands(graph, node)
        role = node.op_type.lower() if node.op_type in ("Mul", "Div") else ""
        return CombineStep(node, inputs, node.output[0], role=role, reason=f"{node.op_type} of computed tensors")


def computed_operands(graph: Graph, node: NodeProto) -> tuple[str, ...]:
    """The operands of a node, each once, if all are computed and have as many axes as the result.

    Raises
    ------
    NoMatchError
        They are not.
    """
    if any(graph.is_constant(name) for name in node.input):
        raise NoMatchError("one operand is constant")
    ranks = {len(graph.shape(name) or ()) for name in (*node.input, node.output[0])}
    if len(ranks) != 1 or ranks == {0}:
        shapes = " and ".join(shape_text(graph.shape(name)) for name in node.input)
        raise NoMatchError(f"it combines tensors of shapes {shapes}; the same number of axes was expected")
    return tuple(dict.fromkeys(node.input))
