"""Softmax and sigmoid of several nodes: `exp(z - m) / sum exp(z - m)`, `z - log sum exp(z)`, `1 / (1 + exp(-z))`.

The number m that is subtracted from all classes of an image does not change the result.
"""

from __future__ import annotations

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.outputs.output_nodes import RESHAPES, constant_number, copy_source, over_classes

__all__ = ["DecomposedActivation", "decomposed_sigmoid", "decomposed_softmax"]

DecomposedActivation = tuple[str, str, int]
"""The activation, the tensor that it is applied to, and the sign that this tensor takes first."""

_MAXIMUM = frozenset({"ReduceMax"})
_SUMS = frozenset({"ReduceSum", "ReduceL1"})


def decomposed_softmax(graph: Graph, node: NodeProto) -> DecomposedActivation | None:
    """The softmax, or its logarithm, that ends with a node; None if there is none."""
    if node.op_type == "Sub":
        x = copy_source(graph, node.input[0])
        if _is_log_sum_exp(graph, node.input[1], x):
            return "log_softmax", _unshifted(graph, x), 1
        return None
    parts = _quotient(graph, node)
    if parts is None or parts[0] is None:
        return None
    above, below = copy_source(graph, parts[0]), _widened(graph, parts[1])
    powers = graph.producer(above)
    if powers is None or powers.op_type != "Exp" or not _reduces(graph, below, above, _SUMS):
        return None
    return "softmax", _unshifted(graph, copy_source(graph, powers.input[0])), 1


def decomposed_sigmoid(graph: Graph, node: NodeProto) -> DecomposedActivation | None:
    """The sigmoid that ends with a node; None if there is none."""
    parts = _quotient(graph, node)
    if parts is None:
        return None
    power = _one_plus_exp(graph, copy_source(graph, parts[1]))
    if power is None:
        return None
    exponent = copy_source(graph, power.input[0])
    if parts[0] is None or constant_number(graph, parts[0]) == 1:
        negated = _negated(graph, exponent)
        return ("sigmoid", exponent, -1) if negated is None else ("sigmoid", copy_source(graph, negated), 1)
    return ("sigmoid", exponent, 1) if copy_source(graph, parts[0]) == power.output[0] else None


def _quotient(graph: Graph, node: NodeProto) -> tuple[str | None, str] | None:
    """Numerator and denominator of `a / b` or `a * (1 / b)`; None and `b` for a Reciprocal."""
    if node.op_type == "Reciprocal":
        return None, node.input[0]
    if node.op_type == "Div":
        return node.input[0], node.input[1]
    if node.op_type == "Mul":
        for above, below in (node.input, reversed(node.input)):
            inner = graph.producer(below)
            if inner is not None and inner.op_type == "Reciprocal":
                return above, inner.input[0]
    return None


def _one_plus_exp(graph: Graph, tensor: str) -> NodeProto | None:
    """The Exp in `1 + exp(x)`."""
    node = graph.producer(tensor)
    if node is None or node.op_type != "Add" or {constant_number(graph, name) for name in node.input} != {1, None}:
        return None
    inner = graph.producer(copy_source(graph, next(name for name in node.input if not graph.is_constant(name))))
    return inner if inner is not None and inner.op_type == "Exp" else None


def _negated(graph: Graph, tensor: str) -> str | None:
    """`x` of `-x`, `x * -1` or `0 - x`."""
    node = graph.producer(tensor)
    if node is None:
        return None
    if node.op_type == "Neg":
        return str(node.input[0])
    if node.op_type == "Sub" and constant_number(graph, node.input[0]) == 0:
        return str(node.input[1])
    if node.op_type in ("Mul", "Div"):
        for x, factor in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
            if constant_number(graph, factor) == -1 and (node.op_type == "Mul" or x == node.input[0]):
                return str(x)
    return None


def _widened(graph: Graph, tensor: str) -> str:
    """The tensor that a tensor repeats along the classes, or the tensor itself."""
    while (node := graph.producer(tensor)) is not None and node.op_type in {
        "Expand",
        "Tile",
        "Identity",
        "Cast",
        *RESHAPES,
    }:
        tensor = node.input[0]
    return tensor


def _reduces(graph: Graph, tensor: str, of: str, operators: frozenset[str]) -> bool:
    """Whether a tensor is the result of one of some reductions of another tensor over the classes."""
    node = graph.producer(tensor)
    if node is None or node.op_type not in operators or copy_source(graph, node.input[0]) != of:
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and graph.is_constant(node.input[1]):
        axes = graph.constant(node.input[1]).reshape(-1).tolist()
    return bool(axes) and 0 not in axes and any(over_classes(graph, of, axis) for axis in axes)


def _is_log_sum_exp(graph: Graph, tensor: str, of: str) -> bool:
    tensor = _widened(graph, tensor)
    if _reduces(graph, tensor, of, frozenset({"ReduceLogSumExp"})):
        return True
    node = graph.producer(tensor)
    if node is None or node.op_type not in ("Log", "ReduceLogSum"):
        return False
    total = _widened(graph, node.input[0]) if node.op_type == "Log" else tensor
    reduction = graph.producer(total)
    powers = (
        None if reduction is None or not reduction.input else graph.producer(copy_source(graph, reduction.input[0]))
    )
    if powers is None or powers.op_type != "Exp" or copy_source(graph, powers.input[0]) != of:
        return False
    return _reduces(graph, total, powers.output[0], _SUMS | {"ReduceLogSum"})


def _unshifted(graph: Graph, tensor: str) -> str:
    """`z` of `z - max(z)`."""
    node = graph.producer(tensor)
    if node is not None and node.op_type == "Sub":
        z = copy_source(graph, node.input[0])
        if _reduces(graph, _widened(graph, node.input[1]), z, _MAXIMUM):
            return z
    return tensor
