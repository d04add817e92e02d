"""What names the winners alone (TopK, ArgMax, ZipMap, a table of names): the tensor of all classes lies before it."""

from __future__ import annotations

from onnx import NodeProto

from secam_onnx.head.graph import Graph, attribute, describe
from secam_onnx.head.patterns import SAME_NUMBERS, SHAPES_ONLY, class_axis

__all__ = ["before_the_winners"]

_WINNERS = {"TopK", "ArgMax", "ZipMap", "ReduceMax", "LabelEncoder", "ArrayFeatureExtractor"}


def before_the_winners(graph: Graph, output: str) -> tuple[str, tuple[str, ...] | None, tuple[str, ...]]:
    """The tensor of all classes from which the winners were taken, class names, and the nodes that took them."""
    start, labels, winners = output, None, []
    tensor: str | None = output
    while tensor is not None and (node := graph.producer(tensor)) is not None and node.input:
        following: str | None = node.input[0]
        if node.op_type in _WINNERS and not graph.is_constant(tensor):
            labels = _names(graph, node) or labels
            if node.op_type in ("ArrayFeatureExtractor",) or graph.is_constant(node.input[0]):
                following = node.input[1]
            elif node.op_type in ("ArgMax", "ReduceMax", "TopK") and not _over_all(graph, node):
                break
            winners.append(describe(node))
            start = following or start
        elif node.op_type == "Gather" and graph.is_constant(node.input[0]):  # a table, by the winner
            following = node.input[1]
        elif node.op_type not in SAME_NUMBERS | SHAPES_ONLY | {"Gather", "Slice"}:
            break
        tensor = following
    return (start, labels, tuple(winners)) if winners else (output, None, ())


def _names(graph: Graph, node: NodeProto) -> tuple[str, ...] | None:
    """Class names in an operator of ai.onnx.ml."""
    if node.op_type == "ArrayFeatureExtractor" and graph.is_constant(node.input[0]):
        return tuple(map(_text, graph.constant(node.input[0]).reshape(-1)))
    for key in ("classlabels_strings", "classlabels_int64s", "values_strings"):
        values = attribute(node, key)
        if values:
            return tuple(map(_text, values))
    return None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _over_all(graph: Graph, node: NodeProto) -> bool:
    """Whether a node looks for the largest of all classes of an image."""
    if node.op_type == "ReduceMax":
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and graph.is_constant(node.input[1]):
            axes = graph.constant(node.input[1]).reshape(-1).tolist()
    else:
        axes = [attribute(node, "axis", -1 if node.op_type == "TopK" else 0)]
    rank = len(graph.shape(node.input[0]) or ())
    # Over tokens or positions it is a pool.
    return axes is not None and len(axes) == 1 and rank > 1 and axes[0] % rank == class_axis(graph, node.input[0])
