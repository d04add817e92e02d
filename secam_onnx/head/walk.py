"""Walk back from the logits: which nodes lie between them and the feature map, and can all of them be understood.

The walk keeps the set of tensors that the logits depend on, and always expands the one that was made last. Where the
set has a single member, everything below passes through it: only such a tensor can be the feature map. Where there is
none before the picture itself, as in the mean of two networks, each branch ends at the feature map that it comes to
first, and the logits are a function of all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, describe, shape_text
from secam_onnx.graph.onnxruntime_operators import DOMAIN
from secam_onnx.head.channel_axis import channel_axis
from secam_onnx.head.grid import Grid, NoGridError, grid_of
from secam_onnx.head.joined_cells import check_cells_are_joined
from secam_onnx.head.picture import DisplacedError, Pictures, TurnedError, UnknownPlaceError
from secam_onnx.head.rules import RULES, NoMatchError, PassThroughStep, Step

__all__ = ["Features", "Rejection", "Walk", "walk_by_rules", "walk_to_any_grid", "walk_to_several"]

_SAME = {"DequantizeLinear", "QuantizeLinear"}  # ONNX Runtime's own mean what the standard ones mean
_LONGEST = 10_000  # nodes of a head that is understood; ONNX Runtime takes minutes to open a derivative of 10^5
_ATTENTION = {"Attention", "Einsum", "MatMul"}


@dataclass(frozen=True)
class Rejection:
    """A tensor that was looked at and not chosen."""

    tensor: str
    reason: str


@dataclass
class Walk:
    """Where a walk came to.

    Attributes
    ----------
    grids : list of Grid
        The feature map, or one of each branch.
    steps : list of Step
        The nodes passed, from the logits on; empty where they were not understood.
    rejected : list of Rejection
        What was passed by, with reasons.
    warning : str
        Why the feature map may say little; empty where nothing speaks against it.
    """

    grids: list[Grid]
    steps: list[Step] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    warning: str = ""


Inputs = Callable[[NodeProto, str], Sequence[str]]
"""The tensors by which a walk goes on from a node, one of whose outputs is given."""

Features = tuple[str, ...]
"""Feature maps that are asked for by name; none for those nearest to the logits."""


def walk_by_rules(graph: Graph, logits: str, features: Features, tokens: tuple[int, int] | None) -> Walk:
    """Walk through nodes that the rules understand, to the feature map nearest to the logits or to the one named.

    A map that no weights separate from the logits is a map of classes already (convolution, then pool); the one
    before that convolution is taken if the way there is understood.

    Raises
    ------
    HeadError
        The walk ends without a feature map; the message is the reason.
    """
    steps: list[Step] = []
    rejected: list[Rejection] = []
    pictures = _pictures(graph, features)
    class_map: Walk | None = None

    def inputs(node: NodeProto, output: str) -> Sequence[str]:
        step = _understand(graph, node, output)
        if class_map is not None and len(step.inputs) > 1:
            raise HeadError(f"{describe(node)} combines two tensors")
        steps.append(step)
        if len(steps) > _LONGEST:
            raise HeadError(f"stopped at node {describe(node)}: more than {_LONGEST} nodes lie below it")
        return step.inputs

    try:
        for tensor in _cuts(graph, logits, inputs, features):
            if tensor in pictures:
                raise HeadError(_dead_end(graph, tensor, features, pictures))
            if features and tensor not in features:
                rejected.append(Rejection(tensor, f"shape {shape_text(graph.shape(tensor))}: another was asked for"))
                continue
            try:
                grid = grid_of(graph, tensor, tokens, _told_by_readers(steps, tensor))
                check_cells_are_joined(graph, (step.node for step in steps), grid)
            except NoGridError as reason:
                if features:
                    raise HeadError(f"the tensor {tensor!r} is no feature map: {reason}") from reason
                rejected.append(Rejection(tensor, str(reason)))
                continue
            if features or any(step.mixes for step in steps):
                grid, steps = _past_copies(graph, grid, steps, pictures, features)
                grid, warning = _placed(pictures, grid)
                return Walk([grid], steps, rejected, warning)
            if class_map is None:
                grid, warning = _placed(pictures, grid)
                class_map = Walk([grid], steps.copy(), rejected.copy(), warning)
            rejected.append(Rejection(tensor, "no weights between it and the logits: it is a map of the classes"))
    except HeadError as error:
        if class_map is None:
            raise HeadError(f"{error} {_trail(rejected)}".strip()) from error
        class_map.rejected.append(Rejection("further up", str(error)))
    assert class_map is not None
    return class_map


def walk_to_several(graph: Graph, logits: str, features: Features, tokens: tuple[int, int] | None) -> Walk:
    """Walk through nodes that the rules understand, on each branch to the feature map nearest to the logits.

    With weights between it and the logits; or to the feature maps named.

    Raises
    ------
    HeadError
        A branch ends without a feature map, or where its map lies on the picture is not known.
    """
    pictures = _pictures(graph, features)
    steps: list[Step] = []
    rejected: list[Rejection] = []
    grids: list[Grid] = []
    weighted: set[str] = set()
    front, met = [(-graph.position(logits), logits)], {logits}
    while front:
        _, tensor = heappop(front)
        if tensor in pictures:
            raise HeadError(f"a branch of the head ends at the image itself, {tensor!r} {_trail(rejected)}".strip())
        if tensor in features or (not features and tensor in weighted):
            try:
                grid = grid_of(graph, tensor, tokens, _told_by_readers(steps, tensor))
                check_cells_are_joined(graph, _behind(steps, tensor), grid)
                grids.append(grid)
                continue
            except NoGridError as reason:
                rejected.append(Rejection(tensor, str(reason)))
        node = graph.producer(tensor)
        if node is None or len(steps) > _LONGEST:
            raise HeadError(_dead_end(graph, tensor, features, ()))
        graph.computed_inputs(node)  # complains about damage
        step = _understand(graph, node, tensor)
        steps.append(step)
        if step.mixes or tensor in weighted:
            weighted.update(step.inputs)
        for name in step.inputs:
            if name not in met:
                met.add(name)
                heappush(front, (-graph.position(name), name))
    try:
        grids.sort(key=lambda grid: graph.position(grid.tensor))
        placed = [replace(grid, span=pictures.span(grid.tensor)) for grid in grids]
    except UnknownPlaceError as reason:
        raise HeadError(f"where its feature maps lie on the picture is not known: {reason}") from reason
    if unknown := next((grid.tensor for grid in placed if None in grid.shape), None):
        raise HeadError(f"the size of the feature map {unknown!r} depends on the run; export it for one image size")
    return Walk(placed, steps, rejected)


def walk_to_any_grid(graph: Graph, logits: str, features: Features, tokens: tuple[int, int] | None) -> Walk:
    """Walk through any nodes to the last feature map that everything below passes through.

    Raises
    ------
    HeadError
        There is none.
    """
    rejected: list[Rejection] = []
    pictures = _pictures(graph, features)
    attended, picked = 0, False
    nodes: list[NodeProto] = []

    def inputs(node: NodeProto, output: str) -> Sequence[str]:
        nonlocal attended, picked
        nodes.append(node)
        attended += _attends(graph, node)
        picked |= _picks_a_token(graph, node, output)
        return [name for name in graph.computed_inputs(node) if not graph.is_from_shapes(name)]

    try:
        for tensor in _cuts(graph, logits, inputs, features):
            if tensor in pictures:
                raise HeadError(_dead_end(graph, tensor, features, pictures))
            if features and tensor not in features:
                continue
            try:
                grid = grid_of(graph, tensor, tokens, special=attended > 0 and graph.opset >= 10)
                check_cells_are_joined(graph, nodes, grid)
                # Only attention carries other tokens to the one that is read: a map below it would say nothing.
                if picked and not attended and "L" in grid.layout:
                    raise NoGridError(f"shape {shape_text(graph.shape(tensor))}: one of its tokens alone is read")
                warning = "" if features or attended <= 2 else _before_all_attention(graph, tensor)
                grid, elsewhere = _placed(pictures, grid)
                return Walk([grid], [], rejected, " ".join(filter(None, (elsewhere, warning))))
            except NoGridError as reason:
                rejected.append(Rejection(tensor, str(reason)))
    except HeadError as error:
        raise HeadError(f"{error} {_trail(rejected)}".strip()) from error
    raise AssertionError("a walk ends at a feature map or with an error")


def _attends(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is one of the two products of attention, or all of it."""
    data = (name for name in dict.fromkeys(node.input) if name and not graph.is_constant(name))
    return node.op_type in _ATTENTION and sum(not graph.is_from_shapes(name) for name in data) > 1


