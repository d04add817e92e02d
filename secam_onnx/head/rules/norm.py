"""Lengths of vectors, as heads that compare directions have them: `y = r(x)` over some axes, `dz/dx = dz/dy dr/dx`.

And LpNormalization, `y = x / |x|`: `dz/dx = (g - s sum(g y)) / |x|` with `g = dz/dy` and `s = d|x|/dx`; smooth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph, attribute, shape_text
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step
from secam_onnx.head.rules.pool import reduced_axes

if TYPE_CHECKING:
    from secam_onnx.head.builder import Builder

__all__ = ["LpNormRule", "NormRule"]

_TINY = 1e-20
"""In place of the length of a zero vector, whose slope is zero by convention."""


def _direction(b: Builder, x: str, length: str) -> str:
    return b.op("Div", [x, b.op("Max", [length, b.floats([_TINY])])])


_SLOPES: dict[str, Callable[[Builder, str, str], str]] = {
    "ReduceL1": lambda b, x, y: b.op("Sign", [x]),
    "ReduceL2": _direction,
    "ReduceLogSumExp": lambda b, x, y: b.op("Exp", [b.op("Sub", [x, y])]),
    "ReduceSumSquare": lambda b, x, y: b.scale(x, 2.0),
}


@dataclass(frozen=True)
class NormStep(Step):
    """One number for all along some axes."""

    axes: tuple[int, ...]

    @property
    def exact(self) -> bool:
        return self.node.op_type == "ReduceL1"

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, axes = builder, builder.integers(self.axes)
        x = b.value(self.input)
        y = b.op(self.node.op_type, [x, axes], keepdims=1)
        slope = b.per_class(_SLOPES[self.node.op_type](b, x, y))
        dense = b.with_axes(b.dense(gradient), self.axes, self.output, self.input)
        return [Gradient(b.op("Mul", [dense, slope]), self.input)]


class NormRule(Rule):
    """Reductions with a slope for each of the numbers."""

    ops = frozenset(_SLOPES)

    def match(self, graph: Graph, node: NodeProto) -> Step:
        axes, shape = reduced_axes(graph, node)
        what = node.op_type.removeprefix("Reduce").lower()
        reason = f"{what} over axes {axes} of {shape_text(shape)}"
        return NormStep(node, (node.input[0],), node.output[0], role=what, reason=reason, axes=axes)


@dataclass(frozen=True)
class LpNormStep(Step):
    """Vectors of length 1, by the sum of squares (p = 2) or of absolute values (p = 1)."""

    axis: int
    p: int

    @property
    def exact(self) -> bool:
        return False

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, dense = builder, builder.dense(gradient)
        x = b.value(self.input)
        length = b.op(f"ReduceL{self.p}", [x, b.integers([self.axis])], keepdims=1)
        slope = _direction(b, x, length) if self.p == 2 else b.op("Sign", [x])
        y = b.per_class(b.value(self.output))
        along = b.op("ReduceSum", [b.op("Mul", [dense, y]), b.integers([self.axis + 1])], keepdims=1)
        rest = b.op("Sub", [dense, b.op("Mul", [b.per_class(slope), along])])
        return [Gradient(_direction(b, rest, b.per_class(length)), self.input)]


class LpNormRule(Rule):
    """LpNormalization along one axis."""

    ops = frozenset({"LpNormalization"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        rank = len(graph.shape(node.input[0]) or ())
        axis = attribute(node, "axis", -1) % max(rank, 1)
        if axis == 0:
            raise NoMatchError("it normalises over the batch axis")
        p = attribute(node, "p", 2)
        reason = f"vectors along axis {axis} are divided by their lengths (p = {p}); smooth"
        return LpNormStep(node, (node.input[0],), node.output[0], role="normalise", reason=reason, axis=axis, p=p)
