"""The embeddings of photographs, as an encoder itself makes them: prototypes, and pictures to compare with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from secam_onnx import runtime
from secam_onnx.arguments import checked
from secam_onnx.decoding import Reading, read_seen
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export.embedding import find_embedding
from secam_onnx.export.image_encoder import image_encoder
from secam_onnx.export.pooled_vector import checked_pool, pooled_vector
from secam_onnx.export.source import Source
from secam_onnx.graph.index import Graph
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.weights import without_weights
from secam_onnx.memory import out_of_memory
from secam_onnx.photograph.choose_preprocessing import choose_preprocessing, input_for
from secam_onnx.photograph.images import Photograph
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["embed", "names_of_files"]


@checked("photographs")
def embed(
    source: Source, photographs: Iterable[Photograph], *, embedding: str | None = None, pool: str | None = None
) -> np.ndarray:
    """Compute the embeddings of photographs, which are prepared as the model's pictures are.

    Parameters
    ----------
    source : Source
        The image encoder; of a model that takes text as well, the image encoder is taken out, in place.
    photographs : iterable of path, bytes, Image or ndarray
        As for `Explainer.explain_batch`.
    embedding, pool
        See `with_classes`.

    Returns
    -------
    ndarray
        `(photographs, D)` float32.

    Raises
    ------
    ImageError
        A photograph cannot be read.
    ModelError, OptionError
        No embedding is found, see `with_classes`; or the model fails.
    """
    if isinstance(photographs, str | bytes | os.PathLike) or not isinstance(photographs, Iterable):
        raise OptionError(f"photographs is of type {type(photographs).__name__}; a list of photographs was expected.")
    pictures = list(photographs)
    if not pictures:
        raise OptionError("There are no photographs to embed; give at least one.")
    source = image_encoder(source, embedding)
    graph = Graph(source.model)
    tensor = find_embedding(graph, embedding, checked_pool(pool))
    input_ = input_for(graph, source.preprocessing)
    preprocessing, _ = choose_preprocessing(graph, input_, source.preprocessing, source.sidecars)
    light, weights = without_weights(source.model)
    n = Nodes(f"{RESERVED}embed_")
    vector = pooled_vector(n, graph, tensor, pool)
    light.graph.node.extend(n.nodes)
    light.graph.initializer.extend(n.values)
    del light.graph.output[:]
    light.graph.output.append(helper.make_tensor_value_info(vector, TensorProto.FLOAT, None))
    session = runtime.open_session(light.SerializeToString(), "cpu", weights=weights)
    dtype = runtime.input_dtype(session)
    rows = []
    for picture in pictures:
        read = read_seen(picture, Reading(preprocessing, keep_image=False))
        batch = preprocessing.normalise(read.seen if read.values is None else read.values)
        batch = input_.fed(np.repeat(batch, input_.batch or 1, axis=0).astype(dtype))
        try:
            (values,) = runtime.run(session, [vector], {input_.name: batch})
        except Exception as error:
            raise out_of_memory(error) or ModelError(
                f"The model fails on an input of shape {batch.shape}: {error}. Compare the preprocessing with what "
                "the encoder was trained with, and set it with --preprocess."
            ) from error
        rows.append(np.asarray(values[0]))
    return np.stack(rows)


def names_of_files(files: Iterable[Path]) -> tuple[str, ...]:
    """A class name for each file: its name without the ending, or its path where several files have one name."""
    paths = list(files)
    stems = [path.stem for path in paths]
    return tuple(stem if stems.count(stem) == 1 else path.as_posix() for stem, path in zip(stems, paths, strict=True))
