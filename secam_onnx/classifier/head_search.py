"""Find the head of a model; run the model first if unknown shapes hide it."""

from __future__ import annotations

from collections.abc import Callable

from secam_onnx.errors import HeadError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.probe import probe_shapes
from secam_onnx.head import (
    Head,
    find_head,
    find_heads,
)
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.photograph.choose_preprocessing import input_for
from secam_onnx.photograph.preprocessing import Preprocessing

_PROBED = 2  # images

__all__ = ["locate_head", "locate_heads"]


def locate_head(
    graph: Graph,
    preprocessing: Preprocessing,
    query: HeadQuery = ANYTHING,
) -> Head:
    """Find the head; run the model first if unknown shapes hide it.

    Parameters
    ----------
    graph : Graph
        The model; its index learns shapes from the run.
    preprocessing : Preprocessing
        The preprocessing of the model's input.
    query : HeadQuery
        What to look for.

    Raises
    ------
    HeadError, OptionError
        See `find_head`.
    """

    def find() -> list[Head]:
        return [find_head(graph, query)]

    return _with_probes(graph, preprocessing, find)[0]


def locate_heads(graph: Graph, preprocessing: Preprocessing) -> list[Head]:
    """Find all heads; see `locate_head` and `find_heads`."""
    return _with_probes(graph, preprocessing, lambda: find_heads(graph))


def _with_probes(graph: Graph, preprocessing: Preprocessing, find: Callable[[], list[Head]]) -> list[Head]:
    """Search again after runs that measure the unknown shapes, until no more are missing."""
    input_ = input_for(graph, preprocessing)
    lengths = dict(zip("NCHW", (_PROBED, preprocessing.n_channels, *preprocessing.size), strict=True))
    images = tuple(lengths[axis] for axis in input_.axes)
    graph.image_size, graph.image_axes = preprocessing.size, input_.axes
    asked: set[str] = set()
    asked_of_one: set[str] = set()
    while True:
        heads: list[Head] = []
        failure: HeadError | OptionError | None = None
        try:
            heads = find()
        except (HeadError, OptionError) as error:  # perhaps of several heads, one of which is not understood yet
            failure = error
        of_one = graph.for_one_image()
        if of_one.unknown_shapes - asked_of_one:
            # Measure all of them in one run, instead of one run for each step further up.
            unknown = _all_unknown(of_one) - asked_of_one
            asked_of_one |= unknown
            single = tuple(1 if axis == "N" else length for axis, length in zip(input_.axes, images, strict=True))
            if learned := probe_shapes(of_one, sorted(unknown), single):
                of_one.learn(learned)
                continue
        unknown = graph.unknown_shapes - asked
        known = (head.understood and len(head.grids) == 1 and None not in head.grid.shape for head in heads)
        if (heads and all(known)) or not unknown:
            break
        unknown = _all_unknown(graph) - asked
        asked |= unknown
        graph.learn(probe_shapes(graph, sorted(unknown), images))
    if not heads:
        raise failure or HeadError("no head was found")
    return heads


def _all_unknown(graph: Graph) -> set[str]:
    """All tensors whose shapes are not known."""
    graph.known_shapes(name for node in graph.model.graph.node for name in node.output if name)
    return graph.unknown_shapes
