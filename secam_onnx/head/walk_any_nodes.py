"""A walk from the logits through any nodes, to a feature map that can be masked cell by cell."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.grid import NoGridError, grid_of
from secam_onnx.head.joined_cells import check_cells_are_joined
from secam_onnx.head.walk import Rejection, Walk, dead_end, passed_by, pictures_of, placed, shared_tensors
from secam_onnx.head_query import HeadQuery

__all__ = ["walk_to_any_grid"]

_ATTENTION = {"Attention", "Einsum", "MatMul"}


def walk_to_any_grid(graph: Graph, logits: str, query: HeadQuery) -> Walk:
    """Walk through any nodes to the feature map nearest to the logits that all paths pass through.

    Raises
    ------
    HeadError
        There is no such feature map.
    """
    rejected: list[Rejection] = []
    features = query.feature_names
    pictures = pictures_of(graph, features)
    attended, picked = 0, False
    nodes: list[NodeProto] = []

    def inputs(node: NodeProto, output: str) -> Sequence[str]:
        nonlocal attended, picked
        nodes.append(node)
        attended += _attends(graph, node)
        picked |= _picks_a_token(graph, node, output)
        return [name for name in graph.computed_inputs(node) if not graph.is_from_shapes(name)]

    try:
        for tensor in shared_tensors(graph, logits, inputs, features):
            if tensor in pictures:
                raise HeadError(dead_end(graph, tensor, features, pictures))
            if features and tensor not in features:
                continue
            try:
                grid = grid_of(graph, tensor, query.token_grid, special=attended > 0 and graph.opset >= 10)
                check_cells_are_joined(graph, nodes, grid)
                # Only attention carries other tokens to the one that is read; a map behind it would say nothing.
                if picked and not attended and "L" in grid.layout:
                    raise NoGridError(f"shape {shape_text(graph.shape(tensor))}: one of its tokens alone is read")
                warning = "" if features or attended <= 2 else _before_all_attention(graph, tensor)
                grid, elsewhere = placed(pictures, grid)
                return Walk([grid], [], rejected, " ".join(filter(None, (elsewhere, warning))))
            except NoGridError as reason:
                rejected.append(Rejection(tensor, str(reason)))
    except HeadError as error:
        raise HeadError(f"{error} {passed_by(rejected)}".strip()) from error
    raise AssertionError("a walk ends at a feature map or with an error")


def _attends(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is one of the two products of attention, or a whole attention."""
    data = (name for name in dict.fromkeys(node.input) if name and not graph.is_constant(name))
    return node.op_type in _ATTENTION and sum(not graph.is_from_shapes(name) for name in data) > 1


def _picks_a_token(graph: Graph, node: NodeProto, output: str) -> bool:
    """Whether a node leaves a single index of an axis that counts neither photographs nor channels."""
    if node.op_type not in ("Gather", "Slice", "Split"):
        return False
    before, after = graph.shape(node.input[0]) or (), graph.shape(output) or ()
    if len(before) < 3 or len(after) not in (len(before), len(before) - 1):
        return False
    if len(after) < len(before):
        axes = [attribute(node, "axis", 0) % len(before)]
    else:
        axes = [axis for axis, length in enumerate(after) if length == 1 and before[axis] != 1]
    return bool(set(axes) - {graph.batch_axis(node.input[0]), channel_axis(graph, node.input[0])})


def _before_all_attention(graph: Graph, tensor: str) -> str:
    """The warning where a transformer's patches are its feature map, as no later tokens form a grid."""
    if any(_attends(graph, node) for node in graph.ancestry(tensor)[0]):
        return ""
    return (
        f"The feature map {tensor!r} lies before all attention, as no tokens behind it are known to form a grid. "
        "The output of a whole transformer for a single cell may say little. Name a tensor of tokens with "
        "--features, and its rows and columns with --token-grid."
    )
