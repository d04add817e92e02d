"""What a graph does to the picture before its first layer: preprocessing that is inside the model.

The walk goes forward from the input through nodes that scale, shift, reorder or resize the picture with constants. What
they do to a channel is `(value - mean) / std`, and the size of these two numbers tells which values the graph expects:

- `std` of 30 to 1000, as of a division by 255, by 127.5 or by 58: pixels of 0..255; anything smaller would come out
  nearly constant. So is `std` around 1 with a mean of 50 to 200, as Caffe has it, and a Cast to whole numbers.
- `std` of 0.1 to 0.7 with a mean of 0.2 to 0.8, as ImageNet's: pixels divided by 255. So is a multiplication by 255.
- All else, such as the rescaling in torchvision's Inception-v3, says nothing of what goes in.

A BatchNormalization is read by its running mean and variance, which are those of what the network was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from onnx import NodeProto, TensorProto

from secam_onnx.head import Graph, attribute, reads

__all__ = ["Beginning", "beginning_of"]

_INTEGERS = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64)
_CAFFE = (103.939, 116.779, 123.68)  # means of blue, green and red


@dataclass(frozen=True)
class Beginning:
    """What was found.

    Attributes
    ----------
    steps : tuple of str
        In words, in running order.
    expects : {'pixels', 'unit', ''}
        The values that the graph is made for: 0..255, 0..1, or it does not tell.
    mean, std : tuple of float
        What the steps do at once, a number a channel of the input.
    channel_order : {'RGB', 'BGR'} or None
        Of the input, where the means tell it: those of ImageNet in Caffe differ by colour.
    size : (int, int) or None
        Rows and columns that the graph itself resizes the picture to.
    """

    steps: tuple[str, ...] = ()
    expects: Literal["pixels", "unit", ""] = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channel_order: Literal["RGB", "BGR"] | None = None
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        return ", then ".join(self.steps)


@dataclass(frozen=True)
class _Channel:
    """`scale * value + shift` of a channel of the input; mean and std are what a BatchNormalization has seen there."""

    index: int
    scale: float = 1.0
    shift: float = 0.0
    seen: tuple[float, float] | None = None

    def then(self, scale: float, shift: float) -> _Channel:
        return replace(self, scale=scale * self.scale, shift=scale * self.shift + shift)

    @property
    def mean_and_std(self) -> tuple[float, float]:
        return self.seen or (-self.shift / self.scale, 1 / abs(self.scale))


@dataclass(frozen=True)
class _Picture:
    """A tensor that is the picture still: its axes, and what its channels are."""

    axes: str
    channels: tuple[_Channel, ...]
    steps: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # of no meaning unless more follows: the padding of a convolution
    size: tuple[int, int] | None = None
    whole: bool = False  # rounded to whole numbers before anything else

    def after(self, step: str, **changes: object) -> _Picture:
        return replace(self, steps=(*self.steps, *self.pending, step), pending=(), **changes)  # type: ignore[arg-type]


def beginning_of(graph: Graph, name: str, layout: str, channels: int | None = 3) -> Beginning:
    """Walk from a model's input as long as it is the picture still.

    Parameters
    ----------
    graph : Graph
        The model.
    name : str
        Its input.
    layout : str
        The input's axes, such as 'NCHW'.
    channels : int or None
        How many the picture has; of a number that is not known nothing is said.
    """
    if channels is None:
        return Beginning()
    pictures = {name: _Picture(layout, tuple(map(_Channel, range(channels))))}
    last: list[_Picture] = []  # what the first layers take
    for node in graph.model.graph.node:
        inputs = [entry for entry in reads(node) if not graph.is_from_shapes(entry)]
        taken = [pictures[entry] for entry in inputs if entry in pictures]
        if not taken or node.op_type in ("Shape", "Size"):
            continue
        made = _through(graph, node, taken) if len(taken) == len(inputs) and not node.domain else None
        if made is None:
            last += taken
        else:
            pictures.update(zip(node.output, made, strict=False))
    return _summary(last, channels)


def _summary(last: list[_Picture], channels: int) -> Beginning:
    """What the first layers have in common."""
    whole = [picture for picture in last if len(picture.channels) == channels and picture.steps]
    if not whole or any(set(one.channels) != set(whole[0].channels) for one in last if one.steps):
        return Beginning()
    picture = max(whole, key=lambda one: len(one.steps))
    if any(not one.steps for one in last):
        return Beginning()  # one branch takes the picture as it comes
    of_inputs = sorted(picture.channels, key=lambda one: one.index)
    if [one.index for one in of_inputs] != list(range(channels)) or not all(one.scale for one in of_inputs):
        return Beginning(picture.steps, size=picture.size)
    mean, std = (tuple(map(float, values)) for values in zip(*(one.mean_and_std for one in of_inputs), strict=True))
    order: Literal["RGB", "BGR"] | None = None
    if len(mean) == len(_CAFFE) and np.allclose(np.abs(std), 1, atol=0.02):
        order = "BGR" if _near(mean, _CAFFE) else "RGB" if _near(mean, _CAFFE[::-1]) else None
    expects = "pixels" if picture.whole else _expected(np.array(mean), np.array(std))
    return Beginning(picture.steps, expects, mean, std, order, picture.size)


def _near(mean: tuple[float, ...], known: tuple[float, ...]) -> bool:
    return bool(np.allclose(mean, known, atol=1.5))


def _expected(mean: np.ndarray, std: np.ndarray) -> Literal["pixels", "unit", ""]:
    def within(values: np.ndarray, low: float, high: float) -> bool:
        return bool(((values >= low) & (values <= high)).all())

    if within(std, 30, 1000) or (within(std, 0.3, 3) and within(mean, 50, 200)):
        return "pixels"
    if (within(std, 0.1, 0.7) and within(mean, 0.2, 0.8)) or within(std, 1 / 400, 1 / 100):
        return "unit"
    return ""


def _through(graph: Graph, node: NodeProto, taken: list[_Picture]) -> list[_Picture] | None:
    """What a node makes of the picture; None where it is a layer."""
    rule = _RULES.get(node.op_type)
    if node.op_type == "Concat":
        return _concat(graph, node, taken)
    if rule is None or len(taken) != 1:
        return None
    made = rule(graph, node, taken[0])
    return made if made is None or isinstance(made, list) else [made]


def _same(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture:
    if node.op_type == "Clip":
        return replace(picture, pending=(*picture.pending, "Clip"))
    if node.op_type == "Cast" and attribute(node, "to") in _INTEGERS and graph.dtype(node.input[0]) not in _INTEGERS:
        untouched = all(one.scale == 1 and one.shift == 0 for one in picture.channels)
        return picture.after("a Cast to whole numbers", whole=picture.whole or untouched)
    return picture


def _transpose(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture:
    order = attribute(node, "perm", list(range(len(picture.axes)))[::-1])
    return replace(picture, axes="".join(picture.axes[axis] for axis in order))


def _arithmetic(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    """Add, Sub, Mul and Div with a constant, which may be a picture of means."""
    first, second = node.input
    turned = graph.is_constant(first)
    values = _a_channel(graph.constant(first if turned else second), picture)
    if values is None or (node.op_type == "Div" and (turned or not values.all())):
        return None
    scale, shift = np.ones_like(values), np.zeros_like(values)
    if node.op_type in ("Mul", "Div"):
        scale = values if node.op_type == "Mul" else 1 / values
    else:
        shift = values if node.op_type == "Add" or turned else -values
        scale = -scale if node.op_type == "Sub" and turned else scale
    if np.all(scale == 1) and np.all(shift == 0):
        return picture
    words = {
        "Add": "the addition of",
        "Sub": "the subtraction of",
        "Mul": "a multiplication by",
        "Div": "a division by",
    }
    word = "the subtraction from" if turned and node.op_type == "Sub" else words[node.op_type]
    changed = tuple(one.then(*numbers) for one, *numbers in zip(picture.channels, scale, shift, strict=True))
    return picture.after(f"{word} {_numbers(values)}", channels=changed)


def _a_channel(constant: np.ndarray, picture: _Picture) -> np.ndarray | None:
    """A constant's number for each channel: its mean over the other axes."""
    values = np.asarray(constant, dtype=np.float64)
    count = len(picture.channels)
    if values.size == 1:
        return np.full(count, float(values.ravel()[0]))
    if values.ndim > len(picture.axes):
        return None
    values = values.reshape((1,) * (len(picture.axes) - values.ndim) + values.shape)
    if "C" not in picture.axes:
        return np.full(count, values.mean())
    along = values.mean(axis=tuple(axis for axis, letter in enumerate(picture.axes) if letter != "C"))
    return np.broadcast_to(along, count).astype(np.float64) if len(along) in (1, count) else None


