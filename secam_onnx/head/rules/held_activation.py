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
    """A function of single elements with `f(0) = 0`."""

    holds: ClassVar[bool] = True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b = builder
        x, y = (b.beside(gradient, name) for name in (self.input, self.output))
        zero = b.op("Equal", [x, b.floats([0.0])])
        gate = b.op("Div", [y, b.op("Add", [x, b.op("Cast", [zero], to=TensorProto.FLOAT)])])
        return [Gradient(b.op("Mul", [b.held(gradient), gate]), self.input, part=gradient.part)]


class HeldActivationRule(Rule):
    """Smooth functions of one computed tensor that are zero at zero."""

    ops = frozenset({"Celu", "Elu", "Erf", "Gelu", "HardSwish", "Mish", "Selu", "Softsign", "Swish", "Tanh"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if node.domain not in ("", "ai.onnx", "com.microsoft") or len([name for name in node.input if name]) != 1:
            raise NoMatchError("it has parameters")
        op = node.op_type
        return HeldActivationStep(
            node, (node.input[0],), node.output[0], role=op.lower(), reason=f"{op}, y = (y / x) x with y / x held"
        )
