"""Zero-shot classes from a file that holds a text encoder too: what it makes of given texts becomes class vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from secam_onnx.arguments import checked
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export.embedding import embedding_length
from secam_onnx.export.image_encoder import declared
from secam_onnx.export.source import Source
from secam_onnx.export.text_comparison import behind_embedding, compared_embedding, measured_layer
from secam_onnx.export.with_classes import with_classes
from secam_onnx.graph.dependence import inputs_behind, keep_only
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.labels.given import given_labels
from secam_onnx.photograph.further_inputs import image_among

__all__ = ["with_texts"]

_USUAL = "logits_per_image"  # of transformers


@checked("tokens", "labels")
def with_texts(
    source: Source,
    tokens: Mapping[str, Any],
    labels: Sequence[str] | Mapping[int, str] | str | None = None,
    *,
    logits: str | None = None,
) -> Source:
    """Make a classifier of a model that compares an image with texts, such as CLIP and SigLIP, for given texts.

    The text encoder is run once, here, and what it gives becomes class vectors (see `with_classes`). Scale and bias are
    the model's.

    Parameters
    ----------
    source : Source
        The model; its graph is changed in place.
    tokens : mapping of str to array_like
        For each input besides the image its value, `(classes, ...)`, as the model's tokenizer makes it; others are
        ignored.
    labels : sequence of str, mapping or path, optional
        A name for each class; by default "class 0", "class 1", ...
    logits : str, optional
        The tensor `(N, classes)`; by default `logits_per_image`, or the only output that depends on both.

    Returns
    -------
    Source
        A classifier for `export_model`. Its outputs are the logits and the embedding of the image.

    Raises
    ------
    OptionError
        An input has no value, or one of another type or shape; the labels do not fit; several outputs could be meant.
    ModelError
        The model does not take an image and texts, its text encoder fails, or it does not compare them linearly.
    """
    graph = Graph(source.model)
    image, texts = _inputs(graph)
    values = {name: _value(graph, name, tokens) for name in texts}
    n_classes = _count(values)
    names = None if labels is None else given_labels(labels)
    if names is not None and len(names) != n_classes:
        raise OptionError(f"There are {len(names)} labels for {n_classes} texts; give one name for each.")
    behind = inputs_behind(graph)
    output = _logits(graph, behind, image, logits)
    vector = compared_embedding(graph, behind, image, output)
    tail, weights = behind_embedding(graph, vector, output)
    keep_only(source.model, [declared(graph, vector)])
    length = embedding_length(Graph(source.model), vector)
    matrix, bias = measured_layer(tail, weights, {vector: length, output: n_classes}, values)
    made = with_classes(replace(source, file=None), matrix, names, bias=bias, embedding=vector)
    told = f"{output!r} for {n_classes} text{'s' * (n_classes > 1)}, encoded by the model itself; a layer on {vector!r}"
    return replace(made, origin={**made.origin, "classes": told})


def _inputs(graph: Graph) -> tuple[str, list[str]]:
    """The image input, and the others."""
    image, names = image_among(graph), [value.name for value in graph.inputs]
    if image is None or len(names) < 2:
        raise ModelError(
            f"The model has the inputs {', '.join(map(repr, names)) or 'none'}; one image (N, C, H, W) and texts were "
            "expected. For an image encoder alone: --classes with the texts' embeddings."
        )
    return image, [name for name in names if name != image]


def _value(graph: Graph, name: str, tokens: Mapping[str, Any]) -> np.ndarray:
    """What an input is fixed to, in its own type."""
    if name not in tokens:
        raise OptionError(
            f"The texts have no {name!r}, which the model takes; there are {', '.join(map(repr, tokens)) or 'none'}. "
            "Save what the model's tokenizer gives, by the names of the model's inputs."
        )
    value = np.asarray(tokens[name])
    shape, dtype = graph.shape(name), helper.tensor_dtype_to_np_dtype(graph.dtype(name) or TensorProto.INT64)
    fits = shape is None or (
        value.ndim == len(shape) and all(own in (None, length) for own, length in zip(shape, value.shape, strict=True))
    )
    if not fits or not value.size:
        raise OptionError(
            f"The texts' {name!r} has the shape {value.shape}; {shape_text(shape)} was expected, one row for each "
            "class. Have the tokenizer pad to the length that the model was exported for."
        )
    if value.dtype.kind not in "iub" and value.dtype.kind != np.dtype(dtype).kind:
        raise OptionError(f"The texts' {name!r} is of type {value.dtype}; {np.dtype(dtype)} was expected.")
    return value.astype(dtype)


def _count(values: Mapping[str, np.ndarray]) -> int:
    counts = {name: value.shape[0] if value.ndim else 1 for name, value in values.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise OptionError(f"The texts have different numbers of rows ({listed}); one for each class was expected.")
    return next(iter(counts.values()))


def _logits(graph: Graph, behind: Mapping[str, frozenset[str]], image: str, wanted: str | None) -> str:
    """The output that compares image and texts."""
    joint = [name for name in graph.outputs if image in behind.get(name, ()) and len(behind[name]) > 1]
    if wanted is not None:
        if graph.producer(wanted) is None or not (image in behind[wanted] and len(behind[wanted]) > 1):
            raise OptionError(
                f"{wanted!r} is no tensor of the model that depends on the image and the texts; its outputs that do "
                f"are {', '.join(map(repr, joint)) or 'none'}."
            )
        return wanted
    if not joint:
        raise ModelError(
            f"No output depends on the image and the texts: {', '.join(map(repr, graph.outputs))}. Take the image "
            "encoder, with the texts' embeddings as --classes, or name another tensor with --logits."
        )
    if _USUAL not in joint and len(joint) > 1:
        raise OptionError(
            f"Several outputs depend on the image and the texts: {', '.join(map(repr, joint))}. Choose the one of "
            "shape (N, classes) with --logits NAME (logits=NAME in Python)."
        )
    return _USUAL if _USUAL in joint else joint[0]
