"""Attention as one operator: `y = P V` with `P = softmax(scale Q K^T + mask)`, computed again and held.

`Attention` of ONNX from opset 23 on, and `MultiHeadAttention` and `Attention` of ONNX Runtime, the last of which has
the projection to queries, keys and values in it: `V = x W + b`, so `dz/dx = dz/dV W^T`. No tensor of the network is
`P`, but queries and keys are, and give it at a small part of the cost of a block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.graph.onnxruntime_operators import DOMAIN
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["PackedAttentionRule", "WholeAttentionRule"]


@dataclass(frozen=True)
class WholeAttentionStep(Step):
    """Attention between tensors `(N, L, heads C)` or `(N, heads, L, C)`."""

    heads: int
    scale: float
    bias: str = ""
    """What queries, keys and values gain, one behind the other."""
    mask: str = ""
    """What the scores gain, or which of them count."""

    attends: ClassVar[bool] = True
    holds: ClassVar[bool] = True

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.bias,) if self.bias else ()

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, lead, rank = builder, 2 if builder.graph.leads(self.output) else 3, self._rank(builder, self.output)
        if gradient.varies_along != rank - 2:
            gradient = Gradient(b.dense(gradient), self.output)
        queries, keys, bias = self._queries_and_keys(b, gradient)
        weights = self._attention_weights(b, gradient, queries, keys)
        dense = b.held(gradient) if rank == 4 else self._apart(b, b.held(gradient), lead)
        values = b.op("MatMul", [self._turned(b, weights, lead), dense])
        if bias or self._rank(b, self.input) == 3:
            values = self._together(b, values, lead)
        if bias:
            b.add_values(Gradient(values, self.input), bias)
        return [self._of_values(b, values)]

    def _queries_and_keys(self, b: Builder, gradient: Gradient) -> tuple[str, str, str]:
        """Queries beside a gradient and keys, `(N, 1, ..., heads, L, C)`, and the bias of the values, if any."""
        lead, rank = 2 if b.graph.leads(self.output) else 3, self._rank(b, self.output)
        queries = b.beside(gradient, self.node.input[0])
        keys = b.per_class(b.value(self.node.input[1]), self.node.input[1])
        of_values = ""
        if self.bias:
            width = (b.graph.shape(self.node.input[0]) or ())[-1] or 0
            whole = b.constant(self.bias)
            parts = [
                b.op("Slice", [whole, b.integers([start]), b.integers([end])])
                for start, end in ((0, width), (width, 2 * width), (2 * width, (1 << 63) - 1))
            ]
            queries, of_values = b.op("Add", [queries, parts[0]]), parts[2]
            keys = b.op("Add", [keys, parts[1]])
        if rank == 3:
            queries = self._apart(b, queries, lead)
        if self._rank(b, self.node.input[1]) == 3:
            keys = self._apart(b, keys, lead)
        return queries, keys, of_values

    def _of_values(self, b: Builder, values: str) -> Gradient:
        """The gradient of the input from that of the values."""
        return Gradient(values, self.input)

    def _attention_weights(self, b: Builder, gradient: Gradient, queries: str, keys: str) -> str:
        lead = 2 if b.graph.leads(self.output) else 3
        scores = b.scale(b.op("MatMul", [queries, self._turned(b, keys, lead)]), self.scale)
        if self.mask:
            mask = b.beside(gradient, self.mask)
            if b.graph.dtype(self.mask) == TensorProto.BOOL:
                counts = b.op("Greater", [mask, b.floats([0.5])])
                scores = b.op("Where", [counts, scores, b.floats([-math.inf])])
            else:
                scores = b.op("Add", [scores, mask])
        return b.op("Softmax", [scores], axis=-1)

    def _rank(self, b: Builder, tensor: str) -> int:
        return len(b.graph.shape(tensor) or ())

    def _turned(self, b: Builder, tensor: str, lead: int) -> str:
        """`(..., heads, L, C)` as `(..., heads, C, L)`."""
        return b.op("Transpose", [tensor], perm=[*range(lead + 1), lead + 2, lead + 1])

    def _apart(self, b: Builder, tensor: str, lead: int) -> str:
        """`(..., L, heads C)` as `(..., heads, L, C)`."""
        apart = b.op("Reshape", [tensor, b.integers([0] * (lead + 1) + [self.heads, -1])])
        return b.op("Transpose", [apart], perm=[*range(lead), lead + 1, lead, lead + 2])

    def _together(self, b: Builder, tensor: str, lead: int) -> str:
        """`(..., heads, L, C)` as `(..., L, heads C)`."""
        turned = b.op("Transpose", [tensor], perm=[*range(lead), lead + 1, lead, lead + 2])
        return b.op("Reshape", [turned, b.integers([0] * (lead + 1) + [-1])])


@dataclass(frozen=True)
class PackedAttentionStep(WholeAttentionStep):
    """Attention with the projection to queries, keys and values in it."""

    sizes: tuple[int, ...] = ()
    """How many columns of the matrix give queries, keys and values."""

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.node.input[1], *super().weights)

    def _matrices(self, b: Builder) -> list[str]:
        return b.ops("Split", [b.constant(self.node.input[1]), b.integers(self.sizes)], 3, axis=1)

    def _queries_and_keys(self, b: Builder, gradient: Gradient) -> tuple[str, str, str]:
        matrices = self._matrices(b)
        beside, whole = b.beside(gradient, self.input), b.per_class(b.value(self.input), self.input)
        queries, keys = (b.op("MatMul", [x, matrix]) for x, matrix in zip((beside, whole), matrices, strict=False))
        of_values = ""
        if self.bias:
            parts = b.ops("Split", [b.constant(self.bias), b.integers(self.sizes)], 3, axis=0)
            queries, keys, of_values = b.op("Add", [queries, parts[0]]), b.op("Add", [keys, parts[1]]), parts[2]
        lead = 2 if b.graph.leads(self.output) else 3
        return self._apart(b, queries, lead), self._apart(b, keys, lead), of_values

    def _of_values(self, b: Builder, values: str) -> Gradient:
        matrix = b.op("Transpose", [self._matrices(b)[2]], perm=[1, 0])
        return Gradient(b.op("MatMul", [values, matrix]), self.input)


class WholeAttentionRule(Rule):
    """`Attention` of ONNX, and `MultiHeadAttention` of ONNX Runtime, of queries, keys and values."""

    ops = frozenset({"Attention"})
    own = frozenset({"MultiHeadAttention"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        names = [*node.input, *[""] * 8][:8]
        query, key, value = names[:3]
        bias, *past, mask = (
            (names[3], names[4], names[6], names[7], names[5]) if node.domain == DOMAIN else ("", *names[4:7], names[3])
        )
        _check(node, past)
        if bias and not graph.is_constant(bias):
            raise NoMatchError("its bias is computed at run time")
        ranks = [len(graph.shape(name) or ()) for name in (query, key, value, node.output[0])]
        if not key or not value or ranks[0] != ranks[3] or ranks[1] != ranks[2] or not set(ranks) <= {3, 4}:
            shapes = ", ".join(shape_text(graph.shape(name)) for name in (query, key, value) if name)
            raise NoMatchError(f"it reads {shapes}; (N, L, heads C) or (N, heads, L, C) were expected, each by itself")
        width, keys_width = ((graph.shape(name) or (0,))[-1] or 0 for name in (query, key))
        heads = attribute(node, "num_heads" if node.domain == DOMAIN else "q_num_heads", 0)
        heads_of_keys = attribute(node, "kv_num_heads", heads)
        if ranks[0] == 4:
            heads, heads_of_keys = ((graph.shape(name) or (0, 0))[1] for name in (query, key))
        if heads != heads_of_keys or not heads or not keys_width:
            raise NoMatchError(f"it has {heads} heads of queries and {heads_of_keys} of keys; as many were expected")
        size = width if ranks[0] == 4 else width // heads
        return WholeAttentionStep(
            node,
            (value,),
            node.output[0],
            role="attention",
            reason=f"attention with {heads} heads, weights held",
            heads=heads,
            scale=attribute(node, "scale", 0.0) or 1 / math.sqrt(size),
            bias=bias,
            mask=mask,
        )


class PackedAttentionRule(Rule):
    """`Attention` of ONNX Runtime."""

    ops = frozenset()
    own = frozenset({"Attention"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, weight, bias, padding, past, mask, *further = [*node.input, *[""] * 7][:7]
        _check(node, (padding, past, *further))
        if not graph.is_constant(weight) or (bias and not graph.is_constant(bias)):
            raise NoMatchError("its weights are computed at run time")
        shape, heads = graph.shape(weight) or (), attribute(node, "num_heads", 1)
        if len(shape) != 2 or len(graph.shape(x) or ()) != 3 or len(graph.shape(node.output[0]) or ()) != 3:
            raise NoMatchError(f"it multiplies {shape_text(graph.shape(x))} with {shape_text(shape)}")
        sizes = tuple(attribute(node, "qkv_hidden_sizes", [(shape[1] or 0) // 3] * 3))
        return PackedAttentionStep(
            node,
            (x,),
            node.output[0],
            role="attention",
            reason=f"projection {weight!r} and attention with {heads} heads, weights held",
            heads=heads,
            scale=attribute(node, "scale", 0.0) or 1 / math.sqrt(sizes[0] // heads),
            bias=bias,
            mask=mask,
            sizes=sizes,
        )


def _check(node: NodeProto, past: Sequence[str]) -> None:
    if any(past):
        raise NoMatchError("it masks padding or remembers a past; an attention of images does neither")
    for flag in ("unidirectional", "is_causal", "do_rotary", "softcap"):
        if attribute(node, flag, 0):
            raise NoMatchError(f"it has {flag}; an attention of images has not")
