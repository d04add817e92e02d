"""Nodes that limit the range of values: Clip and quantisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.photograph.graph_preprocessing.picture_tensor import PictureTensor, numbers

__all__ = ["clip", "dequantise", "quantise"]

_NEAR = 0.05  # of the range, whose ends come from the images of a calibration


def clip(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor:
    """A Clip with two constants; ReLU6 and the like tell nothing."""
    given = [*node.input[1:], "", ""][:2]
    ends = [attribute(node, "min"), attribute(node, "max")]
    for place, name in enumerate(given):
        if name and graph.is_constant(name) and graph.constant(name).size == 1:
            ends[place] = graph.constant(name).item()
    kept = None if None in ends else _kept(picture, ends[0], ends[1], "a Clip")
    return kept or replace(picture, pending=(*picture.pending, "Clip"))


def quantise(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """A QuantizeLinear, whose calibrated scale and zero point tell the range of its input."""
    found = _scale_and_zero(graph, node, picture)
    if found is None:
        return None
    scale, zero = found
    picture = replace(picture, grid=(tuple(scale.tolist()), tuple(zero.tolist())))
    kind = graph.constant(node.input[2]).dtype if len(node.input) > 2 and node.input[2] else np.dtype(np.uint8)
    if kind.kind not in "iu" or (scale != scale[0]).any() or (zero != zero[0]).any():
        return picture
    limits = np.iinfo(kind)
    low, high = ((end - zero[0]) * scale[0] for end in (limits.min, limits.max))
    return _kept(picture, low, high, "a QuantizeLinear") or picture


def dequantise(graph: Graph, node: NodeProto, picture: PictureTensor) -> PictureTensor | None:
    """A DequantizeLinear: the way back after a QuantizeLinear, or a scaling of an integer input."""
    found = _scale_and_zero(graph, node, picture)
    if found is None:
        return None
    scale, zero = found
    ones = np.ones_like(scale)
    own_scale, own_zero = picture.grid or (ones, 0 * ones)
    factor, shift = scale / own_scale, scale * (own_zero - zero)
    picture = replace(picture, grid=None)
    if np.all(factor == 1) and not shift.any():
        return picture
    changed = tuple(one.then(*pair) for one, *pair in zip(picture.channels, factor, shift, strict=True))
    step = f"a DequantizeLinear with scale {numbers(scale)}"
    step += f" and zero point {numbers(zero)}" if zero.any() else ""
    return picture.after(step, channels=changed)


def _scale_and_zero(graph: Graph, node: NodeProto, picture: PictureTensor) -> tuple[np.ndarray, np.ndarray] | None:
    """One scale and zero point per channel; None if they belong to another axis or are not constant."""
    count, found = len(picture.channels), []
    for name in [*node.input[1:], ""][:2]:
        if name and not graph.is_constant(name):
            return None
        values = np.asarray(graph.constant(name) if name else 0).astype(np.float64).ravel()
        of_channels = picture.axes[attribute(node, "axis", 1) % len(picture.axes)] == "C"
        if len(values) != 1 and not (of_channels and len(values) == count):
            return None
        found.append(np.broadcast_to(values, count))
    return (found[0], found[1]) if found[0].all() else None


def _kept(picture: PictureTensor, low: float, high: float, word: str) -> PictureTensor | None:
    """The picture after a limit to 0..255 or 0..1; None for other ranges, which tell nothing."""
    first = picture.channels[0]
    if not first.scale or any((one.scale, one.shift) != (first.scale, first.shift) for one in picture.channels):
        return None
    keeps = sorted((end - first.shift) / first.scale for end in (low, high))
    for top in (1, 255):
        if np.abs(np.subtract(keeps, (0, top))).max() <= _NEAR * top:
            return picture.after(f"{word} to {low:.3g}..{high:.3g}", keeps=(keeps[0], keeps[1]))
    return None
