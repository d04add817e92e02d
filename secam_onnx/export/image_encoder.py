"""The image encoder of a model that takes more than an image, as CLIP and SigLIP are exported."""

from __future__ import annotations

from dataclasses import replace

from onnx import TensorProto, ValueInfoProto, helper

from secam_onnx.errors import ModelError
from secam_onnx.export.source import Source
from secam_onnx.graph.dependence import inputs_behind, keep_only
from secam_onnx.graph.index import Graph
from secam_onnx.photograph.further_inputs import image_among, made_from_image

__all__ = ["declared", "image_encoder"]


def image_encoder(source: Source, embedding: str | None = None) -> Source:
    """The part of a model that needs the image alone; a model with one input stays as it is.

    Parameters
    ----------
    source : Source
        The model; its graph is changed in place.
    embedding : str, optional
        The tensor that is wanted; by default all outputs that need the image alone.

    Raises
    ------
    ModelError
        The model has no image among its inputs, or what is wanted needs other inputs, too.
    """
    graph = Graph(source.model)
    if len(graph.inputs) == 1:
        return source
    names = ", ".join(repr(value.name) for value in graph.inputs) or "none"
    image = image_among(graph)
    if image is None:
        raise ModelError(f"The model has the inputs {names}; one image (N, C, H, W) was expected among them.")
    tensors = made_from_image(graph, image)
    if embedding is not None and graph.producer(embedding) is not None:
        others = inputs_behind(graph)[embedding] - {image}
        if others:
            known = ", ".join(map(repr, tensors)) or "none"
            raise ModelError(
                f"{embedding!r} needs {', '.join(map(repr, sorted(others)))} besides the image {image!r}; a tensor of "
                f"the image encoder was expected: {known}."
            )
        tensors = [embedding]
    if not tensors:
        raise ModelError(
            f"The model has the inputs {names}, and no tensor is made from the image {image!r} alone, so there is no "
            "image encoder in it. Export the image encoder by itself."
        )
    keep_only(source.model, [declared(graph, name) for name in tensors])
    return replace(source, file=None)


def declared(graph: Graph, tensor: str) -> ValueInfoProto:
    """A tensor's type and shape, as far as they are known, to make it an output."""
    return helper.make_tensor_value_info(tensor, graph.dtype(tensor) or TensorProto.FLOAT, graph.shape(tensor))
