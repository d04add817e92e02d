"""Matrix products of two computed tensors neither of which is attention weights: each is held for the other, for half.

As in CoaT, whose queries are multiplied with a context that attention has made: `y = Q C`, so `dz/dQ = dz/dy C^T / 2`
and `dz/dC = Q^T dz/dy / 2`, which add up to `y`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["HeldMatMulRule"]


@dataclass(frozen=True)
class HeldMatMulStep(Step):
    """A matrix product of two tensors."""

    holds: ClassVar[bool] = True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, half = builder, builder.scale(builder.dense(gradient), 0.5)
        first, second = (self._turned(b, name) for name in self.inputs)
        return [
            Gradient(b.op("MatMul", [half, second]), self.inputs[0]),
            Gradient(b.op("MatMul", [first, half]), self.inputs[1]),
        ]

    @staticmethod
    def _turned(builder: Builder, tensor: str) -> str:
        rank = len(builder.graph.shape(tensor) or ())
        order = [*range(rank - 2), rank - 1, rank - 2]
        return builder.per_class(builder.op("Transpose", [builder.value(tensor)], perm=order), tensor)


class HeldMatMulRule(Rule):
    """MatMul of two different computed tensors with equal leading axes."""

    ops = frozenset({"MatMul"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        one, other = node.input
        if graph.is_constant(one) or graph.is_constant(other) or one == other:
            raise NoMatchError("it is not a product of two computed tensors")
        shapes = [graph.shape(name) or () for name in node.input]
        if len(shapes[0]) < 3 or len(shapes[0]) != len(shapes[1]) or shapes[0][:-2] != shapes[1][:-2]:
            raise NoMatchError(
                f"it multiplies {' and '.join(map(shape_text, shapes))}; equal leading axes were expected"
            )
        return HeldMatMulStep(node, (one, other), node.output[0], role="", reason="MatMul with each factor half held")
