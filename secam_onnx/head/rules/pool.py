"""Global average pool: `y_k = 1/(h w) sum_xy x_k(x, y)`, so `dz/dx_k(x, y) = dz/dy_k / (h w)` at every position.

GlobalAveragePool, ReduceMean over both spatial axes, and AveragePool whose kernel covers the map. An AveragePool of
kernel 1 (torchvision's VGG at its own size) changes nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph, attribute
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step
from secam_onnx.head.rules.passthrough import PassThroughStep

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["PoolRule", "PoolStep"]


class PoolStep(Step):
    """Mean over all positions of `(N, C, h, w)`."""

    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        # The output is (N, C) or (N, C, 1, 1); both read as (N, K, C) once the gradient has its class axis.
        per_channel = builder.op("Reshape", [builder.dense(gradient), builder.integers([0, 0, -1])])
        return Gradient(builder.op("Div", [per_channel, builder.positions(self.input)]), self.input, "uniform")


class PoolRule(Rule):
    """The ways in which exporters write a global average pool."""

    ops = frozenset({"GlobalAveragePool", "ReduceMean", "AveragePool"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x = node.input[0]
        shape = graph.shape(x)
        if shape is None or len(shape) != 4:
            raise NoMatchError(f"its input has shape {shape}; a spatial map (N, C, h, w) was expected")
        if node.op_type == "ReduceMean":
            _check_axes(graph, node)
        if node.op_type == "AveragePool":
            kernel, spatial = tuple(attribute(node, "kernel_shape")), shape[2:]
            if kernel == (1, 1) and set(attribute(node, "strides", [1, 1])) == {1}:
                return PassThroughStep(node, x, node.output[0], role="", reason="average pool of kernel 1 x 1")
            _check_kernel(node, kernel, spatial)
        return PoolStep(node, x, node.output[0], role="gap", reason=f"global average pool of {shape[1]} channels")


def _check_axes(graph: Graph, node: NodeProto) -> None:
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        if not graph.is_constant(node.input[1]):
            raise NoMatchError("its axes are computed at run time")
        axes = graph.constant(node.input[1]).tolist()
    found = sorted(axis % 4 for axis in axes) if axes else [0, 1, 2, 3]
    if found != [2, 3]:
        raise NoMatchError(f"it averages over axes {found}; a global average pool takes the spatial axes 2 and 3")


def _check_kernel(node: NodeProto, kernel: tuple[int, ...], spatial: tuple[int | None, ...]) -> None:
    if any(attribute(node, "pads", [0])):
        raise NoMatchError("it pads its input, so it is no global average")
    if kernel != spatial:
        size = " x ".join("?" if edge is None else str(edge) for edge in spatial)
        raise NoMatchError(f"its kernel {' x '.join(map(str, kernel))} does not cover the {size} map")
    if math.prod(kernel) == 0:
        raise NoMatchError("its kernel is empty")
