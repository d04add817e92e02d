"""Attention: `y = P V` with weights `P = softmax(...)` that are held, so `dz/dV = P^T dz/dy`.

Held at the values that they have for this picture, the weights are constants: what comes out is linear in the values,
and queries and keys, which only the weights depend on, are never walked. Rotary positions, relative biases, masks and
scales need no rule of their own.

References
----------
A. Ali, T. Schnake, O. Eberle, G. Montavon, K.-R. Mueller, L. Wolf, "XAI for transformers: better explanations through
conservative propagation", arXiv 2202.07304: attention weights and the divisors of normalisations as constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.attention_weights import is_attention_weights
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["AttentionRule"]


@dataclass(frozen=True)
class AttentionStep(Step):
    """The product of attention weights and values."""

    weights_first: bool

    attends: ClassVar[bool] = True
    holds: ClassVar[bool] = True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        held = self.node.input[0 if self.weights_first else 1]
        rank = len(builder.graph.shape(held) or ())
        queries = rank - (2 if self.weights_first else 1)
        if gradient.varies_along != queries:
            gradient = Gradient(builder.dense(gradient), self.output)
        weights = builder.beside(replace(gradient, of=held), held)
        axes = 2 + len(builder.graph.inner(held))
        turned = builder.op("Transpose", [weights], perm=[*range(axes - 2), axes - 1, axes - 2])
        factors = [turned, builder.held(gradient)]
        product = builder.op("MatMul", factors if self.weights_first else factors[::-1])
        return [Gradient(builder.scale(product, attribute(self.node, "alpha", 1.0)), self.input)]


class AttentionRule(Rule):
    """MatMul of two computed tensors, one of which a softmax made."""

    ops = frozenset({"MatMul"})
    own = frozenset({"FusedMatMul"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if any(graph.is_constant(name) for name in node.input):
            raise NoMatchError("one operand is constant")
        if any(attribute(node, flag, 0) for flag in ("transA", "transB", "transBatchA", "transBatchB")):
            raise NoMatchError("it transposes an operand, too")
        shapes = [graph.shape(name) or () for name in node.input]
        held = [is_attention_weights(graph, name) for name in node.input]
        if held.count(True) != 1:
            found = "both are" if all(held) else "neither is"
            raise NoMatchError(f"of its operands one was expected to be attention weights, made by a softmax; {found}")
        if len(shapes[0]) != len(shapes[1]) or len(shapes[0]) < 3 or shapes[0][:-2] != shapes[1][:-2]:
            raise NoMatchError(
                f"it multiplies {' and '.join(map(shape_text, shapes))}; equal leading axes were expected"
            )
        values = node.input[1 if held[0] else 0]
        reason = f"attention weights {shape_text(shapes[held.index(True)])}, held, times values"
        return AttentionStep(node, (values,), node.output[0], role="attention", reason=reason, weights_first=held[0])
