"""Products and quotients of computed tensors in which a factor is held: `y = x g`, so `dz/dx = dz/dy g`.

A gate is held: what a sigmoid, an error function, a softmax or a reciprocal norm made, as in GELU and layer
normalisation that are written out, SiLU and squeeze-and-excite. So is every computed divisor. Of two factors neither of
which is a gate, as in SwiGLU, each is held for the other, and gets half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.head.attention_weights import made_by
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.combine import computed_operands

__all__ = ["HeldProductRule"]

_GATES = {"Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh", "Reciprocal", "Sqrt", "ReduceL1", "ReduceL2", "Exp"}
_BETWEEN = {
    "Add", "Cast", "Clip", "DequantizeLinear", "Div", "Expand", "Identity", "Max", "Mul", "Neg", "Pow",
    "QuantizeLinear", "Reciprocal", "Reshape", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


@dataclass(frozen=True)
class HeldProductStep(Step):
    """A product or quotient; `inputs` are the factors that are walked."""

    holds: ClassVar[bool] = True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, shapes = builder, {builder.graph.shape(name) for name in (*self.inputs, self.output)}
        if len(shapes) > 1:  # what is walked was repeated
            gradient = Gradient(b.dense(gradient), self.output)
        results = []
        for name in self.inputs:
            other = self.node.input[1] if name == self.node.input[0] else self.node.input[0]
            share = b.op(self.node.op_type, [b.held(gradient), b.beside(gradient, other)])
            share = b.scale(share, 1 / len(self.inputs))
            results.append(Gradient(b.unbroadcast(share, self.output, name), name, part=gradient.part))
        return results


class HeldProductRule(Rule):
    """Mul and Div of two computed tensors."""

    ops = frozenset({"Mul", "Div"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        names = computed_operands(graph, node)
        if node.op_type == "Div":
            if len(names) == 1:
                raise NoMatchError("it divides a tensor by itself")
            walked: tuple[str, ...] = names[:1]
        else:
            free = tuple(name for name in names if not made_by(graph, name, _GATES, _BETWEEN))
            walked = free if len(free) == 1 else names
        reason = f"{node.op_type} with {'a factor' if len(walked) == 1 else 'each factor half'} held"
        return HeldProductStep(node, walked, node.output[0], role="", reason=reason)
