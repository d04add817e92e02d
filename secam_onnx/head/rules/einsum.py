"""Einsum of two tensors: `y = einsum("ij,jd->id", P, V)`, so `dz/dV = einsum("ij,id->jd", P, dz/dy)`.

One operand is constant, or attention weights that are held, as in torchvision's MaxViT; of two others, each is held for
the other and gets half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.attention_weights import is_attention_weights
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["EinsumRule"]


@dataclass(frozen=True)
class EinsumStep(Step):
    """A product of two tensors, summed over some of their axes."""

    axes: tuple[str, str, str]
    """The letters of the axes of both operands and of the result."""

    holds: ClassVar[bool] = True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        whole = builder.whole(replace(gradient, name=builder.dense(gradient), form="dense", part=None))
        return [self._back(builder, whole, name) for name in self.inputs]

    def _back(self, b: Builder, whole: str, name: str) -> Gradient:
        index = list(self.node.input).index(name)
        other = self.node.input[1 - index]
        if b.graph.is_constant(other):
            value = b.op("Unsqueeze", [b.constant(other), b.integers([0, 1])])
        else:
            value = b.whole(Gradient(b.per_class(b.value(other), other), other))
        letters = f"...{self.axes[1 - index]},...{self.axes[2]}->...{self.axes[index]}"
        share = b.scale(b.op("Einsum", [value, whole], equation=letters), 1 / len(self.inputs))
        return b.of_whole(share, name)


@dataclass(frozen=True)
class EinsumAttentionStep(EinsumStep):
    """The same of attention weights and values."""

    attends: ClassVar[bool] = True


class EinsumRule(Rule):
    """Einsum of two operands, each axis of which is in the result or in the other operand."""

    ops = frozenset({"Einsum"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        text = attribute(node, "equation", b"")
        equation = (text.decode() if isinstance(text, bytes) else text).replace(" ", "")
        left, arrow, result = equation.partition("->")
        axes = (*left.split(","), result)
        if len(node.input) != 2 or len(axes) != 3 or not arrow or "." in equation:
            raise NoMatchError(f"its equation is {equation!r}; two operands and a result were expected")
        if any(len(set(letters)) != len(letters) for letters in axes) or node.input[0] == node.input[1]:
            raise NoMatchError(f"it multiplies a tensor with itself or takes a diagonal, {equation!r}")
        names = tuple(name for name in node.input if not graph.is_constant(name))
        held = [name for name in names if len(names) == 2 and is_attention_weights(graph, name)]
        walked = tuple(name for name in names if name not in held) or names
        for name in walked:
            index = list(node.input).index(name)
            if not set(axes[index]) <= set(axes[1 - index] + axes[2]):
                raise NoMatchError(f"it sums over an axis of one operand alone, {equation!r}")
        make = EinsumAttentionStep if len(held) == 1 else EinsumStep
        role = "attention" if len(held) == 1 else ""
        return make(node, walked, node.output[0], role=role, reason=f"products by {equation!r}", axes=axes)
