"""Convolution: `y = x * W + b`, so `dz/dx` is the transposed convolution of `dz/dy` with `W`.

A kernel that covers its whole input is a fully connected layer, and a 1 x 1 convolution is one at each position
(SqueezeNet, NiN: before the pool; DenseNet of Caffe2: after it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.window import Window

__all__ = ["ConvRule", "ConvStep", "sliding_window"]


@dataclass(frozen=True)
class ConvStep(Step):
    """`W` is `(out, in / group, kh, kw)`."""

    weight: str
    bias: str | None
    window: Window
    covers: bool
    """Whether the kernel covers the whole input, so that the output has one position."""

    mixes: ClassVar[bool] = True

    @property
    def joins_cells(self) -> bool:
        """Whether it mixes channels of neighbouring cells, unlike a convolution that is 1 x 1 or by channels."""
        return max(self.window.kernel) > 1 and not self.covers and attribute(self.node, "group", 1) == 1

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.weight, self.bias) if self.bias else (self.weight,)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        if self.bias:
            builder.add_channel_bias(gradient, builder.constant(self.bias))
        weight = builder.constant(self.weight)
        if not self.covers:
            group = attribute(self.node, "group", 1)
            dense = builder.dense(gradient)
            return [Gradient(builder.conv_transpose(dense, weight, self.node, self.window, group), self.input)]
        if gradient.form == "selection":
            return [Gradient(builder.op("Gather", [weight, gradient.name], axis=0), self.input)]
        matrix = builder.op("Flatten", [weight], axis=1)
        product = builder.op("MatMul", [builder.flat(builder.dense(gradient)), matrix])
        return [Gradient(builder.reshape_like(product, self.input), self.input)]


class ConvRule(Rule):
    """Conv over two spatial axes with constant weights."""

    ops = frozenset({"Conv"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x, weight = node.input[0], node.input[1]
        shape, kernel = graph.shape(x), graph.shape(weight)
        if not graph.is_constant(weight) or kernel is None or len(kernel) != 4 or None in kernel:
            raise NoMatchError(f"its weight {weight!r} is not a constant (out, in, kh, kw)")
        if shape is None or len(shape) != 4:
            raise NoMatchError(f"its input has shape {shape_text(shape)}; (N, C, h, w) was expected")
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        if bias and not graph.is_constant(bias):
            raise NoMatchError("its bias is computed at run time")
        window = sliding_window(node, [size for size in kernel[2:] if size is not None], shape)
        covers = kernel[2:] == shape[2:] and not window.padded and attribute(node, "group", 1) == 1
        size = " x ".join(map(str, kernel[2:]))
        return ConvStep(
            node=node,
            inputs=(x,),
            output=node.output[0],
            role=f"conv {size}",
            reason=f"convolution {size}, weights {weight!r} {kernel}",
            weight=weight,
            bias=bias,
            window=window,
            covers=covers,
        )


def sliding_window(node: NodeProto, kernel: Sequence[int], shape: Shape) -> Window:
    """The window of a node whose input has a shape `(N, C, h, w)`.

    Raises
    ------
    NoMatchError
        The size of the map matters and is unknown.
    """
    window = Window.of(node, kernel, shape)
    if window is None:
        raise NoMatchError(f"it strides over an input of unknown size {shape_text(shape)}")
    return window
