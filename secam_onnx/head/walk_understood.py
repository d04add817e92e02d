"""Walks from the logits through nodes that the rules understand, to one feature map or to one of each branch.

Where all branches have no tensor in common before the picture itself, as in the mean of two networks, each branch ends
at the feature map that it comes to first, and the logits are a function of all of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import heappop, heappush

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import describe, shape_text
from secam_onnx.head.grid import Grid, NoGridError, grid_of
from secam_onnx.head.joined_cells import check_cells_are_joined
from secam_onnx.head.picture import Pictures
from secam_onnx.head.picture_view import UnknownPlaceError
from secam_onnx.head.rules import PassThroughStep, Step
from secam_onnx.head.understand import understand
from secam_onnx.head.walk import Rejection, Walk, dead_end, passed_by, pictures_of, placed, shared_tensors
from secam_onnx.head_query import HeadQuery

__all__ = ["walk_by_rules", "walk_to_several"]

_LONGEST = 10_000  # nodes of a head that is understood; ONNX Runtime takes minutes to open a derivative of 10^5


def walk_by_rules(graph: Graph, logits: str, query: HeadQuery) -> Walk:
    """Walk through understood nodes to the feature map nearest to the logits, or to the one that was asked for.

    A map without weights between it and the logits is a map of the classes (convolution, then pool); the walk goes on
    to the one before that convolution, if it understands all nodes up to there.

    Raises
    ------
    HeadError
        The walk ends without a feature map; the message is the reason.
    """
    steps: list[Step] = []
    rejected: list[Rejection] = []
    features = query.feature_names
    pictures = pictures_of(graph, features)
    class_map: Walk | None = None

    def inputs(node: NodeProto, output: str) -> Sequence[str]:
        step = understand(graph, node, output)
        if class_map is not None and len(step.inputs) > 1:
            raise HeadError(f"{describe(node)} combines two tensors")
        steps.append(step)
        if len(steps) > _LONGEST:
            raise HeadError(f"stopped at node {describe(node)}: more than {_LONGEST} nodes lie below it")
        return step.inputs

    try:
        for tensor in shared_tensors(graph, logits, inputs, features):
            if tensor in pictures:
                raise HeadError(dead_end(graph, tensor, features, pictures))
            if features and tensor not in features:
                rejected.append(Rejection(tensor, f"shape {shape_text(graph.shape(tensor))}: another was asked for"))
                continue
            try:
                grid = _feature_map(graph, tensor, query, steps, (step.node for step in steps))
            except NoGridError as reason:
                if features:
                    raise HeadError(f"the tensor {tensor!r} is not a feature map: {reason}") from reason
                rejected.append(Rejection(tensor, str(reason)))
                continue
            if features or any(step.mixes for step in steps):
                grid, steps = _past_copies(graph, grid, steps, pictures, features)
                grid, warning = placed(pictures, grid)
                return Walk([grid], steps, rejected, warning)
            if class_map is None:
                grid, warning = placed(pictures, grid)
                class_map = Walk([grid], steps.copy(), rejected.copy(), warning)
            rejected.append(Rejection(tensor, "no weights between it and the logits: it is a map of the classes"))
    except HeadError as error:
        if class_map is None:
            raise HeadError(f"{error} {passed_by(rejected)}".strip()) from error
        class_map.rejected.append(Rejection("further up", str(error)))
    assert class_map is not None
    return class_map


def walk_to_several(graph: Graph, logits: str, query: HeadQuery) -> Walk:
    """Walk through understood nodes, on each branch to the nearest feature map with weights between it and the logits.

    If the query names feature maps, walk to those instead.

    Raises
    ------
    HeadError
        A branch ends without a feature map, or it is not known where its map lies on the picture.
    """
    features = query.feature_names
    pictures = pictures_of(graph, features)
    steps: list[Step] = []
    rejected: list[Rejection] = []
    grids: list[Grid] = []
    weighted: set[str] = set()
    front, met = [(-graph.position(logits), logits)], {logits}
    while front:
        _, tensor = heappop(front)
        if tensor in pictures:
            raise HeadError(f"a branch of the head ends at the image itself, {tensor!r} {passed_by(rejected)}".strip())
        if tensor in features or (not features and tensor in weighted):
            try:
                grids.append(_feature_map(graph, tensor, query, steps, _behind(steps, tensor)))
                continue
            except NoGridError as reason:
                rejected.append(Rejection(tensor, str(reason)))
        node = graph.producer(tensor)
        if node is None or len(steps) > _LONGEST:
            raise HeadError(dead_end(graph, tensor, features, ()))
        graph.computed_inputs(node)  # raises where the graph is damaged
        step = understand(graph, node, tensor)
        steps.append(step)
        if step.mixes or tensor in weighted:
            weighted.update(step.inputs)
        for name in step.inputs:
            if name not in met:
                met.add(name)
                heappush(front, (-graph.position(name), name))
    grids.sort(key=lambda grid: graph.position(grid.tensor))
    return Walk(_all_placed(pictures, grids), steps, rejected)


def _feature_map(
    graph: Graph, tensor: str, query: HeadQuery, steps: Sequence[Step], between: Iterable[NodeProto]
) -> Grid:
    """A tensor as a feature map, with the nodes between it and the logits.

    Raises
    ------
    NoGridError
        The tensor is not a feature map; the message is the reason.
    """
    grid = grid_of(graph, tensor, query.token_grid, _channel_axis_of_readers(steps, tensor))
    check_cells_are_joined(graph, between, grid)
    return grid


def _all_placed(pictures: Pictures, grids: Sequence[Grid]) -> list[Grid]:
    """The feature maps of the branches with their parts of the picture, all of which must be known."""
    if unknown := next((grid.tensor for grid in grids if None in grid.shape), None):
        raise HeadError(f"the size of the feature map {unknown!r} depends on the run; export it for one image size")
    try:
        return [replace(grid, span=pictures.span(grid.tensor)) for grid in grids]
    except UnknownPlaceError as reason:
        raise HeadError(f"it is not known where its feature maps lie on the picture: {reason}") from reason


def _behind(steps: Sequence[Step], tensor: str) -> list[NodeProto]:
    """The nodes passed that depend on a tensor."""
    reached, nodes = {tensor}, []
    for step in reversed(steps):
        if not reached.isdisjoint(step.inputs):
            reached.add(step.output)
            nodes.append(step.node)
    return nodes


def _channel_axis_of_readers(steps: Sequence[Step], tensor: str) -> int | None:
    """The axis that counts channels, where only pools over the other axes read a tensor."""
    axes = {step.channel_axis for step in steps if tensor in step.inputs}
    return axes.pop() if len(axes) == 1 else None


def _past_copies(
    graph: Graph, grid: Grid, steps: list[Step], pictures: Pictures, features: Sequence[str]
) -> tuple[Grid, list[Step]]:
    """The same values before casts and dropouts, whose names tell people nothing."""
    while not features and (node := graph.producer(grid.tensor)) is not None:
        try:
            step = understand(graph, node, grid.tensor)
        except HeadError:
            break
        if not isinstance(step, PassThroughStep) or step.input in pictures:
            break
        grid = replace(grid, tensor=step.input)
        steps = [*steps, step]
    return grid, steps
