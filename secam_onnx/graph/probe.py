"""Shapes that inference leaves open, measured in a run of the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape
from secam_onnx.graph.weights import without_weights
from secam_onnx.reserved_prefix import RESERVED

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["probe_shapes"]

_SHAPE = f"{RESERVED}shape_"


def probe_shapes(graph: Graph, tensors: Iterable[str], images: tuple[int, ...]) -> dict[str, Shape]:
    """Run a model on black images and measure the shapes of some tensors.

    Parameters
    ----------
    graph : Graph
        An image classifier with one input.
    tensors : iterable of str
        The tensors.
    images : tuple of int
        The shape of the images, `(N, 3, H, W)` or `(N, H, W, 3)`; lengths that the model fixes override it.

    Returns
    -------
    dict
        The shapes, with None for an open batch axis; empty if the model does not run.
    """
    names = [name for name in dict.fromkeys(tensors) if graph.producer(name) is not None]
    (image,) = graph.inputs
    declared = graph.shape(image.name) or ()
    light, weights = without_weights(graph.model, graph.folder)
    del light.graph.output[:]  # so that a run keeps the shapes and not the tensors
    for index, name in enumerate(names):
        light.graph.node.append(helper.make_node("Shape", [name], [f"{_SHAPE}{index}"]))
        light.graph.output.append(helper.make_tensor_value_info(f"{_SHAPE}{index}", TensorProto.INT64, [None]))
    try:
        session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
        found = _run(session, image.name, declared, images)
        if declared[0] is None and not graph.one_image:
            more = _run(session, image.name, declared, (images[0] + 1, *images[1:]))
            found = [_open(*shapes, images[0]) for shapes in zip(found, more, strict=True)]
    except Exception:  # whoever opens the model to use it gets the error
        return {}
    return dict(zip(names, found, strict=True))


def _run(session: onnxruntime.InferenceSession, image: str, declared: Shape, images: tuple[int, ...]) -> list[Shape]:
    shape = [own or other for own, other in zip(declared, images, strict=True)]
    black = np.zeros(shape, dtype=runtime.input_dtype(session))
    names = [output.name for output in session.get_outputs()]
    return [tuple(map(int, value)) for value in runtime.run(session, names, {image: black})]


def _open(shape: Shape, other: Shape, batch: int) -> Shape:
    """A shape with None for the lengths that follow the batch; `other` is of a run with one image more."""
    if len(shape) != len(other):
        return shape
    return tuple(None if pair == (batch, batch + 1) else pair[0] for pair in zip(shape, other, strict=True))
