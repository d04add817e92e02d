"""The builder with which the steps of a head write their parts of the contribution model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.nodes import Nodes
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.window import Window
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["Builder"]

_END = (1 << 63) - 1


class Builder(Nodes):
    """Collects nodes, constants and terms of the bias of a contribution model.

    All methods take and return names of tensors. K is the number of classes asked for.

    Parameters
    ----------
    graph : Graph
        The model of the head.
    n_logits : int
        The number of its logits.
    """

    def __init__(self, graph: Graph, n_logits: int) -> None:
        super().__init__(RESERVED)
        self.graph = graph
        self.n_logits = n_logits
        self.needed: list[str] = []
        self.bias: list[str] = []
        self.rounding: list[str] = []
        self._casts: dict[str, str] = {}

    def repeat(self, node: NodeProto, inputs: Sequence[str], outputs: int) -> list[str]:
        """Add a copy of a node of the model with other inputs and outputs."""
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{RESERVED}{node.op_type}_{len(self.nodes)}"
        names = [f"{copy.name}_{index}" for index in range(outputs)]
        copy.input[:], copy.output[:] = list(inputs), names
        self.nodes.append(copy)
        return names

    def constant(self, tensor: str) -> str:
        """A constant of the model, as float32."""
        return self.value(tensor)

    def forward(self, tensor: str) -> str:
        """The value of a tensor of the head for the given features, in the dtype of the model."""
        self.needed.append(tensor)
        return tensor

    def value(self, tensor: str) -> str:
        """The same as float32."""
        if self.graph.one_image and self.graph.is_from_shapes(tensor) and not self.graph.is_stored(tensor):
            return self._of_shapes(tensor)
        if self.graph.dtype(self.forward(tensor)) == TensorProto.FLOAT:
            return tensor
        if tensor not in self._casts:
            self._casts[tensor] = self.op("Cast", [tensor], to=TensorProto.FLOAT)
        return self._casts[tensor]

    def _of_shapes(self, tensor: str) -> str:
        """What the model computes from shapes alone, as a class token that is repeated for each image."""
        if tensor not in self._casts:
            self._casts[tensor] = self.floats(self.graph.constant(tensor))
        return self._casts[tensor]

    def sizes(self, tensor: str) -> str:
        """The lengths of a tensor's axes but the batch, as an int64 vector, which is a constant if it is known."""
        inner = self.graph.inner(tensor)
        if self.graph.shape(tensor) is not None and None not in inner:
            return self.integers([length for length in inner if length is not None])
        return self.op("Shape", [self.forward(tensor)], start=int(self.graph.leads(tensor)))

    def lead(self, *tensors: str) -> bool:
        """Whether the first axis of each of the tensors counts images."""
        return all(map(self.graph.leads, tensors))

    def axis(self, tensor: str, axis: int) -> int:
        """The axis of a tensor's gradient for an axis of the tensor, other than the batch; both from the front."""
        return axis + 1 if self.graph.leads(tensor) else axis + 2

    def count(self, tensor: str, axes: Sequence[int]) -> str:
        """The number of elements along some axes of a tensor, as one float32."""
        shape = self.graph.shape(tensor) or ()
        lengths = [shape[axis] for axis in axes]
        if None not in lengths:
            return self.floats([math.prod(length for length in lengths if length is not None)])
        picked = self.op("Gather", [self.sizes(tensor), self.integers([self.axis(tensor, axis) - 2 for axis in axes])])
        return self.op("Cast", [self.op("ReduceProd", [picked], keepdims=1)], to=TensorProto.FLOAT)

    def scale(self, tensor: str, factor: float) -> str:
        """A tensor times a number."""
        return tensor if factor == 1 else self.op("Mul", [tensor, self.floats([factor])])

    def per_class(self, tensor: str, of: str = "") -> str:
        """`(N, ...)`, the shape of the model's tensor `of`, as `(N, 1, ...)`, which broadcasts over the classes."""
        leads = not of or self.graph.leads(of)
        return self.op("Unsqueeze", [tensor, self.integers([1] if leads else [0, 1])])

    def whole(self, gradient: Gradient) -> str:
        """A gradient with an axis for each of the tensor's axes, `(N, K, *shape)`, the first of which may be 1."""
        dense = self.dense(gradient)
        return self.op("Unsqueeze", [dense, self.integers([2])]) if self.graph.leads(gradient.of) else dense

    def of_whole(self, whole: str, of: str) -> Gradient:
        """The gradient of a tensor from one as `whole` gives it."""
        return Gradient(self.op("Squeeze", [whole, self.integers([2])]) if self.graph.leads(of) else whole, of)

    def flat(self, tensor: str) -> str:
        """`(N, K, ...)` as `(N, K, rest)`."""
        return self.op("Reshape", [tensor, self.integers([0, 0, -1])])

    def reshape_like(self, tensor: str, like: str) -> str:
        """`(N, K, ...)` as `(N, K, *like.shape[1:])`."""
        shape = self.op("Concat", [self.integers([0, 0]), self.sizes(like)], axis=0)
        return self.op("Reshape", [tensor, shape])

    def expand_like(self, tensor: str, like: str) -> str:
        """`(N, K, ...)`, with axes of length 1, repeated to `(N, K, *like.shape[1:])`."""
        return self.op("Expand", [tensor, self.op("Concat", [self.integers([1, 1]), self.sizes(like)], axis=0)])

    def with_axes(self, tensor: str, axes: Sequence[int], reduced: str, whole: str) -> str:
        """`(N, K, *reduced.shape[1:])` with the axes, of length 1, that a reduction of `whole` dropped."""
        if len(self.graph.shape(reduced) or ()) == len(self.graph.shape(whole) or ()):
            return tensor
        return self.op("Unsqueeze", [tensor, self.integers([self.axis(whole, axis) for axis in axes])])

    def unbroadcast(self, tensor: str, result: str, operand: str) -> str:
        """The gradient of `result`, summed over the axes along which `operand` was repeated."""
        after, before = self.graph.shape(result) or (), self.graph.shape(operand) or ()
        before, first = (1,) * (len(after) - len(before)) + before, int(self.graph.leads(result))
        axes = [self.axis(result, axis) for axis in range(first, len(after)) if before[axis] == 1 and after[axis] != 1]
        total = self.op("ReduceSum", [tensor, self.integers(axes)], keepdims=1) if axes else tensor
        same = self.graph.inner(result), self.graph.inner(operand)
        return total if len(same[0]) == len(same[1]) else self.reshape_like(total, operand)

    def dense(self, gradient: Gradient) -> str:
        """A gradient as a tensor `(N, K, *shape)`."""
        if gradient.form == "selection":
            depth, values = self.integers([self.n_logits]), self.floats([0.0, 1.0])
            return self.reshape_like(self.op("OneHot", [gradient.name, depth, values], axis=-1), gradient.of)
        if gradient.form == "uniform":
            rank, first = len(self.graph.shape(gradient.of) or ()), int(self.graph.leads(gradient.of))
            axes = [self.axis(gradient.of, axis) for axis in range(first, rank) if axis != gradient.channel_axis]
            channels = self.op("Unsqueeze", [gradient.name, self.integers(axes)])
            return self.expand_like(channels, gradient.of)
        if gradient.part is not None:
            axis, start, behind = gradient.part
            return self.pad(gradient.name, gradient.of, [self.axis(gradient.of, axis)], [start], [behind])
        return gradient.name

    def pad(
        self,
        gradient: str,
        of: str,
        axes: Sequence[int],
        starts: Sequence[int],
        ends: Sequence[int],
        *,
        whole: bool = False,
    ) -> str:
        """Zeros before and behind the gradient of a tensor, along some of the gradient's axes.

        All axes are named: ONNX Runtime up to 1.30 moves a Pad of some axes past a Transpose as if it had all.
        """
        rank = 2 + len(self.graph.shape(of) or ()) - int(self.graph.leads(of) and not whole)
        pads = np.zeros((2, rank), np.int64)
        pads[0, axes], pads[1, axes] = starts, ends
        return self.op("Pad", [gradient, self.integers(pads.ravel())])

    def held(self, gradient: Gradient) -> str:
        """What a gradient holds of a tensor: all of it, or the part that is not zero."""
        return gradient.name if gradient.part is not None else self.dense(gradient)

    def beside(self, gradient: Gradient, tensor: str) -> str:
        """The float32 value `(N, 1, ...)`, where a gradient is held, of a tensor that broadcasts to the gradient's."""
        value = self.per_class(self.value(tensor), tensor)
        if gradient.part is None or self.is_even(gradient, tensor):
            return value
        axis, start, behind = gradient.part
        own = axis - len(self.graph.shape(gradient.of) or ()) + len(self.graph.shape(tensor) or ())
        bounds = [self.integers([bound]) for bound in (start, -behind or _END)]
        return self.op("Slice", [value, *bounds, self.integers([self.axis(tensor, own)])])

    def is_even(self, gradient: Gradient, tensor: str) -> bool:
        """Whether a tensor that broadcasts to that of a gradient is the same along the axis of which a part is held."""
        if gradient.part is None:
            return True
        shape = self.graph.shape(tensor) or ()
        own = gradient.part[0] - len(self.graph.shape(gradient.of) or ()) + len(shape)
        return own < 0 or shape[own] == 1

    def sum(self, one: Gradient, other: Gradient) -> Gradient:
        """The sum of two gradients of a tensor, from two paths to the logits."""
        if one.part is not None and one.part == other.part:
            return Gradient(self.op("Add", [one.name, other.name]), one.of, part=one.part)
        return Gradient(self.op("Add", [self.dense(one), self.dense(other)]), one.of)

    def times_channels(self, gradient: Gradient, factor: str, of: str) -> Gradient:
        """A gradient times one number per channel, `(C,)`, on axis 1 of its tensor."""
        if gradient.form == "uniform" and gradient.channel_axis == 1:
            return Gradient(self.op("Mul", [gradient.name, factor]), of, "uniform", 1)
        return Gradient(self.op("Mul", [self.dense(gradient), self._on_axis_1(factor, gradient.of)]), of)

    def times_constant(self, gradient: Gradient, constant: str, of: str, *, divide: bool = False) -> Gradient:
        """A gradient times (or divided by) a constant of the model that broadcasts to its tensor."""
        value = self.constant(constant)
        op = "Div" if divide else "Mul"
        shape = self.graph.shape(constant) or ()
        rank = len(self.graph.shape(gradient.of) or ())
        varies = {axis + rank - len(shape) for axis, length in enumerate(shape) if length != 1}
        if gradient.form == "uniform" and varies <= {gradient.channel_axis}:
            per_channel = self.op("Reshape", [value, self.integers([-1])])
            return Gradient(self.op(op, [gradient.name, per_channel]), of, "uniform", gradient.channel_axis)
        if gradient.part is not None and self.is_even(gradient, constant):
            return Gradient(self.op(op, [gradient.name, value]), of, part=gradient.part)
        return Gradient(self.op(op, [self.dense(gradient), value]), of)

    def conv_transpose(self, dense: str, weight: str, node: NodeProto, window: Window, group: int = 1) -> str:
        """The transposed convolution of `(N, K, *node.output.shape[1:])`: back to `(N, K, *node.input.shape[1:])`.

        A weight `(1, 1, kh, kw)` serves each channel alone, as in a pool.
        """
        x, y = node.input[0], node.output[0]
        height_width = self.op("Slice", [self.sizes(y), self.integers([1]), self.integers([3])])
        weights = self.graph.shape(node.input[1]) if len(node.input) > 1 else None
        channels = self.integers([(weights or (1,))[0] or 1])
        images = self.op("Concat", [self.integers([-1]), channels, height_width], axis=0)
        result = self.op(
            "ConvTranspose", [self.op("Reshape", [dense, images]), weight],
            strides=window.strides, dilations=window.dilations, pads=window.flat_pads,
            output_padding=window.uncovered, group=group,
        )  # fmt: skip
        shape = self.op("Concat", [self.op("Shape", [dense], start=0, end=2), self.sizes(x)], axis=0)
        return self.op("Reshape", [result, shape])

    def add_bias(self, gradient: Gradient, bias: str, factor: float = 1.0) -> None:
        """Add `gradient . bias` to `b_c`; `bias` broadcasts to the tensor of the gradient."""
        shape = self.graph.shape(bias) or ()
        of_channels = len(shape) == 1 and shape == (self.graph.shape(gradient.of) or ())[-1:]
        if not self.is_even(gradient, bias):
            gradient = Gradient(self.dense(gradient), gradient.of)
        self._add_bias(gradient, self.constant(bias), factor, of_channels=of_channels)

    def add_channel_bias(self, gradient: Gradient, value: str) -> None:
        """The same for a tensor of the contribution model with one number per channel, `(C,)`, on axis 1."""
        if gradient.part is not None and gradient.part[0] == 1:
            gradient = Gradient(self.dense(gradient), gradient.of)
        self._add_bias(gradient, self._on_axis_1(value, gradient.of))

    def add_values(self, gradient: Gradient, values: str) -> None:
        """The same for a tensor of the contribution model that broadcasts to the gradient's."""
        self._add_bias(gradient, values)

    def add_remainder(self, gradient: Gradient, results: Sequence[Gradient]) -> None:
        """Add what the inputs of a piecewise linear step leave of its output, `g . y - sum g_i . x_i`, to `b_c`."""
        self.bias.append(self.remainder(gradient, results))

    def add_rounding(self, gradient: Gradient, step: str) -> None:
        """Add `sum |g| step` to the rounding: how far the logits change if each number is off by one step."""
        self.rounding.append(self.op("Mul", [self._sum(self.op("Abs", [self.dense(gradient)])), step]))

    def remainder(self, gradient: Gradient, results: Sequence[Gradient]) -> str:
        """`g . y - sum g_i . x_i`, `(N, K)`."""
        total = self.dot(gradient)
        for result in results:
            total = self.op("Sub", [total, self.dot(result)])
        return total

    def dot(self, gradient: Gradient) -> str:
        """`g . t` for the tensor of a gradient, `(N, K)`."""
        return self._sum(self.op("Mul", [self.held(gradient), self.beside(gradient, gradient.of)]))

    def total(self, terms: Sequence[str], like: str) -> str:
        """The sum of `(N, K)` tensors; if there are none, zeros in the shape of `like`, the class ids."""
        if not terms:
            return self.op("Mul", [self.op("Cast", [like], to=TensorProto.FLOAT), self.floats([0.0])])
        result = terms[0]
        for term in terms[1:]:
            result = self.op("Add", [result, term])
        return result

    def _add_bias(self, gradient: Gradient, value: str, factor: float = 1.0, *, of_channels: bool = False) -> None:
        if gradient.form == "selection":
            flat = self.op("Reshape", [value, self.integers([-1])])
            classes = self.op("Expand", [flat, self.integers([self.n_logits])])
            term = self.op("Gather", [classes, gradient.name], axis=0)
        else:
            dense, axes = self.held(gradient), len(self.graph.inner(gradient.of))
            if of_channels and axes > 1:  # first the sum over positions, which makes no second tensor of that size
                dense = self.op("ReduceSum", [dense, self.integers(range(2, axes + 1))], keepdims=0)
            term = self._sum(self.op("Mul", [dense, value]))
        self.bias.append(self.scale(term, factor))

    def _sum(self, tensor: str) -> str:
        return self.op("ReduceSum", [self.flat(tensor), self.integers([2])], keepdims=0)

    def _on_axis_1(self, value: str, of: str) -> str:
        rank = len(self.graph.shape(of) or ())
        return self.op("Reshape", [value, self.integers([-1] + [1] * (rank - 2))])
