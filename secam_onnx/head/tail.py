"""What is known of the numbers of an output without a known softmax or sigmoid."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from secam_onnx.head.by_hand import sigmoid_by_hand, softmax_by_hand
from secam_onnx.head.graph import Graph, reads
from secam_onnx.head.patterns import SAME_NUMBERS, SHAPES_ONLY

__all__ = ["tail_of"]

_WEIGHTS = {"Conv", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvTranspose"}
_APPLIED = {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"}
_UNBOUNDED = (
    SAME_NUMBERS
    | SHAPES_ONLY
    | {"Add", "Sub", "Mul", "Div", "BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Neg", "Transpose", "Slice"}
    | {"Gather", "Concat", "GlobalAveragePool", "AveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean", "ReduceSum"}
    | {"DequantizeLinear", "QuantizeLinear"}
)
_MOST = 10_000  # nodes


def tail_of(graph: Graph, logits: str) -> str:
    """What comes after the last layers with weights.

    Returns
    -------
    {'raw', 'applied', 'unknown'}
        Nothing that bounds the numbers; a softmax or sigmoid; or something else.
    """
    tail = "raw"
    for node in _behind_weights(graph, logits):
        if node.op_type in _APPLIED or softmax_by_hand(graph, node) or sigmoid_by_hand(graph, node):
            return "applied"
        if node.op_type not in _UNBOUNDED or not _is_linear(graph, node):
            tail = "unknown"
    return tail


def _is_linear(graph: Graph, node: NodeProto) -> bool:
    """Whether a product or quotient is one with constants."""
    computed = [name for name in reads(node) if not graph.is_constant(name)]
    return (
        node.op_type not in ("Mul", "Div") or computed == [node.input[0]] or (node.op_type, len(computed)) == ("Mul", 1)
    )


def _behind_weights(graph: Graph, tensor: str) -> Iterator[NodeProto]:
    """The nodes from a tensor back to the last layers with weights."""
    todo, seen = [tensor], set[str]()
    while todo and len(seen) < _MOST:
        name = todo.pop()
        node = graph.producer(name)
        if name in seen or node is None or graph.is_from_shapes(name):
            continue
        seen.add(name)
        if node.op_type in _WEIGHTS and any(graph.is_constant(entry) for entry in node.input[1:]):
            continue
        yield node
        todo += reads(node)
