"""QuantizeLinear followed by DequantizeLinear: `y = x`, rounded to a grid of 255 values and clipped to its range.

The gradient is that of the clipping (straight through the rounding), so the completeness gap is the rounding error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto, TensorProto

from secam_onnx.head.graph import Graph
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.builder import Builder

__all__ = ["QuantizeRule"]


@dataclass(frozen=True)
class QuantizeStep(Step):
    """Rounded by two nodes, of which `node` is the second."""

    @property
    def exact(self) -> bool:
        return False

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        # Within one step of its rounded value nothing was clipped.
        x, y, scale = builder.value(self.input), builder.value(self.output), builder.constant(self.node.input[1])
        inside = builder.op("LessOrEqual", [builder.op("Abs", [builder.op("Sub", [x, y])]), scale])
        mask = builder.per_class(builder.op("Cast", [inside], to=TensorProto.FLOAT))
        return [Gradient(builder.op("Mul", [builder.dense(gradient), mask]), self.input)]


class QuantizeRule(Rule):
    """DequantizeLinear of a QuantizeLinear, with one scale for the whole tensor."""

    ops = frozenset({"DequantizeLinear"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        before = graph.producer(node.input[0])
        if before is None or before.op_type != "QuantizeLinear":
            raise NoMatchError("what it reads was not quantised by the node before it")
        if not all(graph.is_constant(name) for name in (*node.input[1:], *before.input[1:])):
            raise NoMatchError("its scale is computed at run time")
        if graph.constant(node.input[1]).size != 1:
            raise NoMatchError("it has a scale for each channel; one for the whole tensor was expected")
        reason = "rounded to 8 bits and back; the gradient goes straight through"
        return QuantizeStep(node, (before.input[0],), node.output[0], role="", reason=reason)
