"""Maximum pools: `y(q) = x(argmax in the window of q)`, so each gradient goes to the maximum of its window.

Piecewise linear, hence exact. Where a whole map depends on its highest cell (GlobalMaxPool, ReduceMax), the gradient is
a sub-gradient, which ignores how close the second one was. Equal maxima share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.pool import reduced_axes

__all__ = ["GlobalMaxPoolRule", "MaxPoolRule"]


class MaxPoolStep(Step):
    """Maximum over windows of `(N, C, H, W)`."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        x = builder.forward(self.input)
        dense = builder.flat(builder.dense(gradient))
        _, winners = builder.repeat(self.node, [x], outputs=2)
        # ONNX numbers the positions through the whole batch; modulo C*H*W they are those in one image.
        per_image = builder.op("ReduceProd", [builder.sizes(self.input)], keepdims=1)
        index = builder.flat(builder.per_class(builder.op("Mod", [winners, per_image])))
        batch_and_classes = builder.op("Shape", [dense], start=0, end=2)
        index = builder.op("Expand", [index, builder.op("Shape", [dense])])
        shape = builder.op("Concat", [batch_and_classes, per_image], axis=0)
        zeros = builder.op("Expand", [builder.floats([0.0]), shape])
        scattered = builder.op("ScatterElements", [zeros, index, dense], axis=2, reduction="add")
        return [Gradient(builder.reshape_like(scattered, self.input), self.input)]


class MaxPoolRule(Rule):
    """MaxPool over two spatial axes."""

    ops = frozenset({"MaxPool"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        shape = graph.shape(node.input[0])
        if shape is None or len(shape) != 4:
            raise NoMatchError(f"its input has shape {shape_text(shape)}; a spatial map (N, C, h, w) was expected")
        if attribute(node, "storage_order", 0):
            raise NoMatchError("it counts positions column by column (storage_order=1)")
        kernel = " x ".join(map(str, attribute(node, "kernel_shape")))
        x = node.input[0]
        return MaxPoolStep(node, (x,), node.output[0], role="maxpool", reason=f"max pool of kernel {kernel}")


@dataclass(frozen=True)
class GlobalMaxPoolStep(Step):
    """Maximum over some axes."""

    axes: tuple[int, ...]
    rank: int

    @property
    def channel_axis(self) -> int | None:
        kept = [axis for axis in range(1, self.rank) if axis not in self.axes]
        return kept[0] if len(kept) == 1 else None

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        dense = builder.with_axes(builder.dense(gradient), self.axes, self.output, self.input)
        x = builder.value(self.input)
        axes = builder.integers(self.axes)
        highest = builder.op("ReduceMax", [x, axes], keepdims=1)
        winners = builder.op("Cast", [builder.op("Equal", [x, highest])], to=TensorProto.FLOAT)
        share = builder.op("Div", [winners, builder.op("ReduceSum", [winners, axes], keepdims=1)])
        return [Gradient(builder.op("Mul", [dense, builder.per_class(share, self.input)]), self.input)]


class GlobalMaxPoolRule(Rule):
    """GlobalMaxPool and ReduceMax."""

    ops = frozenset({"GlobalMaxPool", "ReduceMax"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        axes, shape = reduced_axes(graph, node)
        reason = f"maximum over axes {axes} of {shape_text(shape)}: a sub-gradient, which only the highest cell gets"
        return GlobalMaxPoolStep(
            node, (node.input[0],), node.output[0], role="gmp", reason=reason, axes=axes, rank=len(shape)
        )
