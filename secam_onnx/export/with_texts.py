"""Zero-shot classes from a file that holds a text encoder too: its text inputs become constants, and fold away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from secam_onnx import runtime
from secam_onnx.arguments import checked
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export.image_encoder import declared
from secam_onnx.export.source import Source
from secam_onnx.graph.dependence import inputs_behind, keep_only
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import reads, shape_text
from secam_onnx.graph.weights import without_weights
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

    The text encoder is run once, here, and its results become constants of the graph. Scale and bias are the model's.

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
        A classifier for `export_model`, whose only output is the logits.

    Raises
    ------
    OptionError
        An input has no value, or one of another type or shape; the labels do not fit; several outputs could be meant.
    ModelError
        The model does not take an image and texts, or its text encoder fails.
    """
    graph = Graph(source.model)
    image, texts = _inputs(graph)
    values = {name: _value(graph, name, tokens) for name in texts}
    n_classes = _count(values)
    names = tuple(f"class {index}" for index in range(n_classes)) if labels is None else given_labels(labels)
    if len(names) != n_classes:
        raise OptionError(f"There are {len(names)} labels for {n_classes} texts; give one name for each.")
    behind = inputs_behind(graph)
    output = _logits(graph, behind, image, logits)
    folded = _folded(graph, behind, image, output)
    results = _run(source.model, graph, folded, values)
    dtype = graph.dtype(output) or TensorProto.FLOAT
    keep_only(source.model, [helper.make_tensor_value_info(output, dtype, None)], folded)
    source.model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in results.items())
    del source.model.graph.value_info[:]  # which may name the number of texts
    _check_orientation(Graph(source.model), output, n_classes)
    source.model.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, dtype, ["N", n_classes]))
    origin = {
        **source.origin,
        "classes": f"{output!r} for {n_classes} text{'s' * (n_classes > 1)}, encoded by the model itself",
        "labels": "given with the texts",
    }
    return replace(source, labels=names, origin=origin, file=None, logits=output)


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


def _check_orientation(graph: Graph, output: str, n_classes: int) -> None:
    shape = graph.shape(output)
    fits = shape is None or (
        len(shape) == 2 and shape[1] in (None, n_classes) and graph.batch_axis(output) in (None, 0)
    )
    if not fits:
        raise OptionError(
            f"{output!r} has the shape {shape_text(shape)} for {n_classes} texts; (N, classes) was expected. Choose "
            "another tensor with --logits NAME (logits=NAME in Python)."
        )


def _folded(graph: Graph, behind: Mapping[str, frozenset[str]], image: str, output: str) -> list[str]:
    """The tensors that depend on the texts alone, and that what depends on the image reads."""
    nodes, _ = graph.ancestry(output)
    mixed = [node for node in nodes if any(image in behind.get(name, ()) for name in node.output)]
    ends = dict.fromkeys(name for node in mixed for name in reads(node) if behind[name] and image not in behind[name])
    return list(ends)


def _run(
    model: ModelProto, graph: Graph, tensors: Sequence[str], values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The values of tensors that depend on the texts alone, by ONNX Runtime."""
    ready = {name: values[name] for name in tensors if name in values}
    made = [name for name in tensors if name not in values]
    if not made:
        return ready
    light, weights = without_weights(model)
    keep_only(light, [declared(graph, name) for name in made])
    kept = {tensor.name for tensor in light.graph.initializer}
    for known in (weights.shared, weights.copied):
        for name in known.keys() - kept:
            del known[name]
    session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
    feeds = {value.name: values[value.name] for value in session.get_inputs()}
    try:
        results = runtime.run(session, made, feeds)
    except Exception as error:
        shapes = ", ".join(f"{name!r} {value.shape}" for name, value in feeds.items())
        raise ModelError(
            f"The text encoder fails on {shapes}: {error}. Have the tokenizer pad to the length that the model was "
            "exported for."
        ) from error
    return ready | {name: np.asarray(value) for name, value in zip(made, results, strict=True)}
