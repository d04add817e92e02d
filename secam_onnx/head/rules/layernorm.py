"""Layer normalisation: `y = (x - m) / s * scale + bias` with mean `m` and deviation `s` over the last axes.

With `n = (x - m) / s` and `g = dz/dy * scale`, `dz/dx = (g - mean(g) - n mean(g n)) / s`; smooth. The result does not
depend on the norm of `x`, so gradient times input sums to almost zero, and the completeness gap is nearly the logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["LayerNormRule", "normalised_shape", "through_normalisation"]


@dataclass(frozen=True)
class LayerNormStep(Step):
    """Normalisation over the last `count` axes."""

    count: int

    @property
    def exact(self) -> bool:
        return False

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(name for name in self.node.input[1:] if name)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        if len(self.node.input) > 2 and self.node.input[2]:
            builder.add_bias(gradient, self.node.input[2])
        axes = [-1 - index for index in range(self.count)]
        scaled = builder.op("Mul", [builder.dense(gradient), builder.constant(self.node.input[1])])
        epsilon = attribute(self.node, "epsilon", 1e-5)
        return [Gradient(through_normalisation(builder, builder.value(self.input), scaled, axes, epsilon), self.input)]


def through_normalisation(builder: Builder, x: str, gradient: str, axes: Sequence[int], epsilon: float) -> str:
    """`dz/dx` of `n = (x - m) / s` from `dz/dn`, `(N, K, ...)`; the axes count from the end."""
    b, over = builder, builder.integers(axes)
    centred = b.op("Sub", [x, b.op("ReduceMean", [x, over], keepdims=1)])
    variance = b.op("ReduceMean", [b.op("Mul", [centred, centred]), over], keepdims=1)
    deviation = b.op("Sqrt", [b.op("Add", [variance, b.floats([epsilon])])])
    normal = b.per_class(b.op("Div", [centred, deviation]))
    mean = b.op("ReduceMean", [gradient, over], keepdims=1)
    along = b.op("ReduceMean", [b.op("Mul", [gradient, normal]), over], keepdims=1)
    rest = b.op("Sub", [b.op("Sub", [gradient, mean]), b.op("Mul", [normal, along])])
    return b.op("Div", [rest, b.per_class(deviation)])


class LayerNormRule(Rule):
    """LayerNormalization with constant scale and bias."""

    ops = frozenset({"LayerNormalization"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, shape = node.input[0], normalised_shape(graph, node)
        first = attribute(node, "axis", -1) % len(shape)
        if first == 0:
            raise NoMatchError("it normalises over the batch axis")
        count = len(shape) - first
        return LayerNormStep(
            node, (x,), node.output[0], role="layernorm", count=count,
            reason=f"layer normalisation over the last {'axis' if count == 1 else f'{count} axes'}; smooth",
        )  # fmt: skip


def normalised_shape(graph: Graph, node: NodeProto) -> Shape:
    """The shape of what a node normalises by constant parameters.

    Raises
    ------
    NoMatchError
        The shape is not known, or a parameter is computed.
    """
    shape = graph.shape(node.input[0])
    if not shape or len(shape) < 2:
        raise NoMatchError(f"its input has shape {shape_text(shape)}; (N, ..., C) was expected")
    if not all(graph.is_constant(name) for name in node.input[1:] if name):
        raise NoMatchError("its scale or bias is computed at run time")
    return shape