def _numbers(values: np.ndarray) -> str:
    shown = values[:1] if np.all(values == values[0]) else values
    return ", ".join(f"{value:.6g}" for value in shown[:8]) + (", ..." if len(shown) > 8 else "")


def _normalisation(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    if picture.axes[1:2] != "C" or not all(graph.is_constant(name) for name in node.input[1:]):
        return None
    gain, bias, mean, variance = (graph.constant(name).astype(np.float64) for name in node.input[1:5])
    variance = variance + attribute(node, "epsilon", 1e-5)
    if not (variance > 0).all():
        return None
    std = np.sqrt(variance)
    changed = []
    for place, one in enumerate(picture.channels):
        seen = one.seen
        if seen is None and one.scale:
            seen = (mean[place] - one.shift) / one.scale, std[place] / abs(one.scale)
        scale = gain[place] / std[place]
        changed.append(replace(one.then(scale, bias[place] - scale * mean[place]), seen=seen))
    step = f"a BatchNormalization with mean {_numbers(mean)} and std {_numbers(std)}"
    return picture.after(step, channels=tuple(changed))


def _negated(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture:
    return picture.after("a change of sign", channels=tuple(one.then(-1, 0) for one in picture.channels))


def _gather(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    axis = attribute(node, "axis", 0) % len(picture.axes)
    if picture.axes[axis] != "C" or not graph.is_constant(node.input[1]):
        return None
    indices = graph.constant(node.input[1])
    if indices.ndim > 1:
        return None
    count = len(picture.channels)
    chosen = [int(index) % count for index in np.atleast_1d(indices)]
    axes = picture.axes if indices.ndim else picture.axes.replace("C", "")
    return _picked(replace(picture, axes=axes), chosen)


def _gather_nd(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    """Some channels, which PyTorch's newer exporter brings to the front for it."""
    if picture.axes[0] != "C" or attribute(node, "batch_dims", 0) or not graph.is_constant(node.input[1]):
        return None
    indices = graph.constant(node.input[1])
    if indices.ndim != 2 or indices.shape[1] != 1:
        return None
    return _picked(picture, [int(index) % len(picture.channels) for index in indices[:, 0]])


def _picked(picture: _Picture, chosen: list[int]) -> _Picture:
    changed = tuple(picture.channels[index] for index in chosen)
    if len(chosen) > 1 and chosen == list(range(len(picture.channels)))[::-1]:
        return picture.after("the channels in reverse order", channels=changed)
    return replace(picture, channels=changed)


def _slice(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    """Of channels, which may turn them round, or of rows and columns."""
    starts, ends, axes, steps = (attribute(node, name, []) for name in ("starts", "ends", "axes", "steps"))
    if len(node.input) > 1:
        if not all(graph.is_constant(name) for name in node.input[1:] if name):
            return None
        given = [graph.constant(name).ravel().tolist() if name else [] for name in node.input[1:]]
        starts, ends, axes, steps = [*given, [], []][:4]
    for place, axis in enumerate(axes or range(len(starts))):
        letter = picture.axes[axis % len(picture.axes)]
        if letter == "C":
            count = len(picture.channels)
            end = None if ends[place] < -count else ends[place]  # before the first one
            chosen = range(count)[slice(starts[place], end, steps[place] if steps else 1)]
            picture = _picked(picture, list(chosen))
        elif letter in "HW":
            picture = replace(picture, pending=(*picture.pending, "a crop"))
        else:
            return None
    return picture if picture.channels else None


def _split(graph: Graph, node: NodeProto, picture: _Picture) -> list[_Picture] | None:
    axis = attribute(node, "axis", 0) % len(picture.axes)
    if picture.axes[axis] != "C":
        return None
    bounds = np.linspace(0, len(picture.channels), len(node.output) + 1).astype(int)
    given = attribute(node, "split")
    if len(node.input) > 1 and node.input[1]:
        if not graph.is_constant(node.input[1]):
            return None
        given = graph.constant(node.input[1])
    if given is not None:
        bounds = np.append(0, np.cumsum(given))
    parts = [picture.channels[start:stop] for start, stop in pairwise(bounds)]
    return [replace(picture, channels=part) for part in parts]


def _concat(graph: Graph, node: NodeProto, taken: list[_Picture]) -> list[_Picture] | None:
    axes = taken[0].axes
    if len(taken) != len(set(node.input)) or any(one.axes != axes for one in taken):
        return None
    if axes[attribute(node, "axis", 0) % len(axes)] != "C":
        return None
    channels = tuple(channel for one in taken for channel in one.channels)
    picture = max(taken, key=lambda one: len(one.steps))
    steps = tuple(dict.fromkeys(step for one in taken for step in one.steps))
    merged = replace(picture, steps=steps, channels=channels)
    if len(channels) > 1 and [one.index for one in channels] == list(range(len(channels)))[::-1]:
        return [merged.after("the channels in reverse order")]
    return [merged]


def _unsqueeze(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    """The axis of the batch, or of a channel that was taken out alone."""
    added = attribute(node, "axes")
    if added is None and len(node.input) > 1 and graph.is_constant(node.input[1]):
        added = graph.constant(node.input[1]).ravel().tolist()
    axes, rank = picture.axes, len(picture.axes) + len(added or ())
    for place in sorted(axis % rank for axis in added or ()):
        missing = [letter for letter in "NC" if letter not in axes]
        if not missing:
            return None
        axes = f"{axes[:place]}{missing[0]}{axes[place:]}"
    return replace(picture, axes=axes) if added else None


def _resize(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture | None:
    if "C" not in picture.axes:
        return None
    shape = graph.shape(node.output[0])
    size = None
    if shape is not None and len(shape) == len(picture.axes):
        rows, columns = (shape[picture.axes.index(letter)] for letter in "HW")
        size = (rows, columns) if rows and columns else None
    made = f"a Resize to {size[0]} x {size[1]}" if size else "a Resize"
    return picture.after(made, size=size)


def _pad(graph: Graph, node: NodeProto, picture: _Picture) -> _Picture:
    return replace(picture, pending=(*picture.pending, "padding"))


_Rule = Callable[[Graph, NodeProto, _Picture], "_Picture | list[_Picture] | None"]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Identity", "Cast", "Clip", "Dropout", "QuantizeLinear", "DequantizeLinear"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "BatchNormalization": _normalisation,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Neg": _negated,
    "Pad": _pad,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
