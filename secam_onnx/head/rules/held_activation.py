"""Smooth activations whose gate is held: `y = (y / x) x`, so `dz/dx = dz/dy (y / x)`.

For functions through zero: GELU, SiLU, Mish and so on are `x` times a gate. Then gradient times input is the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["HeldActivationRule"]


@dataclass(frozen=True)
class HeldActivationStep(Step):
    """A function of single elements with `f(0) = 0`, of the input or of its sum with a constant."""

    bias: str = ""

    holds: ClassVar[bool] = True

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.bias,) if self.bias else ()

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b = builder
        x, y = (b.beside(gradient, name) for name in (self.input, self.output))
        if self.bias:
            x = b.op("Add", [x, b.beside(gradient, self.bias)])
        zero = b.op("Equal", [x, b.floats([0.0])])
        gate = b.op("Div", [y, b.op("Add", [x, b.op("Cast", [zero], to=TensorProto.FLOAT)])])
        result = Gradient(b.op("Mul", [b.held(gradient), gate]), self.input, part=gradient.part)
        if self.bias:
            b.add_bias(result, self.bias)
        return [result]


class HeldActivationRule(Rule):
    """Smooth functions of one computed tensor that are zero at zero, ONNX Runtime's own with a bias before them."""

    ops = frozenset({"Celu", "Elu", "Erf", "Gelu", "HardSwish", "Mish", "Selu", "Softsign", "Swish", "Tanh"})
    own = frozenset({"BiasGelu", "FastGelu", "Gelu", "QuickGelu"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        further = [name for name in node.input[1:] if name]
        if len(further) > (node.op_type in self.own) or not all(map(graph.is_constant, further)):
            raise NoMatchError("it has parameters, or a bias that is computed at run time")
        op = node.op_type
        reason = f"{op}, y = (y / x) x with y / x held"
        return HeldActivationStep(
            node, (node.input[0],), node.output[0], role=op.lower(), reason=reason, bias="".join(further)
        )
