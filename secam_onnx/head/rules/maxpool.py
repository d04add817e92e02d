"""Max pool: `y_k(q) = x_k(argmax in the window of q)`, so each gradient goes to the position that won its window.

Piecewise linear, hence exact. It lets a feature map above the last pool be chosen (VGG16's last ReLU, 14 x 14).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph, attribute
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["MaxPoolRule", "MaxPoolStep"]


class MaxPoolStep(Step):
    """Maximum over windows of `(N, C, H, W)`."""

    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        x = builder.forward(self.input)
        dense = builder.flat(builder.dense(gradient))
        _, winners = builder.repeat(self.node, [x], outputs=2)
        # ONNX counts the winners through the whole batch; within one image it is the rest by C*H*W.
        per_image = builder.op("ReduceProd", [builder.sizes(self.input)], keepdims=1)
        index = builder.flat(builder.per_class(builder.op("Mod", [winners, per_image])))
        batch_and_classes = builder.op("Shape", [dense], start=0, end=2)
        index = builder.op("Expand", [index, builder.op("Shape", [dense])])
        shape = builder.op("Concat", [batch_and_classes, per_image], axis=0)
        zeros = builder.op("Expand", [builder.floats([0.0]), shape])
        scattered = builder.op("ScatterElements", [zeros, index, dense], axis=2, reduction="add")
        return Gradient(builder.reshape_like(scattered, self.input), self.input)


class MaxPoolRule(Rule):
    """MaxPool over two spatial axes."""

    ops = frozenset({"MaxPool"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        shape = graph.shape(node.input[0])
        if shape is None or len(shape) != 4:
            raise NoMatchError(f"its input has shape {shape}; a spatial map (N, C, h, w) was expected")
        if attribute(node, "storage_order", 0):
            raise NoMatchError("it counts positions column by column (storage_order=1)")
        kernel = " x ".join(map(str, attribute(node, "kernel_shape")))
        return MaxPoolStep(node, node.input[0], node.output[0], role="maxpool", reason=f"max pool of kernel {kernel}")
