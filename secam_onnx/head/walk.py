"""What walks back from the logits share: the tensors where they may end, and the reasons why they do not.

A walk keeps the set of tensors that the logits depend on and always expands the one that was made last. Where the set
has a single member, everything below passes through it: only such a tensor can be the feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from onnx import NodeProto

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.head.grid import Grid
from secam_onnx.head.picture import Pictures
from secam_onnx.head.picture_view import DisplacedError, TurnedError, UnknownPlaceError
from secam_onnx.head.rules import Step

__all__ = ["Rejection", "Walk", "dead_end", "passed_by", "pictures_of", "placed", "shared_tensors"]


@dataclass(frozen=True)
class Rejection:
    """A tensor that was looked at and not chosen."""

    tensor: str
    reason: str


@dataclass
class Walk:
    """What a walk found.

    Attributes
    ----------
    grids : list of Grid
        The feature map, or one of each branch.
    steps : list of Step
        The nodes passed, from the logits on; empty where they were not understood.
    rejected : list of Rejection
        The tensors that the walk passed and did not choose, with reasons.
    warning : str
        Why the feature map may say little; empty if there is no such reason.
    attention : (int, int)
        How many products of attention weights and values lie between the feature map and the logits, and how many
        there are; (0, 0) if the walk understood none.
    nearer : list of Grid
        Feature maps with fewer of them behind, whose maps are averaged with that of the first.
    """

    grids: list[Grid]
    steps: list[Step] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    warning: str = ""
    attention: tuple[int, int] = (0, 0)
    nearer: list[Grid] = field(default_factory=list)


Inputs = Callable[[NodeProto, str], Sequence[str]]
"""For a node and one of its outputs, the inputs of the node where the walk goes on."""


def shared_tensors(graph: Graph, logits: str, inputs: Inputs, features: Sequence[str]) -> Iterator[str]:
    """Yield the tensors that everything below passes through, from the logits on.

    Raises
    ------
    HeadError
        The walk ends at a tensor that no node makes.
    ModelError
        The graph is damaged.
    """
    front, met = [_place(graph, logits)], {logits}
    while front:
        tensor = front[0][-1]
        if len(front) == 1:
            yield tensor
        node = graph.producer(tensor)
        if node is None:
            raise HeadError(dead_end(graph, tensor, features, ()))
        graph.computed_inputs(node)  # raises where the graph is damaged
        heappop(front)
        for name in inputs(node, tensor):
            if name not in met:
                met.add(name)
                heappush(front, _place(graph, name))
    raise HeadError("the logits do not depend on the image")


def _place(graph: Graph, tensor: str) -> tuple[int, int, str]:
    """Sorts tensors from the last made on; of one node, the first output, which may be made from a further one."""
    node = graph.producer(tensor)
    return -graph.position(tensor), 0 if node is None else list(node.output).index(tensor), tensor


def pictures_of(graph: Graph, features: Sequence[str]) -> Pictures:
    """The tensors of a graph that are still the picture; the features asked for must not be among them.

    Raises
    ------
    HeadError
        One of the features asked for is still the picture.
    """
    pictures = Pictures(graph)
    for name in features:
        if name in pictures:
            raise HeadError(
                f"the tensor {name!r} is not a feature map: it is the image itself, no weights have mixed it"
            )
    return pictures


def placed(pictures: Pictures, grid: Grid) -> tuple[Grid, str]:
    """A feature map with the part of the picture that it lies on, and a warning where that is not known.

    Raises
    ------
    HeadError
        The rows of the feature map are the picture's columns.
    """
    try:
        span = pictures.span(grid.tensor)
    except TurnedError as reason:
        raise HeadError(
            f"the feature map {grid.tensor!r} would lie on the wrong places of the picture, as {reason}. Leave "
            "that Transpose out of the graph, and swap rows and columns of the photographs before they are fed"
        ) from reason
    except DisplacedError as reason:
        return grid, (
            f"The graph moves the picture or its features, so the place of {grid.tensor!r} is not known: {reason}. "
            "The map is drawn over the whole picture and may lie in the wrong place. If the graph moves the picture, "
            "export the network without that step, and prepare the photographs outside."
        )
    except UnknownPlaceError:
        return grid, ""
    return grid if None in grid.shape else replace(grid, span=span), ""


def dead_end(graph: Graph, tensor: str, features: Sequence[str], pictures: Container[str]) -> str:
    """Why a walk that ends at a tensor found no feature map."""
    if features:
        return f"not every path to the logits passes through {' and '.join(map(repr, features))}"
    where = f"the tensor {tensor!r}, which no node makes,"
    if tensor in pictures:
        is_input = any(value.name == tensor for value in graph.inputs)
        where = f"the model's input {tensor!r}" if is_input else f"the image itself, {tensor!r},"
    return (
        f"the walk back ends at {where} without a spatial feature map (N, C, h, w) that all its branches have in common"
    )


def passed_by(rejected: Sequence[Rejection]) -> str:
    """The tensors that a walk passed, in words: the first eight, with their reasons."""
    seen = "; ".join(f"{entry.tensor!r} has {entry.reason}" for entry in rejected[:8])
    more = f" and {len(rejected) - 8} more" if len(rejected) > 8 else ""
    return f"(passed by: {seen}{more})" if seen else ""
