"""How a model compares the embedding of an image with texts, measured.

Behind the embedding `e` of the image such a model computes `z = A e + b`, where `A` and `b` depend on the texts alone:
a cosine with their embeddings, a scale and a bias, in any order. They are measured: `b` is what the nodes behind the
embedding give for zeros, and the columns of `A` what they give for unit vectors, less that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto, helper

from secam_onnx import runtime
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.graph.dependence import keep_only
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import reads
from secam_onnx.graph.weights import without_weights

__all__ = ["behind_embedding", "compared_embedding", "measured_layer"]

_TRIALS = 8  # random vectors
_ROUNDING = 1e-2  # half precision, with a scale of 100


def compared_embedding(graph: Graph, behind: Mapping[str, frozenset[str]], image: str, output: str) -> str:
    """The tensor of the image alone that is compared with the texts, before it is transposed.

    Raises
    ------
    ModelError
        There is none, or several.
    """
    nodes, _ = graph.ancestry(output)
    mixed = [node for node in nodes if any(len(behind.get(name, ())) > 1 for name in node.output)]
    ends = dict.fromkeys(name for node in mixed for name in reads(node) if behind[name] == {image})
    tensors = list(dict.fromkeys(_untransposed(graph, name) for name in ends))
    if len(tensors) != 1 or graph.producer(tensors[0]) is None:
        raise ModelError(
            f"The texts meet the image in {len(tensors)} places ({', '.join(map(repr, tensors[:5]))}); one embedding "
            "of the image (N, D) that is compared with them was expected, as CLIP and SigLIP have it."
        )
    return tensors[0]


def _untransposed(graph: Graph, tensor: str) -> str:
    while (node := graph.producer(tensor)) is not None and node.op_type in ("Transpose", "Identity", "Cast"):
        tensor = node.input[0]
    return tensor


def behind_embedding(graph: Graph, vector: str, output: str) -> tuple[ModelProto, runtime.SharedWeights]:
    """The model without the image encoder: from the embedding and the texts to the logits."""
    light, weights = without_weights(graph.model)
    dtypes = [graph.dtype(name) or TensorProto.FLOAT for name in (vector, output)]
    shape = graph.shape(vector)  # of any number of images, also where the file takes one
    rows = None if shape is None else [None, *shape[1:]]
    light.graph.input.append(helper.make_tensor_value_info(vector, dtypes[0], rows))
    keep_only(light, [helper.make_tensor_value_info(output, dtypes[1], None)], [vector])
    del light.graph.value_info[:]
    kept = {tensor.name for tensor in light.graph.initializer}
    for known in (weights.shared, weights.copied):
        for name in known.keys() - kept:
            del known[name]
    return light, weights


def measured_layer(
    tail: ModelProto, weights: runtime.SharedWeights, lengths: Mapping[str, int], values: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the layer that the texts make, and check on random vectors that it is one.

    Parameters
    ----------
    tail, weights
        The result of `behind_embedding`.
    lengths : mapping of str to int
        The embedding and its length, then the logits and the number of texts.
    values : mapping of str to ndarray
        The text inputs.

    Returns
    -------
    matrix, bias : ndarray
        `(classes, D)` and `(classes,)`, float64.

    Raises
    ------
    ModelError
        The text encoder fails, or the logits do not depend linearly on the embedding.
    OptionError
        The logits have another shape.
    """
    (vector, length), (output, n_classes) = lengths.items()
    session = runtime.open_session(tail.SerializeToString(), "cpu", weights=weights)
    chance = np.random.default_rng(0).standard_normal((_TRIALS + (n_classes == length + 1 + _TRIALS), length))
    rows = np.concatenate([np.zeros((1, length)), np.eye(length), chance / np.sqrt(length)])
    dtypes = {entry.name: entry.type for entry in session.get_inputs()}
    feeds = {name: value for name, value in values.items() if name in dtypes}
    feeds[vector] = rows.astype(np.float16 if "float16" in dtypes[vector] else np.float32)
    try:
        (found,) = runtime.run(session, [output], feeds)
    except Exception as error:
        shapes = ", ".join(f"{name!r} {values[name].shape}" for name in feeds if name in values)
        raise ModelError(
            f"The text encoder fails on {shapes}: {error}. Have the tokenizer pad to the length that the model was "
            "exported for."
        ) from error
    if found.shape != (len(rows), n_classes):
        raise OptionError(
            f"{output!r} has the shape {found.shape} for {len(rows)} images and {n_classes} texts; (N, classes) was "
            "expected. Choose another tensor with --logits NAME (logits=NAME in Python)."
        )
    results = found.astype(np.float64)
    bias, matrix = results[0], (results[1 : length + 1] - results[0]).T
    wanted = rows[length + 1 :] @ matrix.T + bias
    difference = np.abs(results[length + 1 :] - wanted).max() / max(np.abs(results).max(), 1e-30)
    if not difference <= _ROUNDING:
        raise ModelError(
            f"{output!r} does not depend linearly on the embedding {vector!r} of the image (relative difference "
            f"{difference:.1e}). Name the tensor before any softmax or sigmoid with --logits NAME (logits=NAME in "
            "Python)."
        )
    return matrix, bias
