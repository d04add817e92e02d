"""Which rows of a node's inputs make a row of its output, where a row of the output needs no others of some input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute
from secam_onnx.head.tokens import count_of

__all__ = ["Rows", "merged_rows", "rows_of"]

_ELEMENTWISE = {
    "Abs", "Add", "Cast", "Ceil", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
    "Greater", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "Log", "Max", "Min", "Mish", "Mul", "Neg",
    "Not", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt",
    "Sub", "Tanh", "Where",
}  # fmt: skip
_ALONG_ONE_AXIS = {"LogSoftmax", "LpNormalization", "Softmax"}
_ALONG_THE_LAST_AXES = {"LayerNormalization", "RMSNormalization"}


@dataclass(frozen=True)
class Rows:
    """How a node makes some rows of its output from the same rows of its inputs.

    Attributes
    ----------
    axes : dict of int to int
        By the index of an input, the axis that counts its rows; the other inputs are needed whole.
    shape : list of int or None
        For a Reshape, the shape it makes where only some rows are left.
    """

    axes: dict[int, int] = field(default_factory=dict)
    shape: list[int] | None = None


def rows_of(graph: Graph, node: NodeProto, axis: int, length: int, left: int) -> Rows | None:
    """How a node makes the rows of its first output; None if each of these may depend on all rows.

    Parameters
    ----------
    graph : Graph
        The model, which has the shapes.
    node : NodeProto
        A node at opset 13 or newer.
    axis : int
        The axis of the output that counts rows.
    length : int
        How many there are.
    left : int
        How many will be left.
    """
    shape = graph.shape(node.output[0])
    if node.domain or shape is None or shape[axis] != length:
        return None
    if node.op_type in _ELEMENTWISE:
        return _broadcast(graph, node, len(shape), axis, length)
    rule = _RULES.get(node.op_type)
    if rule is not None:
        return rule(graph, node, shape, axis, left)
    first = attribute(node, "axis", -1) % len(shape)
    alone = (node.op_type in _ALONG_ONE_AXIS and axis != first) or (
        node.op_type in _ALONG_THE_LAST_AXES and axis < first
    )
    return Rows({0: axis}) if alone else None


def _broadcast(graph: Graph, node: NodeProto, rank: int, axis: int, length: int, matrix: int = 0) -> Rows | None:
    """Inputs that are repeated along the axis are needed whole; the last `matrix` axes are not repeated."""
    axes = {}
    for index, name in enumerate(node.input):
        shape = graph.shape(name) if name else ()
        if shape is None:
            return None
        own = axis - rank + len(shape)
        if own < 0 or shape[own] == 1 or own >= len(shape) - matrix:
            continue
        if shape[own] != length:
            return None
        axes[index] = own
    return Rows(axes) if axes else None


def _matmul(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    one, other = (graph.shape(name) or () for name in node.input)
    if min(len(one), len(other)) < 2 or axis == len(shape) - 1:
        return None
    if axis == len(shape) - 2:
        return Rows({0: len(one) - 2})
    return _broadcast(graph, node, len(shape), axis, shape[axis] or 0, matrix=2)


def _gemm(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    added = graph.shape(node.input[2]) if len(node.input) > 2 and node.input[2] else ()
    once = added is not None and (len(added) < 2 or added[0] == 1)
    return Rows({0: 0}) if axis == 0 and once and not attribute(node, "transA", 0) else None


def _transpose(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    return Rows({0: attribute(node, "perm", range(len(shape))[::-1])[axis]})


def _reduce(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    # An axis that is still as long was not reduced, if no other was dropped.
    return Rows({0: axis}) if len(graph.shape(node.input[0]) or ()) == len(shape) else None


def _squeeze(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    before, dropped = graph.shape(node.input[0]), graph.integers(node, "axes", 1)
    if before is None or not dropped:
        return None
    dropped = [index % len(before) for index in dropped]
    return Rows({0: [index for index in range(len(before)) if index not in dropped][axis]})


def _unsqueeze(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    added = graph.integers(node, "axes", 1)
    return Rows({0: axis - sum(index % len(shape) < axis for index in added)}) if added else None


def _reshape(graph: Graph, node: NodeProto, shape: Shape, axis: int, left: int) -> Rows | None:
    """An axis that stays one, whatever becomes of those before and behind it."""
    before, target = graph.shape(node.input[0]), _target(graph, node)
    if before is None or target is None or len(target) != len(shape):
        return None
    same = [own for own in range(len(before)) if before[own] == shape[axis] and _splits_alike(before, own, shape, axis)]
    if len(same) != 1 or (target[axis] == 0 and same[0] != axis):
        return None
    target[axis] = target[axis] if target[axis] in (0, -1) else left
    return Rows({0: same[0]}, target)


def _splits_alike(one: Shape, axis: int, other: Shape, place: int) -> bool:
    return count_of(one[:axis]) == count_of(other[:place]) and count_of(one[axis:]) == count_of(other[place:])


_RULES: dict[str, Callable[[Graph, NodeProto, Shape, int, int], Rows | None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceL2": _reduce,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "ReduceSumSquare": _reduce,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def merged_rows(
    graph: Graph, node: NodeProto, axis: int, length: int, left: int, producers: Mapping[str, NodeProto]
) -> dict[int, Rows]:
    """The same for a linear layer on rows and images that were merged into one axis, as PyTorch's attention does.

    `(rows, N, ...)` becomes `(rows * N, C)`, goes through the layer, and becomes `(rows, N, D)` by the node.

    Parameters
    ----------
    graph, node, axis, length, left
        As in `rows_of`.
    producers : mapping
        By name, the producers of tensors that only one node reads.

    Returns
    -------
    dict of int to Rows
        By the `id` of each node on the way; empty if there is no such layer.
    """
    target = _target(graph, node) if node.op_type == "Reshape" else None
    if axis or target is None or len(target) != 3 or target[0] != length:
        return {}
    found = {id(node): Rows(shape=[left, *target[1:]])}
    channels, above = target[2], producers.get(node.input[0])
    while above is not None and not above.domain:
        shape, *others = (graph.shape(name) for name in above.input)
        if above.op_type == "Reshape":
            merges = (_target(graph, above) or [])[1:] == [channels] and shape is not None and shape[0] == length
            return found | {id(above): Rows({0: 0}, [-1, channels])} if merges else {}
        layer = above.op_type == "MatMul" or (above.op_type == "Gemm" and not attribute(above, "transA", 0))
        per_row = shape is not None and len(shape) == 2 and all(len(other or (0, 0)) < 2 for other in others[1:])
        if not layer or shape is None or not per_row:
            return {}
        found[id(above)] = Rows()
        channels, above = shape[1] or 0, producers.get(above.input[0])
    return {}


def _target(graph: Graph, node: NodeProto) -> list[int] | None:
    """The shape that a Reshape asks for, where it is known and means what it says."""
    if not graph.is_constant(node.input[1]):
        return None
    target = [int(length) for length in graph.constant(node.input[1]).ravel()]
    return None if 0 in target and attribute(node, "allowzero", 0) else target