def _picks_a_token(graph: Graph, node: NodeProto, output: str) -> bool:
    """Whether a single number is left along an axis that counts neither photographs nor channels."""
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
    """What to say where a transformer's patches are its feature map for want of tokens that are a grid."""
    if any(_attends(graph, node) for node in graph.ancestry(tensor)[0]):
        return ""
    return (
        f"The feature map {tensor!r} lies before all attention, as no tokens behind it are known to be a grid: what a "
        "whole transformer makes of a single cell may say little. --features names a tensor of tokens, --token-grid "
        "its rows and columns."
    )


def _cuts(graph: Graph, logits: str, inputs: Inputs, features: Features) -> Iterator[str]:
    """Yield the tensors that everything below passes through, from the logits on."""
    front, met = [(-graph.position(logits), logits)], {logits}
    while front:
        tensor = front[0][1]
        if len(front) == 1:
            yield tensor
        node = graph.producer(tensor)
        if node is None:
            raise HeadError(_dead_end(graph, tensor, features, ()))
        graph.computed_inputs(node)  # complains about damage
        heappop(front)
        for name in inputs(node, tensor):
            if name not in met:
                met.add(name)
                heappush(front, (-graph.position(name), name))
    raise HeadError("the logits do not depend on the image")


def _behind(steps: Sequence[Step], tensor: str) -> list[NodeProto]:
    """Of the nodes passed, those that depend on a tensor."""
    reached, nodes = {tensor}, []
    for step in reversed(steps):
        if not reached.isdisjoint(step.inputs):
            reached.add(step.output)
            nodes.append(step.node)
    return nodes


