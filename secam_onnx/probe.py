"""What shape inference leaves open, a run of the model tells: the shapes of some tensors for images of one size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from secam_onnx import runtime
from secam_onnx.errors import SecamError
from secam_onnx.head import Graph, Shape
from secam_onnx.weights import without_weights

__all__ = ["probe_shapes"]

_IMAGES = 2
_AT_MOST = 256  # tensors that are kept during the run


def probe_shapes(
    model: ModelProto, graph: Graph, tensors: Iterable[str], size: tuple[int, int], folder: Path
) -> dict[str, Shape]:
    """Run a model on two black images, or as many as it takes.

    Parameters
    ----------
    model : ModelProto
        An image classifier with one input.
    graph : Graph
        Its index.
    tensors : iterable of str
        Whose shapes are wanted.
    size : (int, int)
        Height and width of the images.
    folder : Path
        Where the model's external data lies.

    Returns
    -------
    dict
        Shapes, the batch axis None where it is open; empty if the model does not run.
    """
    names = [name for name in tensors if graph.producer(name) is not None][:_AT_MOST]
    (image,) = graph.inputs
    declared = graph.shape(image.name) or ()
    wanted = (_IMAGES, *size, 3) if declared[-1] == 3 else (_IMAGES, 3, *size)
    light, weights = without_weights(model, folder)
    known = {value.name for value in light.graph.output}
    light.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    try:
        session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
        shape = [own or other for own, other in zip(declared, wanted, strict=True)]
        values = session.run(names, {image.name: np.zeros(shape, dtype=runtime.input_dtype(session))})
    except (SecamError, RuntimeError, ValueError):
        return {}
    return {name: _with_open_batch(np.shape(value), declared) for name, value in zip(names, values, strict=True)}


def _with_open_batch(shape: tuple[int, ...], declared: Shape) -> Shape:
    open_batch = declared[0] is None and shape[:1] == (_IMAGES,)
    return (None, *shape[1:]) if open_batch else shape
