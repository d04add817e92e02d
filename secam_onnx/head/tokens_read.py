"""Compute only the tokens that are read: a head that picks a class token needs no other row of its last layers.

Most nodes make row `t` of their output from row `t` of an input, so that the pick may come before them:

    pick(f(x)) = f(pick(x))        pick(P V) = pick(P) V

A class token's path through the last block of a transformer then costs nearly nothing, where all tokens would take four
fifths of the block: the products behind keys and values. The values stay the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper, numpy_helper

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, reads
from secam_onnx.head.token_rows import Rows, merged_rows, rows_of
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["only_tokens_read"]


def only_tokens_read(graph: Graph, nodes: Sequence[NodeProto], tokens: int | None) -> list[NodeProto]:
    """The same nodes, with picks of tokens as early as possible.

    Parameters
    ----------
    graph : Graph
        The model, which has the shapes.
    nodes : sequence of NodeProto
        The nodes of a head, in running order; these stay as they are.
    tokens : int or None
        The number of tokens; None if it is not known.
    """
    picks = {id(node): found for node in nodes if tokens and (found := _picked(graph, node, tokens)) is not None}
    kept = sorted({index for indices in picks.values() for index in np.ravel(indices).tolist()})
    if not kept or tokens is None or 2 * len(kept) > tokens:
        return list(nodes)
    return _Rewriter(kept).rewritten(nodes, picks, _moved(graph, nodes, set(picks), tokens, len(kept)))


def _picked(graph: Graph, node: NodeProto, tokens: int) -> np.ndarray | None:
    """The tokens that a node picks, if that is what it does."""
    if node.op_type != "Gather" or not graph.is_constant(node.input[1]):
        return None
    shape = graph.shape(node.input[0])
    if shape is None or shape[attribute(node, "axis", 0)] != tokens:
        return None
    indices = graph.constant(node.input[1])
    return indices % tokens if indices.ndim <= 1 else None


def _moved(graph: Graph, nodes: Sequence[NodeProto], picks: set[int], tokens: int, left: int) -> dict[int, Rows]:
    """The nodes that only need the rows that are read, by `id`, and which axis of which input counts these."""
    uses = Counter(name for node in nodes for name in reads(node))
    producers = {name: node for node in nodes for name in node.output if uses[name] == 1}
    wanted: dict[str, list[int]] = defaultdict(list)
    moved: dict[int, Rows] = {}
    for node in reversed(nodes):
        if id(node) in picks:
            wanted[node.input[0]].append(attribute(node, "axis", 0) % len(graph.shape(node.input[0]) or ()))
            continue
        axes = wanted[node.output[0]]
        alone = len(axes) == uses[node.output[0]] and not any(uses[name] for name in node.output[1:])
        if id(node) in moved or not alone or len(set(axes)) != 1:
            continue
        found = rows_of(graph, node, axes[0], tokens, left)
        together = {id(node): found} if found else merged_rows(graph, node, axes[0], tokens, left, producers)
        moved |= together
        for other in nodes if together else ():
            if id(other) in together:
                for index, axis in together[id(other)].axes.items():
                    wanted[other.input[index]].append(axis)
    return moved


class _Rewriter:
    """Writes the picks where they are due."""

    def __init__(self, kept: list[int]) -> None:
        self._kept = kept
        self._nodes: list[NodeProto] = []
        self._short: set[str] = set()
        self._taken: dict[tuple[str, int], str] = {}

    def rewritten(
        self, nodes: Sequence[NodeProto], picks: Mapping[int, np.ndarray], moved: Mapping[int, Rows]
    ) -> list[NodeProto]:
        for node in nodes:
            copy = NodeProto()
            copy.CopyFrom(node)
            if id(node) in picks:
                copy.input[0] = self._read(node.input[0], attribute(node, "axis", 0))
                copy.input[1] = self._constant(np.searchsorted(self._kept, picks[id(node)]))
            elif id(node) in moved:
                rows = moved[id(node)]
                for index, axis in rows.axes.items():
                    copy.input[index] = self._read(node.input[index], axis)
                if rows.shape is not None:
                    copy.input[1] = self._constant(rows.shape)
                self._short.add(node.output[0])
            self._nodes.append(copy)
        return self._nodes

    def _read(self, name: str, axis: int) -> str:
        """The rows that are read of a tensor, which may have no others."""
        if name in self._short:
            return name
        if (name, axis) not in self._taken:
            self._taken[name, axis] = f"{RESERVED}read_{len(self._taken)}"
            indices = self._constant(self._kept)
            self._nodes.append(helper.make_node("Gather", [name, indices], [self._taken[name, axis]], axis=axis))
        return self._taken[name, axis]

    def _constant(self, value: npt.ArrayLike) -> str:
        name = f"{RESERVED}read_constant_{len(self._nodes)}"
        tensor = numpy_helper.from_array(np.asarray(value, dtype=np.int64))
        self._nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name
