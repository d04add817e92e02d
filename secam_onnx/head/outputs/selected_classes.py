"""The classes that Gather, Slice and Split select."""

from __future__ import annotations

import math

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute

__all__ = ["selected_classes"]


def selected_classes(graph: Graph, node: NodeProto, tensor: str, axis: int, n: int) -> list[int] | None:
    """The indices that a node selects out of `n` classes; None if they are not known or not along the classes."""
    rank = len(graph.shape(node.input[0]) or ())
    if node.op_type == "Gather":
        if attribute(node, "axis", 0) % rank != axis or not graph.is_constant(node.input[1]):
            return None
        return [int(index) for index in graph.constant(node.input[1]).reshape(-1)]
    if node.op_type == "Split":
        return _of_split(graph, node, tensor, axis, rank)
    return _of_slice(graph, node, axis, n)


def _of_split(graph: Graph, node: NodeProto, tensor: str, axis: int, rank: int) -> list[int] | None:
    if attribute(node, "axis", 0) % rank != axis:
        return None
    lengths = [(graph.shape(name) or (None,) * rank)[axis] for name in node.output]
    if None in lengths:
        return None
    place = list(node.output).index(tensor)
    start = sum(length or 0 for length in lengths[:place])
    return list(range(start, start + (lengths[place] or 0)))


def _of_slice(graph: Graph, node: NodeProto, axis: int, n: int) -> list[int] | None:
    shape = graph.shape(node.input[0]) or ()
    rank = len(shape)
    bounds = {key: attribute(node, key) for key in ("starts", "ends", "axes")}
    for key, name in zip(("starts", "ends", "axes", "steps"), node.input[1:], strict=False):
        if name:
            bounds[key] = graph.constant(name).reshape(-1).tolist() if graph.is_constant(name) else None
    starts, ends = bounds["starts"], bounds["ends"]
    if starts is None or ends is None or bounds.get("steps", [1]) is None:
        return None
    axes = [entry % rank for entry in bounds["axes"] or range(len(starts))]
    steps = bounds.get("steps") or [1] * len(axes)
    chosen = list(range(n))
    for own, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if own == axis:
            chosen = chosen[int(start) : int(end) : int(step)]
        elif (int(start), int(step)) != (0, 1) or int(end) < (shape[own] or math.inf):
            return None
    return chosen
