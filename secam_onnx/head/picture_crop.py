"""Crops and mirrors: which slice of each axis a node keeps, and which part of the picture that is."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute

__all__ = ["covered", "kept_slices"]

_FAR = 2**31 - 1  # an end beyond every axis


def kept_slices(graph: Graph, node: NodeProto, output: str) -> dict[int, slice] | None:
    """The slices that Slice, Gather, Split or ReverseSequence keep, by axis; None where they are not known.

    Parameters
    ----------
    graph : Graph
        The model.
    node : NodeProto
        A node whose input has a known number of axes.
    output : str
        One of its outputs.
    """
    shape = graph.shape(node.input[0]) or ()
    if node.op_type == "Slice":
        return _of_slice(graph, node, len(shape))
    if node.op_type == "Gather":
        return _of_gather(graph, node, shape)
    if node.op_type == "Split":
        return _of_split(graph, node, output, shape)
    if node.op_type == "ReverseSequence":
        axis, lengths = attribute(node, "time_axis", 0), graph.integers(node, "sequence_lens", 1)
        return {axis: slice(None, None, -1)} if lengths is not None and set(lengths) == {shape[axis]} else None
    return None


def _of_slice(graph: Graph, node: NodeProto, rank: int) -> dict[int, slice] | None:
    starts, ends = graph.integers(node, "starts", 1), graph.integers(node, "ends", 2)
    if starts is None or ends is None:
        return None
    axes = graph.integers(node, "axes", 3) or list(range(len(starts)))
    steps = graph.integers(node, "steps", 4) or [1] * len(starts)
    return {axis % rank: slice(*bounds) for axis, *bounds in zip(axes, starts, ends, steps, strict=True)}


def _of_gather(graph: Graph, node: NodeProto, shape: Shape) -> dict[int, slice] | None:
    """The slice that consecutive indices, forwards or backwards, are."""
    indices = np.asarray(graph.integers(node, "indices", 1) or [])
    step = -1 if len(indices) > 1 and indices[0] > indices[1] else 1
    axis = attribute(node, "axis", 0) % len(shape)
    length = shape[axis]
    if length is not None:
        indices = np.where(indices < 0, indices + length, indices)
    if not len(indices) or (np.diff(indices) != step).any() or indices.min() < 0:
        return None
    end = int(indices[-1]) + step
    return {axis: slice(int(indices[0]), end if end >= 0 else None, step)}


def _of_split(graph: Graph, node: NodeProto, output: str, shape: Shape) -> dict[int, slice] | None:
    axis = attribute(node, "axis", 0) % len(shape)
    parts = [(graph.shape(name) or shape)[axis] or 0 for name in node.output]
    if 0 in parts or sum(parts) != shape[axis]:
        return None
    place = list(node.output).index(output)
    start = sum(parts[:place])
    return {axis: slice(start, start + parts[place])}


def covered(cut: slice, length: int | None) -> tuple[float, float] | None:
    """Where a slice of an axis begins and ends, as shares of the axis; start and end change places in a mirror."""
    step = 1 if cut.step is None else cut.step
    if length is None:
        if 0 <= (cut.start or 0) < step and (cut.stop is None or cut.stop >= _FAR):
            return 0.0, 1.0
        mirrored = step == -1 and cut.start in (-1, None) and (cut.stop is None or cut.stop <= -_FAR)
        return (1.0, 0.0) if mirrored else None
    taken = range(*cut.indices(length))
    if not taken:
        return None
    low, high = min(taken), min(max(taken) + abs(step), length)
    if low < abs(step) > 1:
        low = 0
    return (low / length, high / length) if step > 0 else (high / length, low / length)
