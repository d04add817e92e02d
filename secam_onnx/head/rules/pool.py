"""Means and sums over axes: `y = 1/n sum x`, so `dz/dx = dz/dy / n` at everything that was summed.

Over all positions of a feature map this is the global average pool: GlobalAveragePool, ReduceMean over the spatial
axes or the tokens, and AveragePool whose kernel covers the map. Any other AveragePool is a convolution with equal
weights, and any other mean (inside a normalisation) is linear as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto

from secam_onnx.head.graph import Graph, Shape, attribute, shape_text
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step
from secam_onnx.head.rules.passthrough import PassThroughStep

if TYPE_CHECKING:
    from secam_onnx.head.builder import Builder

__all__ = ["PoolRule", "ReduceRule", "reduced_axes"]


@dataclass(frozen=True)
class ReduceStep(Step):
    """Mean or sum over some axes, never over the batch."""

    axes: tuple[int, ...]
    rank: int
    mean: bool

    @property
    def channel_axis(self) -> int | None:
        kept = [axis for axis in range(1, self.rank) if axis not in self.axes]
        return kept[0] if len(kept) == 1 else None

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        dense = builder.dense(gradient)
        if self.mean:
            dense = builder.op("Div", [dense, builder.count(self.input, self.axes)])
        if self.channel_axis is not None:
            # One axis is left, the channels: the gradient is the same at all positions.
            return [Gradient(builder.flat(dense), self.input, "uniform", self.channel_axis)]
        whole = builder.with_axes(dense, self.axes, self.output, self.input)
        return [Gradient(builder.expand_like(whole, self.input), self.input)]


class ReduceRule(Rule):
    """GlobalAveragePool, ReduceMean and ReduceSum."""

    ops = frozenset({"GlobalAveragePool", "ReduceMean", "ReduceSum"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        axes, shape = reduced_axes(graph, node)
        mean = node.op_type != "ReduceSum"
        pooled = len(shape) - len(axes) == 2 and len(shape) > 2
        role = ("gap" if mean else "sum pool") if pooled else ""
        what = f"global {'average' if mean else 'sum'} pool" if pooled else f"{'mean' if mean else 'sum'}"
        return ReduceStep(
            node, (node.input[0],), node.output[0], role, f"{what} over axes {axes} of {shape_text(shape)}",
            axes=axes, rank=len(shape), mean=mean,
        )  # fmt: skip


def reduced_axes(graph: Graph, node: NodeProto) -> tuple[tuple[int, ...], Shape]:
    """The axes that a pool or reduction takes away, and the shape of its input.

    Raises
    ------
    NoMatchError
        The rank is unknown, the axes are computed, or the batch axis is among them.
    """
    shape = graph.shape(node.input[0])
    if shape is None:
        raise NoMatchError("the shape of its input is unknown")
    rank = len(shape)
    if node.op_type.startswith("Global"):
        axes: Sequence[int] | None = range(2, rank)
    else:
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            if not graph.is_constant(node.input[1]):
                raise NoMatchError("its axes are computed at run time")
            axes = graph.constant(node.input[1]).reshape(-1).tolist()
    found = tuple(sorted(axis % rank for axis in axes)) if axes else tuple(range(rank))
    if 0 in found:
        raise NoMatchError(f"it reduces over axes {found}, the batch among them")
    return found, shape


@dataclass(frozen=True)
class WindowStep(Step):
    """Mean over windows of `(N, C, h, w)`."""

    counts: tuple[np.ndarray, np.ndarray] | None
    """How many rows and columns of each window lie inside the map, where only those are averaged."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        kernel = attribute(self.node, "kernel_shape")
        dense = builder.dense(gradient)
        share = 1 / math.prod(kernel)
        if self.counts is not None:
            share = 1.0
            dense = builder.op("Div", [dense, builder.array(np.outer(*self.counts))])
        weight = builder.array(np.full((1, 1, *kernel), share))
        return [Gradient(builder.conv_transpose(dense, weight, self.node, per_channel=True), self.input)]


class PoolRule(Rule):
    """AveragePool: of the whole map, of one cell, or of windows."""

    ops = frozenset({"AveragePool"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, shape = node.input[0], graph.shape(node.input[0])
        kernel = tuple(attribute(node, "kernel_shape", ()))
        if shape is None or len(shape) != 4 or len(kernel) != 2:
            raise NoMatchError(f"its input has shape {shape_text(shape)}; a spatial map (N, C, h, w) was expected")
        if not math.prod(kernel):
            raise NoMatchError("its kernel is empty")
        if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise NoMatchError("it pads automatically (auto_pad); explicit pads were expected")
        if set(attribute(node, "dilations", [1])) != {1}:
            raise NoMatchError("it dilates its windows")
        pads, strides = attribute(node, "pads", [0] * 4), attribute(node, "strides", [1, 1])
        padded = any(pads)
        if not padded and set(kernel) == {1} and set(strides) == {1}:
            return PassThroughStep(node, (x,), node.output[0], role="", reason="average pool of kernel 1")
        if _is_whole(node, kernel, pads, strides, shape[2:]) and not (
            padded and attribute(node, "count_include_pad", 0)
        ):
            return ReduceStep(
                node, (x,), node.output[0], "gap", f"global average pool over axes (2, 3) of {shape_text(shape)}",
                axes=(2, 3), rank=4, mean=True,
            )  # fmt: skip
        if attribute(node, "ceil_mode", 0):
            raise NoMatchError("it rounds the number of its windows up")
        if None in shape[2:] and (padded or set(strides) != {1}):
            raise NoMatchError(f"it pads or strides over an input of unknown size {shape_text(shape)}")
        counts = None
        if padded and not attribute(node, "count_include_pad", 0):
            counts = (
                _inside(shape[2] or 0, kernel[0], pads[0], pads[2], strides[0]),
                _inside(shape[3] or 0, kernel[1], pads[1], pads[3], strides[1]),
            )
        size = " x ".join(map(str, kernel))
        return WindowStep(
            node, (x,), node.output[0], role="avgpool", reason=f"average pool of kernel {size}", counts=counts
        )


def _is_whole(
    node: NodeProto, kernel: Sequence[int], pads: Sequence[int], strides: Sequence[int], edges: Sequence[int | None]
) -> bool:
    """Whether there is one window, which reaches from the start of the map to its end."""
    up = attribute(node, "ceil_mode", 0)
    for size, before, after, stride, edge in zip(kernel, pads[:2], pads[2:], strides, edges, strict=True):
        if edge is None or size - before < edge:
            return False
        room = edge + before + after - size
        if (math.ceil(room / stride) if up else room // stride) > 0:
            return False
    return True


def _inside(edge: int, kernel: int, before: int, after: int, stride: int) -> np.ndarray:
    """For each window along one axis, how much of it lies inside."""
    starts = np.arange((edge + before + after - kernel) // stride + 1) * stride - before
    return np.minimum(starts + kernel, edge) - np.maximum(starts, 0)
