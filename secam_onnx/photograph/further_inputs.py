"""Models that take more than an image, as CLIP's take text: which input is the image, and what needs it alone."""

from __future__ import annotations

from onnx import TensorProto

from secam_onnx.graph.dependence import inputs_behind
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import reads, shape_text

__all__ = ["advice_on_inputs", "image_among", "made_from_image"]

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

_MOST = 64  # inputs; what each tensor is made from is kept as a set of them


def image_among(graph: Graph) -> str | None:
    """The only input with the four axes of images; None if there is none, or several, or an absurd number of inputs."""
    if len(graph.inputs) > _MOST:
        return None
    images = [value.name for value in graph.inputs if len(value.type.tensor_type.shape.dim) == 4]
    return images[0] if len(images) == 1 else None


def made_from_image(graph: Graph, image: str) -> list[str]:
    """The outputs that need no other input than the image; if there are none, the last tensors that do not."""
    behind, alone = inputs_behind(graph), frozenset([image])
    outputs = [name for name in graph.outputs if behind.get(name) == alone and graph.producer(name) is not None]
    if outputs:
        return outputs
    mixed = (node for node in graph.model.graph.node if any(behind.get(name, alone) > alone for name in node.output))
    ends = dict.fromkeys(name for node in mixed for name in reads(node) if behind.get(name) == alone)
    return [name for name in ends if graph.producer(name) is not None and graph.dtype(name) in _FLOATS]


def advice_on_inputs(graph: Graph) -> str:
    """What to do about a model with several inputs, with the names of its tensors; empty where nothing is known."""
    image = image_among(graph)
    if image is None:
        return ""
    tensors = made_from_image(graph, image)
    if not tensors:
        return ""
    listed = ", ".join(f"{name!r} {shape_text(graph.shape(name))}" for name in tensors[:5])
    needs = "needs" if len(tensors) == 1 else "need"
    return (
        f" Of its tensors {listed} {needs} {image!r} alone: secam-onnx export MODEL.onnx --classes VECTORS.npy takes "
        "out that image encoder and puts classes on it; to have it as a file, onnx.utils.extract_model('MODEL.onnx', "
        f"'image_encoder.onnx', [{image!r}], [{tensors[0]!r}]). If the others are texts, --texts TOKENS.npz fixes them."
    )
