"""Which tensors are attention weights, and how often attention is applied between the picture and the logits."""

from __future__ import annotations

import math
from collections.abc import Container

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import reads

__all__ = ["attends_everywhere", "count_attention", "is_attention_weights", "made_by"]

_DEEPEST = 24  # nodes between a softmax and the product with the values
# What may stand between: masks and dropout, changes of layout, and talking heads, which mix the weights of heads.
_BETWEEN = {
    "Add", "BatchNormalization", "Cast", "CastLike", "Conv", "DequantizeLinear", "Div", "Dropout", "Expand",
    "FusedMatMul", "Gather", "Gemm", "Identity", "MatMul", "Mul", "QuantizeLinear", "Reshape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
WHOLE_ATTENTION = {"Attention", "MultiHeadAttention", "PackedAttention", "GroupQueryAttention"}


def is_attention_weights(graph: Graph, tensor: str) -> bool:
    """Whether a softmax made a tensor, with nothing behind it that mixes it with other computed tensors."""
    return made_by(graph, tensor, {"Softmax"}, _BETWEEN)


def made_by(graph: Graph, tensor: str, ops: Container[str], between: Container[str]) -> bool:
    """Whether a node of `ops` made a tensor, with nodes of `between` behind it that read no other computed tensor."""
    seen: set[str] = set()
    todo = [tensor]
    found = False
    while todo and len(seen) <= _DEEPEST:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.producer(name)
        if node is None:
            return False
        if node.op_type in ops:
            found = True
            continue
        data = data_of(graph, node)
        if node.op_type == "Where":  # a mask, made from the weights themselves
            data = [other for other in data if other != node.input[0]]
        if node.op_type not in between or len(data) != 1:
            return False
        todo += data
    return found and not todo


def count_attention(graph: Graph, tensor: str) -> int:
    """How many products of attention weights and values a tensor depends on."""
    return sum(_attends(graph, node) for node in graph.ancestry(tensor)[0])


def attends_everywhere(graph: Graph, tensor: str, tokens: int | None) -> bool:
    """Whether a tensor depends on attention several times, always over this many tokens, without convolutions between.

    Windows of that many tokens are told by the number of values, which changes from stage to stage.
    """
    mixed: set[str] = set()
    values: list[int] = []
    for node in graph.ancestry(tensor)[0]:
        if _attends(graph, node):
            data = [name for name in data_of(graph, node) if not is_attention_weights(graph, name)]
            shape = (graph.shape(data[-1]) if data else None) or ()
            if tokens not in shape[-2:] or None in shape:
                return False
            values.append(math.prod(length or 0 for length in shape))
        elif mixed.isdisjoint(node.input):
            continue
        elif "Conv" in node.op_type:
            return False
        mixed.update(node.output)
    return len(values) > 1 and len({*values}) == 1


def _attends(graph: Graph, node: NodeProto) -> bool:
    if node.op_type in WHOLE_ATTENTION:
        return True
    if node.op_type not in ("Einsum", "FusedMatMul", "MatMul") or len(data_of(graph, node)) != 2:
        return False
    return [is_attention_weights(graph, name) for name in node.input].count(True) == 1


def data_of(graph: Graph, node: NodeProto) -> list[str]:
    """The tensors that a node reads and that depend on the picture's values."""
    names = dict.fromkeys(name for name in reads(node) if not graph.is_constant(name))
    return [name for name in names if not graph.is_from_shapes(name)]
