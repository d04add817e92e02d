"""Normalisations whose divisor is held: `y = (x - m) / s * scale + bias`, affine in `x` for a constant `s`.

Layer normalisation subtracts the mean `m`, which is linear: with `g = dz/dy * scale / s`, `dz/dx = g - mean(g)`. RMS
normalisation and L2 normalisation only divide. Otherwise gradient times input would sum to almost zero, since what
comes out does not depend on the norm of `x`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.layernorm import normalised_shape

__all__ = ["HeldNormRule", "normalised"]

_CENTRED = {"LayerNormalization", "SkipLayerNormalization"}
_EPSILONS = {"SkipLayerNormalization": 1e-12, "SkipSimplifiedLayerNormalization": 1e-12}  # of all others 1e-5


@dataclass(frozen=True)
class HeldNormStep(Step):
    """Normalisation over the last `count` axes."""

    count: int

    holds: ClassVar[bool] = True

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(name for name in self.node.input[1:] if name)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, axes = builder, [-1 - index for index in range(self.count)]
        scale, bias = (*self.weights, "", "")[:2]
        if bias:
            b.add_bias(gradient, bias)
        part = gradient.part
        if part is not None and part[0] >= len(b.graph.shape(self.input) or ()) - self.count:
            gradient, part = Gradient(b.dense(gradient), self.output), None
        x = b.beside(replace(gradient, of=self.input), self.input)
        return [Gradient(normalised(b, gradient, self.node, x, axes, scale), self.input, part=part)]


def normalised(b: Builder, gradient: Gradient, node: NodeProto, x: str, axes: Sequence[int], scale: str) -> str:
    """The gradient with respect to what a node normalises, whose value beside the gradient is `x`."""
    over, dense = b.integers(axes), b.held(gradient)
    divisor = _divisor(b, x, over, node)
    if scale:
        dense = b.op("Mul", [dense, b.constant(scale)])
    divided = b.op("Div", [dense, divisor])
    if node.op_type in _CENTRED:
        divided = b.op("Sub", [divided, b.op("ReduceMean", [divided, over], keepdims=1)])
    return divided


def _divisor(b: Builder, x: str, over: str, node: NodeProto) -> str:
    if node.op_type == "LpNormalization":
        norm = b.op("ReduceL1" if attribute(node, "p", 2) == 1 else "ReduceL2", [x, over], keepdims=1)
        return b.op("Max", [norm, b.floats([1e-30])])
    if node.op_type in _CENTRED:
        x = b.op("Sub", [x, b.op("ReduceMean", [x, over], keepdims=1)])
    variance = b.op("ReduceMean", [b.op("Mul", [x, x]), over], keepdims=1)
    epsilon = attribute(node, "epsilon", _EPSILONS.get(node.op_type, 1e-5))
    return b.op("Sqrt", [b.op("Add", [variance, b.floats([epsilon])])])


class HeldNormRule(Rule):
    """LayerNormalization, RMSNormalization and LpNormalization over the last axes, with constant parameters."""

    ops = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "LpNormalization"})
    own = frozenset({"SimplifiedLayerNormalization"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, shape = node.input[0], normalised_shape(graph, node)
        first = attribute(node, "axis", -1) % len(shape)
        single = node.op_type == "LpNormalization"
        if (first == 0 and graph.leads(x)) or (single and first != len(shape) - 1):
            raise NoMatchError(f"it normalises over axis {first}; the last ones were expected")
        count = len(shape) - first
        role = {"LayerNormalization": "layernorm", "LpNormalization": "norm"}.get(node.op_type, "rmsnorm")
        return HeldNormStep(
            node, (x,), node.output[0], role=role, reason="normalisation, its divisor held", count=count
        )
