"""Means and sums over axes: `y = 1/n sum x`, so `dz/dx = dz/dy / n` for each term.

Over all positions of a feature map this is the global average pool: GlobalAveragePool, ReduceMean over the spatial
axes or the tokens, and AveragePool with a kernel that covers the map. Any other AveragePool is a convolution with equal
weights, and any other mean, as inside a normalisation, is linear, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.conv import sliding_window
from secam_onnx.head.rules.passthrough import PassThroughStep
from secam_onnx.head.window import Window

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
        if not builder.lead(self.input, self.output):
            return [self._of_one_image(builder, gradient)]
        dense = builder.dense(gradient)
        if self.channel_axis is not None:
            # Only the channels are left, so the gradient is the same at all positions. It loses the other axes before
            # the division: ONNX Runtime broadcasts forty times slower over trailing axes of length 1.
            return [Gradient(self._shared(builder, builder.flat(dense)), self.input, "uniform", self.channel_axis)]
        whole = builder.with_axes(self._shared(builder, dense), self.axes, self.output, self.input)
        return [Gradient(builder.expand_like(whole, self.input), self.input)]

    def _of_one_image(self, builder: Builder, gradient: Gradient) -> Gradient:
        whole = self._shared(builder, builder.whole(gradient))
        if len(builder.graph.shape(self.output) or ()) < self.rank:
            whole = builder.op("Unsqueeze", [whole, builder.integers([axis + 2 for axis in self.axes])])
        back = builder.of_whole(whole, self.input)
        return Gradient(builder.expand_like(back.name, self.input), self.input)

    def _shared(self, builder: Builder, gradient: str) -> str:
        return builder.op("Div", [gradient, builder.count(self.input, self.axes)]) if self.mean else gradient


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
    """The axes that a pool or reduction reduces, and the shape of its input.

    Raises
    ------
    NoMatchError
        The rank is unknown, the axes are computed at run time, or the batch axis is one of them.
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
    if 0 in found and graph.leads(node.input[0]):
        raise NoMatchError(f"it reduces over axes {found}, one of which is the batch")
    return found, shape


@dataclass(frozen=True)
class WindowStep(Step):
    """Mean over windows of `(N, C, h, w)`."""

    window: Window
    counts: tuple[np.ndarray, np.ndarray] | None
    """The numbers of rows and columns of each window inside the map, if only these are averaged."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        dense = builder.dense(gradient)
        share = 1 / math.prod(self.window.kernel)
        if self.counts is not None:
            share = 1.0
            dense = builder.op("Div", [dense, builder.floats(np.outer(*self.counts))])
        weight = builder.floats(np.full((1, 1, *self.window.kernel), share))
        return [Gradient(builder.conv_transpose(dense, weight, self.node, self.window), self.input)]


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
        if set(attribute(node, "dilations", [1])) != {1}:
            raise NoMatchError("its windows are dilated")
        window = sliding_window(node, kernel, shape)
        if not window.padded and set(kernel) == set(window.strides) == {1}:
            return PassThroughStep(node, (x,), node.output[0], role="", reason="average pool of kernel 1")
        counted = bool(attribute(node, "count_include_pad", 0))
        up = bool(attribute(node, "ceil_mode", 0))
        if _is_whole(window, shape, up) and not (window.padded and counted):
            return ReduceStep(
                node, (x,), node.output[0], "gap", f"global average pool over axes (2, 3) of {shape_text(shape)}",
                axes=(2, 3), rank=4, mean=True,
            )  # fmt: skip
        if up and any(window.uncovered):
            raise NoMatchError("it rounds the number of windows up")
        counts = None
        if window.padded and not counted:
            if None in shape[2:]:
                raise NoMatchError(f"it pads an input of unknown size {shape_text(shape)}")
            rows, columns = (_inside(window, axis, shape[2 + axis] or 0) for axis in (0, 1))
            counts = (rows, columns)
        size = " x ".join(map(str, kernel))
        return WindowStep(
            node, (x,), node.output[0], role="avgpool", reason=f"average pool of kernel {size}",
            window=window, counts=counts,
        )  # fmt: skip


def _is_whole(window: Window, shape: Shape, up: bool) -> bool:
    """Whether there is one window, which covers the map."""
    for edge, size, (before, after), stride in zip(shape[2:], window.kernel, window.pads, window.strides, strict=True):
        if edge is None or size - before < edge:
            return False
        room = edge + before + after - size
        # Rounding up gives a window even if the kernel is larger than the map (EfficientNet of Hugging Face).
        if not (-stride < room <= 0 if up else 0 <= room < stride):
            return False
    return True


def _inside(window: Window, axis: int, edge: int) -> np.ndarray:
    """The length inside the map of each window along one axis."""
    size, stride, (before, after) = window.kernel[axis], window.strides[axis], window.pads[axis]
    starts = np.arange((edge + before + after - size) // stride + 1) * stride - before
    return np.minimum(starts + size, edge) - np.maximum(starts, 0)
