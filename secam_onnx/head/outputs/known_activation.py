"""The softmax or sigmoid that a tensor of probabilities comes from.

The search passes nodes that leave probabilities as they are: a copy, a reshape, a clip near 0 and 1, a selection of the
classes in any order, `1 - p`, and `[1 - p, p]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, describe, shape_text
from secam_onnx.head.outputs.decomposed_activation import decomposed_sigmoid, decomposed_softmax
from secam_onnx.head.outputs.output_nodes import (
    COPIES,
    RESHAPES,
    class_axis,
    constant_number,
    copy_source,
    moves_no_numbers,
    over_classes,
    takes_the_only_image,
)
from secam_onnx.head.outputs.selected_classes import selected_classes

__all__ = ["KnownActivation", "Pick", "count_classes", "find_activation", "without_copies"]

Pick = tuple[tuple[int, int], ...]
"""For each class, the index of its logit, and 1, or -1 if the logit has to be negated."""

_CLIPPED = 0.01  # a clip further from 0 and 1 changes the probabilities
_DEEPEST = 100  # nodes between an output and its softmax


@dataclass(frozen=True)
class KnownActivation:
    """An activation and the logits that it is applied to.

    Attributes
    ----------
    logits : str
        The tensor of logits, `(N, n_logits)`, perhaps with more axes of length 1.
    n_logits : int
        The number of logits.
    activation : {'softmax', 'log_softmax', 'sigmoid'}
        The activation.
    pick : Pick
        The logit of each class.
    rounded : bool
        Whether the probabilities are quantised.
    """

    logits: str
    n_logits: int
    activation: str
    pick: Pick
    rounded: bool = False


def find_activation(graph: Graph, tensor: str, depth: int = 0) -> KnownActivation | None:
    """The softmax or sigmoid that a tensor of probabilities or of their logarithms comes from; None if it is not known.

    Raises
    ------
    HeadError
        A softmax does not run over the classes.
    """
    node = graph.producer(tensor)
    if node is None or not node.input or depth > _DEEPEST:
        return None
    op, x = node.op_type, node.input[0]
    found = _activation_node(graph, node)
    if found is not None:
        return found
    if op in ("QuantizeLinear", "DequantizeLinear"):
        inner = find_activation(graph, x, depth + 1)
        return None if inner is None else replace(inner, rounded=True)
    same = op in COPIES | RESHAPES or moves_no_numbers(graph, node) or takes_the_only_image(graph, node)
    if same or _changes_nothing(graph, node):
        return find_activation(graph, _varying(graph, node) or x, depth + 1)
    if op in ("Gather", "Slice", "Split"):
        return _selection(graph, node, tensor, depth)
    if op == "Concat":
        return _concatenation(graph, node, depth)
    if op in ("Log", "Exp"):
        inner = find_activation(graph, x, depth + 1)
        known = {("Log", "softmax"): "log_softmax", ("Exp", "log_softmax"): "softmax"}
        activation = known.get((op, inner.activation)) if inner is not None else None
        return replace(inner, activation=activation) if inner is not None and activation else None
    rest = _complement(graph, node)
    inner = None if rest is None else find_activation(graph, rest, depth + 1)
    if inner is None or inner.activation != "sigmoid":
        return None
    return replace(inner, pick=tuple((index, -sign) for index, sign in inner.pick))


def _activation_node(graph: Graph, node: NodeProto) -> KnownActivation | None:
    """The softmax or sigmoid over the classes that ends with a node."""
    if node.op_type in ("Softmax", "LogSoftmax"):
        axis = attribute(node, "axis", -1 if graph.opset >= 13 else 1)
        if not over_classes(graph, node.input[0], axis):
            raise HeadError(f"{describe(node)} runs over axis {axis}, not over the classes")
        activation, x, sign = ("softmax" if node.op_type == "Softmax" else "log_softmax"), node.input[0], 1
    elif node.op_type == "Sigmoid":
        activation, x, sign = "sigmoid", node.input[0], 1
    elif (decomposed := decomposed_softmax(graph, node) or decomposed_sigmoid(graph, node)) is not None:
        activation, x, sign = decomposed
    else:
        return None
    logits = copy_source(graph, x)
    if len(graph.shape(logits) or ()) < 2:
        logits = without_copies(graph, logits)
    n = count_classes(graph, logits)
    return KnownActivation(logits, n, activation, tuple((index, sign) for index in range(n)))


def _changes_nothing(graph: Graph, node: NodeProto) -> bool:
    """Whether a node leaves probabilities as they are: a clip near 0 and 1, times 1, plus 0."""
    if node.op_type == "Clip":
        bounds = [attribute(node, "min", -math.inf), attribute(node, "max", math.inf)]
        for index, name in enumerate(node.input[1:3]):
            if name:
                bounds[index] = constant_number(graph, name)
        low, high = bounds
        return low is not None and high is not None and low <= _CLIPPED and high >= 1 - _CLIPPED
    if node.op_type in ("Max", "Min") and (x := _varying(graph, node)) is not None and len(node.input) == 2:
        bound = constant_number(graph, next(name for name in node.input if name != x))
        return bound is not None and (bound <= _CLIPPED if node.op_type == "Max" else bound >= 1 - _CLIPPED)
    if node.op_type in ("Mul", "Div", "Add", "Sub") and (x := _varying(graph, node)) is not None:
        if node.op_type in ("Div", "Sub") and node.input[0] != x:
            return False
        value = constant_number(graph, next(name for name in node.input if name != x))
        return value == 1 if node.op_type in ("Mul", "Div") else value is not None and abs(value) < 1e-6
    return False


def _varying(graph: Graph, node: NodeProto) -> str | None:
    """The input of an arithmetic node that is not constant, if there is exactly one."""
    if node.op_type not in ("Mul", "Div", "Add", "Sub", "Max", "Min"):
        return None
    names = [name for name in node.input if not graph.is_constant(name)]
    return names[0] if len(names) == 1 else None


def _complement(graph: Graph, node: NodeProto) -> str | None:
    """`x` of `1 - x`."""
    if node.op_type == "Sub" and constant_number(graph, node.input[0]) == 1:
        return str(node.input[1])
    if node.op_type == "Add" and (x := _varying(graph, node)) is not None:
        inner = graph.producer(x)
        if (
            inner is not None
            and inner.op_type == "Neg"
            and {constant_number(graph, name) for name in node.input} == {1, None}
        ):
            return str(inner.input[0])
    return None


def _selection(graph: Graph, node: NodeProto, tensor: str, depth: int) -> KnownActivation | None:
    """Some of the classes, in any order."""
    x = node.input[0]
    inner = None if graph.is_constant(x) else find_activation(graph, x, depth + 1)
    if inner is None:
        return None
    axis, n = class_axis(graph, x), len(inner.pick)
    chosen = None if axis is None else selected_classes(graph, node, tensor, axis, n)
    if not chosen or any(not -n <= index < n for index in chosen):
        return None
    return replace(inner, pick=tuple(inner.pick[index] for index in chosen))


def _concatenation(graph: Graph, node: NodeProto, depth: int) -> KnownActivation | None:
    """Several selections of the same logits, joined: `[1 - p, p]`."""
    output = node.output[0]
    if not over_classes(graph, output, attribute(node, "axis", 1)):
        return None
    parts = [find_activation(graph, name, depth + 1) for name in node.input]
    first = parts[0]
    if first is None or any(
        part is None or (part.logits, part.activation) != (first.logits, first.activation) for part in parts
    ):
        return None
    pick = tuple(entry for part in parts if part is not None for entry in part.pick)
    return replace(first, pick=pick)


def without_copies(graph: Graph, tensor: str) -> str:
    """The logits before copies; also before a squeeze, where only that gives the shape `(N, classes)`."""
    while (node := graph.producer(tensor)) is not None and node.op_type in COPIES:
        tensor = node.input[0]
    flat = tensor
    while len(graph.shape(flat) or (0, 0)) < 2:
        node = graph.producer(flat)
        if node is None or not (node.op_type in COPIES | RESHAPES or takes_the_only_image(graph, node)):
            return tensor
        flat = node.input[0]
    return flat


def count_classes(graph: Graph, tensor: str) -> int:
    """The number of classes of a tensor `(N, classes)`, perhaps with more axes of length 1.

    Raises
    ------
    HeadError
        The tensor has another shape.
    """
    shape = graph.shape(tensor)
    if shape is None or len(shape) < 2 or None in shape[1:] or sum(n != 1 for n in shape[1:]) > 1:
        raise HeadError(
            f"its shape is {shape_text(shape)}; a classifier's output has the shape (N, classes), with a fixed number "
            "of classes"
        )
    if graph.fixed_batch is not None and shape[0] not in (None, graph.fixed_batch):
        raise HeadError(
            f"its shape is {shape_text(shape)}, but the model takes batches of {graph.fixed_batch}; a classifier's "
            "output has the shape (N, classes)"
        )
    classes = math.prod(length for length in shape[1:] if length is not None)
    if not classes:
        raise HeadError(f"its shape is {shape_text(shape)}; the number of classes must be positive")
    return classes
