"""The image input of a model: its axes, from the graph's first convolution, or else from their lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import NodeProto, TensorProto

from secam_onnx.errors import ModelError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute, shape_text
from secam_onnx.photograph.further_inputs import advice_on_inputs
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS

__all__ = ["ImageInput", "image_input"]

_LONGEST_EDGE = 8192
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
_DTYPES = {*_FLOATS, TensorProto.UINT8}
_AXES = {4: ("NCHW", "NHWC"), 3: ("NHW", "CHW", "HWC"), 2: ("HW",)}
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Operators, and the position of the weights among their inputs."""
_ELEMENTWISE = {
    "Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Div", "Identity", "Mul", "Pad", "QuantizeLinear",
    "Resize", "Sub",
}  # fmt: skip


@dataclass(frozen=True)
class ImageInput:
    """The one input of an image classifier.

    Attributes
    ----------
    name : str
        Name of the tensor.
    shape : tuple
        Length of each axis; None if it is open.
    axes : {'NCHW', 'NHWC', 'NHW', 'CHW', 'HWC', 'HW'}
        The axes in order; without N the model takes one image, without C one channel.
    channels : int
        Number of channels.
    dtype : int
        `TensorProto.FLOAT`, ...
    """

    name: str
    shape: Shape
    axes: str
    channels: int
    dtype: int = TensorProto.FLOAT

    @property
    def whole_numbers(self) -> bool:
        """Whether the input is of integers, so that it takes pixels as they are."""
        return self.dtype not in _FLOATS

    @property
    def dtype_name(self) -> str:
        """The element type, as ONNX names it, in lower case."""
        return TensorProto.DataType.Name(self.dtype).lower()

    @property
    def layout(self) -> Literal["NCHW", "NHWC"]:
        """Where the axis of channels lies."""
        return "NHWC" if self.axes.endswith("C") else "NCHW"

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width; None if they are open."""
        return self.shape[self.axes.index("H")], self.shape[self.axes.index("W")]

    @property
    def batch(self) -> int | None:
        """Number of images in one run; None for any number."""
        return self.shape[0] if "N" in self.axes else 1

    @property
    def dropped(self) -> tuple[int, ...]:
        """The axes of `(N, C, H, W)` or `(N, H, W, C)`, of length 1, that the input lacks."""
        return tuple(axis for axis, letter in enumerate(self.layout) if letter not in self.axes)

    def fed(self, images: np.ndarray) -> np.ndarray:
        """Images `(N, C, H, W)` or `(N, H, W, C)`, according to the layout, with the axes of the input."""
        return images.squeeze(self.dropped) if self.dropped else images


def image_input(graph: Graph, layout: Literal["NCHW", "NHWC"] | None = None, channels: int | None = None) -> ImageInput:
    """Find the axes of the model's only input.

    The first convolution tells which axis counts channels. If the graph has none, it is the axis of length 3, or else
    the one that is shorter than the two others. What that leaves open is taken from the parameters, or is
    `(N, 3, H, W)` if all lengths are open.

    Parameters
    ----------
    graph : Graph
        The model.
    layout : {'NCHW', 'NHWC'}, optional
        The order of the axes, if the graph leaves it open.
    channels : int, optional
        The number of channels, if the graph leaves it open.

    Raises
    ------
    ModelError
        There are several inputs, the input is not an image, or no one can tell which axis counts channels.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(repr(value.name) for value in graph.inputs) or "none"
        raise ModelError(
            f"The model has {len(graph.inputs)} inputs ({names}); one image input was expected."
            f"{advice_on_inputs(graph)}"
        )
    (value,) = graph.inputs
    shape, dtype = graph.shape(value.name), graph.dtype(value.name)
    if dtype not in _DTYPES:
        raise ModelError(
            f"The model's input {value.name!r} is of type {TensorProto.DataType.Name(dtype).lower()}; "
            "float, float16, double or uint8 was expected. Export it with a float input."
        )
    found = f"The model's input {value.name!r} has shape {shape_text(shape)}"
    if shape is None or len(shape) not in _AXES:
        raise ModelError(f"{found}; images, (N, C, H, W) or (N, H, W, C), or one without N or C, were expected.")
    wrong = [length for length in shape if length is not None and not 1 <= length <= _LONGEST_EDGE]
    if wrong:
        raise ModelError(
            f"{found}; lengths of 1 to {_LONGEST_EDGE} were expected, not {wrong[0]}. Export it for images of a usual "
            "size."
        )
    axes, count = _first_convolution(graph, value.name, shape)
    axes = axes or _by_lengths(shape, layout)
    if axes is None:
        raise ModelError(
            f"{found}, and neither that nor its first nodes tell which axis counts channels. Give --layout NCHW or "
            "NHWC (layout in Python)."
        )
    own = shape[axes.index("C")] if "C" in axes else 1
    count = own or count or channels or 3
    if count > MAX_CHANNELS:
        raise ModelError(f"{found}, so {count} channels; at most {MAX_CHANNELS} were expected.")
    return ImageInput(value.name, shape, axes, count, dtype)