def _told_by_readers(steps: Sequence[Step], tensor: str) -> int | None:
    """The axis that counts channels, where all that reads a tensor is pools over the other axes."""
    axes = {step.channel_axis for step in steps if tensor in step.inputs}
    return axes.pop() if len(axes) == 1 else None


def _pictures(graph: Graph, features: Features) -> Pictures:
    pictures = Pictures(graph)
    for name in features:
        if name in pictures:
            raise HeadError(f"the tensor {name!r} is no feature map: it is the image itself, no weights have mixed it")
    return pictures


def _placed(pictures: Pictures, grid: Grid) -> tuple[Grid, str]:
    """With the part of the picture that it lies on, or with what to say where that cannot be told.

    Raises
    ------
    HeadError
        It certainly lies elsewhere: its rows are the picture's columns.
    """
    try:
        span = pictures.span(grid.tensor)
    except TurnedError as reason:
        raise HeadError(
            f"the feature map {grid.tensor!r} would be laid on the wrong places of the picture, for {reason}; leave "
            "that Transpose out of the graph, and turn the photographs instead"
        ) from reason
    except DisplacedError as reason:
        return grid, (
            f"The graph moves the picture or its features, and where {grid.tensor!r} lies is not known: {reason}. "
            "The map is drawn over the whole picture, and may lie in the wrong place; where it is the picture that is "
            "moved, export the network without that step, and prepare the photographs outside."
        )
    except UnknownPlaceError:
        return grid, ""
    return grid if None in grid.shape else replace(grid, span=span), ""


def _past_copies(
    graph: Graph, grid: Grid, steps: list[Step], pictures: Pictures, features: Features
) -> tuple[Grid, list[Step]]:
    """The same values where they were made: before casts and dropouts, whose names tell people nothing."""
    while not features and (node := graph.producer(grid.tensor)) is not None:
        try:
            step = _understand(graph, node, grid.tensor)
        except HeadError:
            break
        if not isinstance(step, PassThroughStep) or step.input in pictures:
            break
        grid = replace(grid, tensor=step.input)
        steps = [*steps, step]
    return grid, steps


def _understand(graph: Graph, node: NodeProto, output: str) -> Step:
    same = node.domain == DOMAIN and node.op_type in _SAME
    if node.domain not in ("", "ai.onnx") and not same:
        raise HeadError(f"stopped at node {describe(node)}: operators of {node.domain!r} are not understood")
    if not node.input:
        raise HeadError(f"stopped at node {describe(node)}: it has no input")
    reasons = []
    for rule in RULES:
        if node.op_type in rule.ops:
            try:
                step = rule.match_output(graph, node, output)
            except NoMatchError as reason:
                reasons.append(str(reason))
                continue
            if not any(graph.is_constant(name) for name in step.inputs):
                return step
            reasons.append("what it computes with is constant, only its parameters are not")
    why = " and ".join(reasons) or "this operator is not understood in a head"
    raise HeadError(f"stopped at node {describe(node)}: {why}")


def _dead_end(graph: Graph, tensor: str, features: Features, pictures: Container[str]) -> str:
    if features:
        return f"not everything on the way to the logits passes through {' and '.join(map(repr, features))}"
    where = f"the tensor {tensor!r}, which nothing makes,"
    if tensor in pictures:
        is_input = any(value.name == tensor for value in graph.inputs)
        where = f"the model's input {tensor!r}" if is_input else f"the image itself, {tensor!r},"
    return (
        f"the way back ends at {where} without a spatial feature map (N, C, h, w) that all its branches have in common"
    )


def _trail(rejected: Sequence[Rejection]) -> str:
    seen = "; ".join(f"{entry.tensor!r} has {entry.reason}" for entry in rejected[:8])
    more = f" and {len(rejected) - 8} more" if len(rejected) > 8 else ""
    return f"(passed by: {seen}{more})" if seen else ""
