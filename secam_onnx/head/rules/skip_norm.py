"""ONNX Runtime's SkipLayerNormalization: `s = x + skip (+ bias)`, `y = norm(s)` with the divisor held.

`s`, a further output, is the residual stream: where it is there, `y` is walked to it and it to its summands, so that
the head can be cut at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.held_norm import normalised

__all__ = ["SkipNormRule"]

_SUM = 3  # the place of `s` among the outputs


@dataclass(frozen=True)
class SkipSumStep(Step):
    """`s`, a sum of the inputs and of constants."""

    summands: tuple[str, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(name for name in self.summands if name not in self.inputs)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        for name in self.weights:
            builder.add_bias(gradient, name)
        times = Counter(self.summands)
        held = builder.held(gradient)
        return [Gradient(builder.scale(held, times[name]), name, part=gradient.part) for name in self.inputs]


@dataclass(frozen=True)
class SkipNormStep(Step):
    """`y`, from `s` where that is an output, otherwise from the summands."""

    scale: str
    shift: str
    sum: SkipSumStep

    holds: ClassVar[bool] = True

    @property
    def weights(self) -> tuple[str, ...]:
        before = () if self.input_is_sum else self.sum.weights
        return (self.scale, *filter(None, [self.shift]), *before)

    @property
    def input_is_sum(self) -> bool:
        """Whether a tensor of the network holds the sum."""
        return self.inputs == (self.sum.output,)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b = builder
        if self.shift:
            b.add_bias(gradient, self.shift)
        if gradient.varies_along == len(b.graph.shape(self.output) or ()) - 1:
            gradient = Gradient(b.dense(gradient), self.output)
        names = self.inputs if self.input_is_sum else self.sum.summands
        total, *others = (b.beside(gradient, name) for name in names)
        for other in others:
            total = b.op("Add", [total, other])
        divided = normalised(b, gradient, self.node, total, [-1], self.scale)
        before = Gradient(divided, self.sum.output, part=gradient.part)
        return [before] if self.input_is_sum else self.sum.backward(b, before)


class SkipNormRule(Rule):
    """SkipLayerNormalization and SkipSimplifiedLayerNormalization with constant parameters."""

    ops = frozenset()
    own = frozenset({"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"})

    def match_output(self, graph: Graph, node: NodeProto, output: str) -> Step:
        step = self.match(graph, node)
        if output not in (step.output, step.sum.output):
            raise NoMatchError(f"its output {output!r} is neither its result nor the sum before")
        return step if output == step.output else step.sum

    def match(self, graph: Graph, node: NodeProto) -> SkipNormStep:
        centred = node.op_type == "SkipLayerNormalization"
        x, skip, scale, shift, bias = (*node.input[:3], *([] if centred else [""]), *node.input[3:], "", "")[:5]
        if not all(graph.is_constant(name) for name in (scale, shift, bias) if name):
            raise NoMatchError("its scale or bias is computed at run time")
        summands = tuple(filter(None, [x, skip, bias]))
        inputs = tuple(name for name in dict.fromkeys(summands) if not graph.is_constant(name))
        y = node.output[0]
        if not inputs or any(graph.shape(name) != graph.shape(y) for name in inputs) or not graph.shape(y):
            shapes = " and ".join(shape_text(graph.shape(name)) for name in inputs)
            raise NoMatchError(f"it adds tensors of shapes {shapes}; the same was expected")
        total = node.output[_SUM] if len(node.output) > _SUM else ""
        added = SkipSumStep(node, inputs, total or y, role="", reason="sum of computed tensors", summands=summands)
        return SkipNormStep(
            node,
            (total,) if total else inputs,
            y,
            role="layernorm" if centred else "rmsnorm",
            reason=f"normalisation of {repr(total) if total else 'a sum'}, its divisor held",
            scale=scale,
            shift=shift,
            sum=added,
        )
