"""Feature maps: which axis of a tensor counts channels, which ones positions, and the way to `(N, C, h, w)` and back.

The layout is read off the operators that made the tensor (a convolution puts channels first, a layer normalisation
last, a transpose moves them), never guessed from the lengths of its axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from secam_onnx.head.contrib import as_standard
from secam_onnx.head.graph import Graph, Shape, attribute, shape_text
from secam_onnx.head.span import WHOLE, Span

__all__ = ["Grid", "NoGridError", "channel_axis", "grid_of"]

_LAYOUTS = {(4, 1): "NCHW", (4, 3): "NHWC", (3, 1): "NCL", (3, 2): "NLC"}
_CHANNELS_FIRST = {
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
    "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool", "QLinearConv", "SpaceToDepth",
}  # fmt: skip
_CHANNELS_STAY = {
    "Abs", "Add", "BitShift", "Cast", "CastLike", "Ceil", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min",
    "Mish", "Mul", "Neg", "Pad", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Resize", "Round", "Selu",
    "Sigmoid", "Slice", "Softplus", "Softsign", "Split", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu",
    "Upsample", "Where",
}  # fmt: skip

_PREFIX = 16  # tokens without position at most: a class token, one for distillation, a few registers
_LOOK_BACK = 200  # tensors; a real network has a convolution or a normalisation long before


class NoGridError(Exception):
    """A tensor is no feature map; the message is the reason, in words for the user."""


@dataclass(frozen=True)
class Grid:
    """A tensor seen as a feature map.

    Attributes
    ----------
    tensor : str
        Its name.
    layout : {'NCHW', 'NHWC', 'NLC', 'NCL'}
        Its own axes; L counts tokens, row by row.
    shape : tuple
        `(C, h, w)`; None for lengths that the run decides.
    prefix : int
        Tokens before the grid that have no position (a class token).
    span : Span
        The part of the picture that it lies on.
    """

    tensor: str
    layout: str
    shape: Shape
    prefix: int = 0
    span: Span = WHOLE

    @property
    def channel_axis(self) -> int:
        """The axis of the tensor that counts channels."""
        return self.layout.index("C")

    def to_nchw(self, source: str, target: str) -> list[NodeProto]:
        """Nodes that bring a tensor of this layout, other than NCHW, to `(N, C, h, w)`."""
        if self.layout == "NHWC":
            return [_node("Transpose", [source], target, perm=[0, 3, 1, 2])]
        first = f"{target}_channels_first"
        turned = []
        if self.prefix:
            kept = f"{target}_without_prefix"
            turned = _slice(source, kept, axis=1, start=self.prefix)
            source = kept
        if self.layout == "NLC":
            turned.append(_node("Transpose", [source], first, perm=[0, 2, 1]))
        return [
            *turned,
            *_reshape(first if turned else source, target, [0, 0, *(edge or -1 for edge in self.shape[1:])]),
        ]

    def from_nchw(self, source: str, target: str) -> list[NodeProto]:
        """Nodes that bring `(N, C, h, w)` to the tensor's own layout."""
        if self.layout == "NHWC":
            return [_node("Transpose", [source], target, perm=[0, 2, 3, 1])]
        if self.layout == "NCHW":
            return [_node("Identity", [source], target)]
        if self.layout == "NCL":
            return _reshape(source, target, [0, 0, -1])
        flat = f"{target}_flat"
        return [*_reshape(source, flat, [0, 0, -1]), _node("Transpose", [flat], target, perm=[0, 2, 1])]


def grid_of(
    graph: Graph,
    tensor: str,
    tokens: tuple[int, int] | None = None,
    told: int | None = None,
    *,
    prefix: bool = False,
) -> Grid:
    """See a tensor as a feature map.

    Parameters
    ----------
    graph : Graph
        The model.
    tensor : str
        A tensor that depends on the image.
    tokens : (int, int), optional
        Rows and columns of a tensor `(N, tokens, C)`; a square by default.
    told : int, optional
        The axis that counts channels as what reads the tensor tells; asked where its producers do not.
    prefix : bool
        Allow tokens before the grid that have no position: one, or as many as `tokens` leaves over.

    Raises
    ------
    NoGridError
        With the reason.
    """
    shape = graph.shape(tensor)
    text = f"shape {shape_text(shape)}"
    if any(value.name == tensor for value in graph.inputs):
        raise NoGridError(f"{text}: the image itself")
    if shape is None or len(shape) not in (3, 4):
        raise NoGridError(f"{text}: no spatial grid")
    axis = channel_axis(graph, tensor)
    axis = told if axis is None else axis
    if axis is None:
        raise NoGridError(f"{text}: its producer does not tell which axis counts channels")
    layout = _LAYOUTS.get((len(shape), axis))
    if layout is None:
        raise NoGridError(f"{text}: channels on axis {axis} are no known layout")
    positions = tuple(shape[index] for index in range(1, len(shape)) if index != axis)
    if all(length == 1 for length in positions):
        raise NoGridError(f"{text}: no spatial grid")
    node = graph.producer(tensor)
    if len(positions) == 2 and 1 in positions and node is not None and node.op_type in ("Reshape", "Unsqueeze"):
        raise NoGridError(f"{text}: one row of cells, made of tokens")
    before = 0
    if len(positions) == 1:
        length = positions[0]
        if prefix and layout == "NLC" and length is not None:
            before = length - math.prod(tokens) if tokens else int(math.isqrt(length) ** 2 != length)
            before = before if 0 <= before <= _PREFIX else 0
        positions = _square(length if length is None else length - before, tokens, text)
    return Grid(tensor, layout, (shape[axis], *positions), before)


