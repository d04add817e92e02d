"""Zero-shot classes: a head of given vectors on an image encoder, whose output is an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from onnx import TensorProto, helper

from secam_onnx.arguments import checked
from secam_onnx.export.class_vectors import ClassLayer, class_layer
from secam_onnx.export.embedding import find_embedding
from secam_onnx.export.image_encoder import image_encoder
from secam_onnx.export.pooled_vector import checked_pool, pooled_vector, reduced
from secam_onnx.export.source import Source
from secam_onnx.graph.index import Graph
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.opset import at_opset
from secam_onnx.graph.splice import made_by
from secam_onnx.labels.given import given_labels

__all__ = ["with_classes"]

_OLDEST_OPSET = 9  # older ones have other forms of these nodes
_OLDEST_IR_VERSION = 4  # before, every initializer had to be an input, too
_TINY = 1e-12  # instead of the norm of an embedding that is zero, as in PyTorch's `normalize`


@checked("vectors", "labels", "bias")
def with_classes(
    source: Source,
    vectors: Any,
    labels: Sequence[str] | Mapping[int, str] | str | None = None,
    *,
    scale: float = 1.0,
    bias: Any = 0.0,
    normalise: bool = False,
    embedding: str | None = None,
    pool: str | None = None,
) -> Source:
    """Put a head of class vectors on an image encoder: text embeddings of CLIP or SigLIP, prototypes, a linear probe.

    The logits are `scale * e @ vectors.T + bias`, where `e` is the embedding of the image, and embedding and vectors
    are divided by their L2 norms first if `normalise` is true.

    Parameters
    ----------
    source : Source
        The image encoder; its graph is changed in place. Of a model that takes text as well, the part that needs the
        image alone is taken.
    vectors : array_like
        `(classes, D)`, or `(D,)` for one class; of any type of numbers.
    labels : sequence of str, mapping or path, optional
        A name for each class; by default "class 0", "class 1", ...
    scale : float
        What the products are multiplied by: 100 for OpenAI's CLIP, `exp(logit_scale)` in general.
    bias : float or array_like
        What is added: one number (SigLIP's `logit_bias`), or `(classes,)`.
    normalise : bool
        Compare directions, so that the logit is the scaled cosine.
    embedding : str, optional
        The tensor that holds one vector for each image; by default the output that does.
    pool : {'class', 'mean'}, optional
        For an encoder that gives tokens `(N, tokens, D)`: take the first token, or the mean of all; the mean also of a
        map `(N, D, h, w)`.

    Returns
    -------
    Source
        A classifier for `export_model`. Its first output is the logits, `(N, classes)` float32; the encoder's own
        follow.

    Raises
    ------
    OptionError
        The vectors, labels or numbers are wrong, do not fit the embedding, or `embedding` is not in the model.
    ModelError
        No embedding is found, or the model has no image encoder.
    """
    names = None if labels is None else given_labels(labels)
    layer = class_layer(vectors, names, scale=scale, bias=bias, normalise=normalise)
    checked_pool(pool)
    source = image_encoder(source, embedding)
    model = at_opset(source.model, _OLDEST_OPSET)
    model.ir_version = max(model.ir_version, _OLDEST_IR_VERSION)
    graph = Graph(model)
    tensor = find_embedding(graph, embedding, pool, layer.shape)
    logits = _append(graph, tensor, pool, layer)
    of = {None: "", "class": "the class token of ", "mean": "the mean of "}[pool]
    given = "numbered, since none were given" if names is None else "given with the class vectors"
    origin = {**source.origin, "classes": f"{layer.note}, on {of}{tensor!r}", "labels": given}
    return replace(source, model=model, labels=layer.labels, origin=origin, logits=logits)


def _append(graph: Graph, tensor: str, pool: str | None, layer: ClassLayer) -> str:
    """Add the layer's nodes to a model, and its result as the first output."""
    model = graph.model
    known = {*made_by(model.graph.node), *graph.initializers, *(value.name for value in graph.inputs)}
    known |= {node.name for node in model.graph.node}
    n = Nodes(_free("classes_", known, beginning=True))
    name = _free("logits", known)
    vector = pooled_vector(n, graph, tensor, pool)
    if layer.normalise:
        norm = reduced(n, graph, "ReduceL2", vector, (1,), keepdims=1)
        vector = n.op("Div", [vector, n.op("Max", [norm, n.floats(_TINY)])])
    weights = [n.array(layer.weights), n.array(layer.bias)]
    last = helper.make_node("Gemm", [vector, *weights], [name], name=f"{n.prefix}Gemm", transB=1)
    model.graph.initializer.extend(n.values)
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(layer.labels)])
    graph.append([*n.nodes, last], [output])
    outputs = [output, *(value for value in model.graph.output if value.name != name)]
    copies = [type(value).FromString(value.SerializeToString()) for value in outputs]
    del model.graph.output[:]
    model.graph.output.extend(copies)
    return name


def _free(name: str, known: set[str], *, beginning: bool = False) -> str:
    """A name that no tensor or node of the model has, or begins with."""
    candidate, count = name, 1
    while any(entry.startswith(candidate) for entry in known) if beginning else candidate in known:
        count += 1
        candidate = f"{name.removesuffix('_')}_{count}{'_' * name.endswith('_')}"
    return candidate
