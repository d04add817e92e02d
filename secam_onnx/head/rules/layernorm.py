"""Layer normalisation: `y = (x - m) / s * scale + bias` with mean `m` and deviation `s` over the last axes.

With `n = (x - m) / s` and `g = dz/dy * scale`, `dz/dx = (g - mean(g) - n mean(g n)) / s`; smooth. The result does not
change with the length of `x`, so gradient times input sums to about nothing: the completeness gap is nearly the logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph, attribute, shape_text
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.builder import Builder

__all__ = ["LayerNormRule"]


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
        axes = builder.integers([-1 - index for index in range(self.count)])
        x = builder.value(self.input)
        centred = builder.op("Sub", [x, builder.op("ReduceMean", [x, axes], keepdims=1)])
        variance = builder.op("ReduceMean", [builder.op("Mul", [centred, centred]), axes], keepdims=1)
        epsilon = builder.floats([attribute(self.node, "epsilon", 1e-5)])
        deviation = builder.op("Sqrt", [builder.op("Add", [variance, epsilon])])
        normal = builder.per_class(builder.op("Div", [centred, deviation]))
        scaled = builder.op("Mul", [builder.dense(gradient), builder.constant(self.node.input[1])])
        mean = builder.op("ReduceMean", [scaled, axes], keepdims=1)
        along = builder.op("ReduceMean", [builder.op("Mul", [scaled, normal]), axes], keepdims=1)
        rest = builder.op("Sub", [builder.op("Sub", [scaled, mean]), builder.op("Mul", [normal, along])])
        return [Gradient(builder.op("Div", [rest, builder.per_class(deviation)]), self.input)]


class LayerNormRule(Rule):
    """LayerNormalization with constant scale and bias."""

    ops = frozenset({"LayerNormalization"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, shape = node.input[0], graph.shape(node.input[0])
        if not shape or len(shape) < 2:
            raise NoMatchError(f"its input has shape {shape_text(shape)}; (N, ..., C) was expected")
        if not all(graph.is_constant(name) for name in node.input[1:] if name):
            raise NoMatchError("its scale or bias is computed, not a constant")
        first = attribute(node, "axis", -1) % len(shape)
        if first == 0:
            raise NoMatchError("it normalises over the batch axis")
        count = len(shape) - first
        return LayerNormStep(
            node, (x,), node.output[0], role="layernorm", count=count,
            reason=f"layer normalisation over the last {'axis' if count == 1 else f'{count} axes'}; smooth",
        )  # fmt: skip
