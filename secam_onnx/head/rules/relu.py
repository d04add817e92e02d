"""ReLU: `y = max(x, 0)`, so `dz/dx = dz/dy * [x > 0]`; linear on each side, hence `y = [x > 0] * x` exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import NodeProto, TensorProto

from secam_onnx.head.graph import Graph
from secam_onnx.head.rules.base import Gradient, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["ReluRule", "ReluStep"]


class ReluStep(Step):
    """`y = max(x, 0)`."""

    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        # y > 0 is the same mask as x > 0, and y is what the layer above needs anyway.
        output = builder.forward(self.output)
        zero = builder.op("CastLike", [builder.floats([0.0]), output])
        mask = builder.op("Cast", [builder.op("Greater", [output, zero])], to=TensorProto.FLOAT)
        return Gradient(builder.op("Mul", [builder.dense(gradient), builder.per_class(mask)]), self.input)


class ReluRule(Rule):
    """Relu."""

    ops = frozenset({"Relu"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        return ReluStep(node, node.input[0], node.output[0], role="relu", reason="ReLU, piecewise linear")