def _square(length: int | None, tokens: tuple[int, int] | None, text: str) -> tuple[int, int]:
    if tokens is not None and length is not None:
        if math.prod(tokens) != length:
            raise NoGridError(f"{text}: its {length} tokens are no grid of {tokens[0]} x {tokens[1]}")
        return tokens
    edge = math.isqrt(length or 0)
    if not edge or edge * edge != length:
        raise NoGridError(f"{text}: its {length or 'unknown number of'} tokens are no square; give the grid (--grid)")
    return edge, edge


def channel_axis(graph: Graph, tensor: str) -> int | None:
    """The axis of a tensor that counts channels, as far as the operators that made it tell."""
    return _channel_axis(graph, tensor, set())


def _channel_axis(graph: Graph, tensor: str, seen: set[str]) -> int | None:
    node, shape = graph.producer(tensor), graph.shape(tensor)
    if shape is None or tensor in seen or len(seen) > _LOOK_BACK:
        return None
    seen.add(tensor)
    if node is None:
        return 1 if len(shape) == 4 and shape[1] == 3 else len(shape) - 1 if len(shape) == 4 and shape[3] == 3 else None
    node = as_standard(node)
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _CHANNELS_FIRST:
        return 1
    if node.op_type == "LayerNormalization" and attribute(node, "axis", -1) in (-1, len(shape) - 1):
        return len(shape) - 1
    if node.op_type in ("MatMul", "Gemm") and graph.is_constant(node.input[1]):
        own = _channel_axis(graph, node.input[0], seen)
        # Where the channels are not last, it mixes positions (MLP-Mixer).
        return own if own is not None and own < len(shape) - 1 else len(shape) - 1
    if node.op_type not in _CHANNELS_STAY | {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}:
        return None
    for name in node.input:
        before = graph.shape(name)
        if not name or graph.is_constant(name) or before is None:
            continue
        axis = _channel_axis(graph, name, seen)
        if axis is not None:
            return _moved(node, axis, before, shape)
    return None


def _moved(node: NodeProto, axis: int, before: Shape, after: Shape) -> int | None:
    """Where a node puts the axis that counts channels."""
    if node.op_type in _CHANNELS_STAY:
        return axis if len(before) == len(after) else None
    if node.op_type == "Transpose":
        order = attribute(node, "perm", list(range(len(before)))[::-1])
        return list(order).index(axis)
    if axis == len(before) - 1 and before[-1] is not None and before[-1] == after[-1]:
        return len(after) - 1
    if axis == 1 and len(after) > 2 and before[1] is not None and before[1] == after[1]:
        return 1
    return None


def _node(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, list(inputs), [output], name=output, **attributes)


def _slice(source: str, target: str, axis: int, start: int) -> list[NodeProto]:
    """Everything from `start` on along an axis, as opset 10 and newer write it."""
    bounds = {"start": start, "end": np.iinfo(np.int64).max, "axis": axis}
    names = [f"{target}_{name}" for name in bounds]
    values = [numpy_helper.from_array(np.asarray([value], dtype=np.int64)) for value in bounds.values()]
    constants = [_node("Constant", [], name, value=value) for name, value in zip(names, values, strict=True)]
    return [*constants, _node("Slice", [source, *names], target)]


def _reshape(source: str, target: str, shape: Sequence[int]) -> list[NodeProto]:
    # A Constant node: at IR version 3 an initializer would have to be a model input as well.
    value = numpy_helper.from_array(np.asarray(shape, dtype=np.int64))
    return [
        _node("Constant", [], f"{target}_shape", value=value),
        _node("Reshape", [source, f"{target}_shape"], target),
    ]