def _by_lengths(shape: Shape, layout: str | None) -> str | None:
    """The axes of an input, from their lengths, or else from the layout that was asked for."""
    candidates = _AXES[len(shape)]
    if len(shape) == 3 and shape[0] not in (None, 1):
        candidates = ("CHW", "HWC")
    if len(candidates) == 1:
        return candidates[0]
    colours = [axes for axes in candidates if "C" in axes and shape[axes.index("C")] == 3]
    if colours:
        return colours[0]
    if len(shape) == 3 and "NHW" in candidates:
        return "HWC" if shape[2] == 1 else "NHW"
    wanted = [axes for axes in candidates if layout == ("NHWC" if axes.endswith("C") else "NCHW")]
    if wanted:
        return wanted[0]
    short = [axes for axes in candidates if _is_shortest(shape, axes.index("C"))]
    if len(short) == 1:
        return short[0]
    return candidates[0] if shape[-3] is None else None


def _is_shortest(shape: Shape, axis: int) -> bool:
    """Whether an axis is shorter than the two that would be height and width."""
    length = shape[axis]
    others = [other for index, other in enumerate(shape) if index not in (axis, len(shape) - 4)]
    return length is not None and all(other is None or length < other for other in others)


def _first_convolution(graph: Graph, image: str, shape: Shape) -> tuple[str | None, int | None]:
    """The input's axes and number of channels, from the first convolution; None if there is none.

    For each tensor on the way, `known` has the input's axis for each of its own; None for an added axis of length 1.
    """
    known: dict[str, tuple[int | None, ...]] = {image: tuple(range(len(shape)))}
    for node in graph.model.graph.node:
        source = next((name for name in node.input if name in known), None)
        if source is None or not node.output:
            continue
        axes = known[source]
        if node.op_type in _CONVOLUTIONS and source == node.input[0] and len(axes) == 4:
            weights = graph.shape(node.input[_CONVOLUTIONS[node.op_type]])
            if weights is None or len(weights) != 4 or weights[1] is None:
                return None, None
            return _named(axes, shape, weights[1] * int(attribute(node, "group", 1)))
        moved = _moved(graph, node, source, axes)
        if moved is not None:
            known[node.output[0]] = moved
    return None, None


def _moved(graph: Graph, node: NodeProto, source: str, axes: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """The input's axis for each axis of a node's result; None if that is not known."""
    before, after = graph.shape(source), graph.shape(node.output[0])
    if node.op_type == "Transpose":
        order = attribute(node, "perm", list(range(len(axes)))[::-1])
        return tuple(axes[index] for index in order)
    if before is None or after is None:
        return None
    if node.op_type in _ELEMENTWISE:
        return axes if len(before) == len(after) else None
    if node.op_type not in ("Reshape", "Unsqueeze", "Squeeze"):
        return None
    # Only axes of length 1 may appear or disappear.
    left = [(length, axis) for length, axis in zip(before, axes, strict=True) if length != 1]
    moved: list[int | None] = []
    for length in after:
        if length == 1:
            moved.append(None)
        elif left and left[0][0] == length:
            moved.append(left.pop(0)[1])
        else:
            return None
    return None if left else tuple(moved)


def _named(axes: tuple[int | None, ...], shape: Shape, count: int) -> tuple[str | None, int | None]:
    """The input's axes in letters, from a convolution's `(N, C, H, W)`."""
    letters = ["" for _ in shape]
    for letter, axis in zip("NCHW", axes, strict=True):
        if axis is not None:
            letters[axis] = letter
    name = _with_ones("".join(letter or "?" for letter in letters), shape)
    if name is None or ("C" in name and shape[name.index("C")] not in (None, count)):
        return None, None
    return name, count


def _with_ones(name: str, shape: Shape) -> str | None:
    """Fill in axes of length 1, which a Reshape loses; they can only be N or C."""
    fits = [
        axes
        for axes in _AXES[len(shape)]
        if all(letter in ("?", own) for letter, own in zip(name, axes, strict=True))
        and all(length == 1 or "?" not in letter for letter, length in zip(name, shape, strict=True))
    ]
    return fits[0] if fits else None
