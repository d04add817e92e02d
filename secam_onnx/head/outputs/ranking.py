"""Nodes that name only the highest classes (TopK, ArgMax, ZipMap, a table of names), and the tensor before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, describe
from secam_onnx.head.outputs.class_tables import Table, class_names, table_of
from secam_onnx.head.outputs.output_nodes import COPIES, RESHAPES, class_axis, copy_source

__all__ = ["CLASS_BY_CLASS", "before_ranking", "check_largest_wins", "check_not_sorted"]

_RANKING = {"TopK", "ArgMax", "ZipMap", "ReduceMax", "LabelEncoder", "ArrayFeatureExtractor"}
_SMALLEST = {"ArgMin", "ReduceMin"}
CLASS_BY_CLASS = (
    COPIES
    | RESHAPES
    | {"Softmax", "LogSoftmax", "Sigmoid", "Exp", "Log", "Neg", "Clip", "Relu", "Mul", "Div", "Add", "Sub", "Slice"}
)


def before_ranking(graph: Graph, output: str) -> tuple[str, tuple[str, ...] | None, tuple[str, ...]]:
    """The tensor of all classes before any ranking, the class names that the graph has, and the ranking nodes.

    Raises
    ------
    HeadError
        The smallest value wins.
    """
    start, labels, ranking, tables = output, None, [], list[Table]()
    tensor: str | None = output
    while tensor is not None and (node := graph.producer(tensor)) is not None and node.input:
        following: str | None = node.input[0]
        _check_largest(graph, node)
        if node.op_type == "LinearClassifier":
            values = attribute(node, "classlabels_strings") or attribute(node, "classlabels_ints") or []
            labels = class_names(len(values), [*tables, dict(enumerate(values))]) or labels
            if tensor == node.output[0]:
                start = node.output[1]
                ranking.append(describe(node))
            break
        table = table_of(graph, node)
        if table is not None:
            following = next(name for name in node.input if not graph.is_constant(name))
            tables.append(table)
        if node.op_type in _RANKING and not graph.is_constant(tensor):
            if node.op_type == "ArrayFeatureExtractor":
                following = node.input[1]
            elif node.op_type in ("ArgMax", "ReduceMax", "TopK") and not _over_all(graph, node):
                break
            elif node.op_type != "LabelEncoder":
                if tables or node.op_type == "ZipMap":
                    labels = _class_names(graph, node, tables) or labels
                tables = []
            ranking.append(describe(node))
            start = following or start
        elif table is None and node.op_type not in COPIES | RESHAPES | {"Gather", "Slice"}:
            break
        tensor = following
    return (start, labels, tuple(ranking)) if ranking else (output, labels, ())


def check_not_sorted(graph: Graph, logits: str) -> None:
    """Refuse sorted scores, whose first place belongs to the highest class, whichever that is.

    Raises
    ------
    HeadError
        They come from a TopK, through nothing but functions of single elements.
    """
    tensor: str | None = logits
    while tensor is not None and (node := graph.producer(tensor)) is not None and node.input:
        if node.op_type == "TopK" and _over_all(graph, node):
            raise HeadError(
                f"its values are sorted by {describe(node)}, so their places are not classes; --logits {node.input[0]} "
                "explains the tensor before"
            )
        if node.op_type not in CLASS_BY_CLASS:
            return
        names = graph.computed_inputs(node)
        tensor = names[0] if len(names) == 1 else None


def check_largest_wins(graph: Graph, logits: str) -> None:
    """Refuse raw outputs if the model itself takes the smallest of them, as it does with distances.

    Raises
    ------
    HeadError
        The model takes the smallest.
    """
    for node in graph.model.graph.node:
        if node.op_type in ("ArgMin", "TopK") and copy_source(graph, node.input[0]) == logits:
            _check_largest(graph, node)


def _check_largest(graph: Graph, node: NodeProto) -> None:
    """Refuse a node that looks for the smallest of the classes."""
    smallest = node.op_type in _SMALLEST or (node.op_type == "TopK" and not attribute(node, "largest", 1))
    if smallest and _over_all(graph, node):
        raise HeadError(
            f"{describe(node)} takes the smallest of {node.input[0]!r}, as one does with distances; logits were "
            "expected, of which the largest wins. Export the model with negated distances and with the largest"
        )


def _class_names(graph: Graph, node: NodeProto, tables: Sequence[Table]) -> tuple[str, ...] | None:
    """Class names: those of ZipMap, or what the tables make of each class number, the last table first."""
    if node.op_type == "ZipMap":
        values = attribute(node, "classlabels_strings") or attribute(node, "classlabels_int64s")
        return class_names(len(values), [dict(enumerate(values))]) if values else None
    axis, shape = class_axis(graph, node.input[0]), graph.shape(node.input[0])
    n_classes = None if axis is None or shape is None else shape[axis]
    return None if n_classes is None else class_names(n_classes, tables)


def _over_all(graph: Graph, node: NodeProto) -> bool:
    """Whether a node looks for the largest or smallest of all classes of an image, not of positions or tokens."""
    if node.op_type in ("ReduceMax", "ReduceMin"):
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and graph.is_constant(node.input[1]):
            axes = np.asarray(graph.constant(node.input[1])).reshape(-1).tolist()
    else:
        axes = [attribute(node, "axis", -1 if node.op_type == "TopK" else 0)]
    rank = len(graph.shape(node.input[0]) or ())
    return axes is not None and len(axes) == 1 and rank > 1 and axes[0] % rank == class_axis(graph, node.input[0])
