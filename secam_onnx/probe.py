"""What shape inference leaves open, a run of the model tells: the shapes of some tensors for images of one size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from secam_onnx import runtime
from secam_onnx.head import Graph, Shape
from secam_onnx.weights import without_weights

__all__ = ["probe_shapes"]

_AT_MOST = 256  # tensors that are kept during the run


def probe_shapes(
    model: ModelProto, graph: Graph, tensors: Iterable[str], images: tuple[int, ...], folder: Path
) -> dict[str, Shape]:
    """Run a model on black images.

    Parameters
    ----------
    model : ModelProto
        An image classifier with one input.
    graph : Graph
        Its index.
    tensors : iterable of str
        Whose shapes are wanted.
    images : tuple of int
        `(N, 3, H, W)` or `(N, H, W, 3)`; what the model itself fixes counts.
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
    light, weights = without_weights(model, folder)
    known = {value.name for value in light.graph.output}
    light.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    try:
        session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
        shape = [own or other for own, other in zip(declared, images, strict=True)]
        values = session.run(names, {image.name: np.zeros(shape, dtype=runtime.input_dtype(session))})
    except Exception:  # what is wrong with the model is said when it is opened to be used
        return {}
    batch = images[:1] if declared[0] is None else None
    found = {name: np.shape(value) for name, value in zip(names, values, strict=True)}
    return {name: (None, *shape[1:]) if shape[:1] == batch else shape for name, shape in found.items()}
