"""Recognising preprocessing that is inside a model: what its graph does to the picture before the first layer.

The walk goes forward from the input, through nodes that scale, shift, reorder or resize the picture with constants. To
a channel they do `(value - mean) / std`, and the size of these two numbers tells which values the graph expects:

- Pixels in 0..255: a `std` of 30 to 1000, as of a division by 255, by 127.5 or by 58, since smaller values would be
  nearly constant; a `std` around 1 with a mean of 50 to 200, as in Caffe; a Cast to integers.
- Pixels divided by 255: a `std` of 0.1 to 0.7 with a mean of 0.2 to 0.8, as for ImageNet; a multiplication by 255.
- Either of them: a Clip or QuantizeLinear that keeps 0..255, or 0..1, of the input. Other ranges tell nothing.
- Unknown: anything else, such as the rescaling in torchvision's Inception-v3.

For a BatchNormalization the running mean and variance count, which are those of the training data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import reads
from secam_onnx.photograph.graph_preprocessing.node_rules import follow_node
from secam_onnx.photograph.graph_preprocessing.picture_tensor import Channel, PictureTensor

__all__ = ["GraphPreprocessing", "recognise_preprocessing"]

_CAFFE = (103.939, 116.779, 123.68)  # means of blue, green and red


@dataclass(frozen=True)
class GraphPreprocessing:
    """The preprocessing that was recognised in a graph.

    Attributes
    ----------
    steps : tuple of str
        The steps in words, in order of execution.
    expects : {'pixels', 'unit', ''}
        The values that the graph expects: 0..255, 0..1, or unknown.
    mean, std : tuple of float
        The effect of all steps together, one number per input channel.
    channel_order : {'RGB', 'BGR'} or None
        Order of the input's channels, if the means tell it: those of ImageNet in Caffe differ by colour.
    size : (int, int) or None
        Height and width to which the graph resizes the picture.
    keeps : (float, float) or None
        The lowest and highest value of the input that a Clip or QuantizeLinear lets through.
    """

    steps: tuple[str, ...] = ()
    expects: Literal["pixels", "unit", ""] = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channel_order: Literal["RGB", "BGR"] | None = None
    size: tuple[int, int] | None = None
    keeps: tuple[float, float] | None = None

    def __str__(self) -> str:
        return ", then ".join(self.steps)


def recognise_preprocessing(graph: Graph, name: str, layout: str, channels: int | None = 3) -> GraphPreprocessing:
    """Walk forward from a model's input for as long as a tensor is still the picture.

    Parameters
    ----------
    graph : Graph
        The model.
    name : str
        The name of its input.
    layout : str
        The input's axes, such as 'NCHW'.
    channels : int or None
        Number of the picture's channels; if it is None, nothing is recognised.
    """
    if channels is None:
        return GraphPreprocessing()
    pictures = {name: PictureTensor(layout, tuple(map(Channel, range(channels))))}
    last: list[PictureTensor] = []  # what the first layers take
    for node in graph.model.graph.node:
        inputs = [entry for entry in reads(node) if not graph.is_from_shapes(entry)]
        taken = [pictures[entry] for entry in inputs if entry in pictures]
        if not taken or node.op_type in ("Shape", "Size"):
            continue
        with np.errstate(all="ignore"):  # constants of damaged files
            made = follow_node(graph, node, taken) if len(taken) == len(inputs) and not node.domain else None
        if made is None:
            last += taken
        else:
            pictures.update(zip(node.output, made, strict=False))
    return _summary(last, channels)


def _summary(last: list[PictureTensor], channels: int) -> GraphPreprocessing:
    """What holds for all first layers: the same steps, or different ones that expect the same values."""
    if not all(one.steps for one in last):
        return GraphPreprocessing()  # one branch takes the input as it is
    whole = [_told(picture, channels) for picture in last if len(picture.channels) == channels]
    if not whole:
        return GraphPreprocessing()
    longest = max(whole, key=lambda one: len(one.steps))
    if all(set(one.channels) == set(last[0].channels) for one in last):
        return longest
    if len(whole) < len(last) or not longest.expects or any(one.expects != longest.expects for one in whole):
        return GraphPreprocessing()
    order, size, keeps = (
        getattr(longest, name) if len({getattr(one, name) for one in whole}) == 1 else None
        for name in ("channel_order", "size", "keeps")
    )
    return replace(longest, channel_order=order, size=size, keeps=keeps)


def _told(picture: PictureTensor, channels: int) -> GraphPreprocessing:
    """What the steps before one of the first layers tell."""
    of_inputs = sorted(picture.channels, key=lambda one: one.index)
    if [one.index for one in of_inputs] != list(range(channels)) or not all(one.scale for one in of_inputs):
        return GraphPreprocessing(picture.steps, size=picture.size)
    with np.errstate(all="ignore"):
        mean, std = (tuple(map(float, values)) for values in zip(*(one.mean_and_std for one in of_inputs), strict=True))
    order: Literal["RGB", "BGR"] | None = None
    if len(mean) == len(_CAFFE) and np.allclose(np.abs(std), 1, atol=0.02):
        order = "BGR" if _near(mean, _CAFFE) else "RGB" if _near(mean, _CAFFE[::-1]) else None
    expects = "pixels" if picture.whole else _expected(np.array(mean), np.array(std))
    if not expects and picture.keeps is not None:
        expects = "pixels" if picture.keeps[1] > 2 else "unit"
    return GraphPreprocessing(picture.steps, expects, mean, std, order, picture.size, picture.keeps)


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
