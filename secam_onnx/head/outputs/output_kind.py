"""Whether an output without a known softmax or sigmoid is raw scores."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import reads
from secam_onnx.head.outputs.decomposed_activation import decomposed_sigmoid, decomposed_softmax
from secam_onnx.head.outputs.output_nodes import COPIES, RESHAPES

__all__ = ["output_kind"]

_WEIGHTS = {
    "Conv", "ConvTranspose", "DynamicQuantizeMatMul", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger",
    "MatMulIntegerToFloat", "QLinearConv", "QLinearMatMul",
}  # fmt: skip
_ACTIVATIONS = {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"}
_UNBOUNDED = (
    COPIES
    | RESHAPES
    | {"Add", "Sub", "Mul", "Div", "BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Neg", "Transpose", "Slice"}
    | {"Gather", "Concat", "GlobalAveragePool", "AveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean", "ReduceSum"}
    | {"DequantizeLinear", "QuantizeLinear"}
)
_MOST = 10_000  # nodes


def output_kind(graph: Graph, logits: str) -> str:
    """Tell from the nodes behind the last layers with weights what an output is.

    Returns
    -------
    {'raw', 'activated', 'unknown'}
        Nothing there bounds the numbers; there is a softmax or sigmoid; or there is something else.
    """
    kind = "raw"
    for node in _behind_weights(graph, logits):
        if _is_activation(graph, node):
            return "activated"
        if node.op_type not in _UNBOUNDED or not _is_linear(graph, node):
            kind = "unknown"
    return kind


def _is_activation(graph: Graph, node: NodeProto) -> bool:
    return bool(node.op_type in _ACTIVATIONS or decomposed_softmax(graph, node) or decomposed_sigmoid(graph, node))


def _is_linear(graph: Graph, node: NodeProto) -> bool:
    """Whether a product or quotient is one with constants."""
    computed = [name for name in reads(node) if not graph.is_constant(name)]
    return (
        node.op_type not in ("Mul", "Div") or computed == [node.input[0]] or (node.op_type, len(computed)) == ("Mul", 1)
    )


def _behind_weights(graph: Graph, tensor: str) -> Iterator[NodeProto]:
    """The nodes from a tensor back to the last layers with weights, and what those average."""
    todo, seen = [tensor], set[str]()
    while todo and len(seen) < _MOST:
        name = todo.pop()
        node = graph.producer(name)
        if name in seen or node is None or graph.is_from_shapes(name):
            continue
        seen.add(name)
        if node.op_type in _WEIGHTS and any(graph.is_constant(entry) for entry in node.input[1:]):
            if (averaged := _averaged(graph, node)) is not None:
                yield averaged
            continue
        if (integers := _scaled_integers(graph, node)) is not None:
            todo.append(integers)
            continue
        yield node
        todo += reads(node)


def _scaled_integers(graph: Graph, node: NodeProto) -> str | None:
    """The product of integers that a node scales, where the run chooses the scale (dynamic quantisation)."""
    for name in node.input if node.op_type == "Mul" else ():
        cast = graph.producer(name)
        integers = graph.producer(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
        if cast is not None and integers is not None and integers.op_type == "MatMulInteger":
            return str(cast.input[0])
    return None


def _averaged(graph: Graph, node: NodeProto) -> NodeProto | None:
    """The softmax or sigmoid whose values a layer adds up with no negative weight, as no layer of logits does."""
    computed = [name for name in node.input if not graph.is_constant(name)]
    if len(computed) != 1 or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    inner = graph.producer(computed[0])
    while inner is not None and inner.input and inner.op_type in COPIES | RESHAPES:
        inner = graph.producer(inner.input[0])
    if inner is None or not _is_activation(graph, inner):
        return None
    weights = next(name for name in node.input[:2] if graph.is_constant(name))
    return inner if (graph.constant(weights) >= 0).all() else None
