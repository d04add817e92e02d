"""A constant added: `y = x + b`, so the gradient passes unchanged and the bias receives `dz/dy . b`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["BiasRule", "BiasStep"]


@dataclass(frozen=True)
class BiasStep(Step):
    """`y = x + b` with a constant `b`."""

    bias: str

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.bias,)

    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        builder.add_bias(gradient, self.bias)
        return replace(gradient, of=self.input)


class BiasRule(Rule):
    """Add with one constant operand, on either side."""

    ops = frozenset({"Add"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        constants = [name for name in node.input if graph.is_constant(name)]
        if len(constants) != 1:
            raise NoMatchError("it adds two computed tensors (a skip connection), not a constant bias")
        (x,) = (name for name in node.input if name not in constants)
        if graph.shape(x) is None or graph.shape(x) != graph.shape(node.output[0]):
            raise NoMatchError(f"adding {constants[0]!r} changes the shape {graph.shape(x)}")
        return BiasStep(
            node=node, input=x, output=node.output[0], role="", reason=f"bias {constants[0]!r}", bias=constants[0]
        )
