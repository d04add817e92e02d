"""Which tensor of an encoder is the embedding of the image."""

from __future__ import annotations

from collections.abc import Sequence

from secam_onnx.classifier.class_names import EMBEDDINGS
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export.pooled_vector import POOLS, pooled_length
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, shape_text
from secam_onnx.graph.probe import probe_shapes
from secam_onnx.photograph.model_input import image_input
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["embedding_length", "find_embedding"]

_SIDE = 224

_EXPECTED: dict[str | None, str] = {
    None: "(N, D), one vector for each image,",
    "class": "(N, tokens, D) with a class token",
    "mean": "(N, tokens, D) or (N, D, h, w) to take the mean of",
}
_ADVICE: dict[str | None, str] = {
    None: "Maps and tokens hold one vector for each place: --pool class takes the first token, --pool mean the mean of "
    "all (pool=... in Python). Or name another tensor with --embedding NAME (embedding=NAME).",
    **dict.fromkeys(POOLS, "Leave --pool out for a vector that is pooled already, or name another tensor."),
}


def find_embedding(
    graph: Graph, wanted: str | None = None, pool: str | None = None, vectors: tuple[int, int] | None = None
) -> str:
    """Find the tensor that holds one vector for each image, or tokens that are pooled to one.

    It is the output of the shape `(N, D)`, or `(N, D, 1, 1)`; of several, the one that is named as embeddings are.

    Parameters
    ----------
    graph : Graph
        A model with one input.
    wanted : str, optional
        The tensor that the user names.
    pool : str, optional
        See `pooled_length`.
    vectors : (int, int), optional
        The shape of the class vectors, `(classes, D)`; outputs of another length do not count.

    Raises
    ------
    ModelError
        No output has such a shape.
    OptionError
        The tensor that the user names does not exist, nothing fits that or the pool, or several outputs would do.
    """
    own = [name for name in graph.outputs if not name.startswith(RESERVED)]
    if wanted is not None:
        if graph.producer(wanted) is None:
            raise OptionError(
                f"The model has no tensor {wanted!r} (--embedding); its outputs are {', '.join(map(repr, own))}."
            )
        own = [wanted]
    shapes = _shapes(graph, own)
    lengths = {name: size for name in own if (size := pooled_length(shapes[name], pool)) is not None}
    fitting = [name for name, size in lengths.items() if vectors is None or size == vectors[1]]
    if not fitting and lengths and vectors is not None:
        raise OptionError(_other_length(shapes, lengths, vectors))
    if not fitting:
        raise (ModelError if wanted is None and pool is None else OptionError)(
            f"No embedding {_EXPECTED[pool]} was found: {_listed(own, shapes) or 'no outputs'}. {_ADVICE[pool]}"
        )
    named = [name for name in EMBEDDINGS if name in fitting]
    if len(fitting) > 1 and not named:
        raise OptionError(
            f"Several tensors could be the embedding: {_listed(fitting, shapes)}. Choose one with --embedding NAME "
            "(embedding=NAME in Python)."
        )
    return (named or fitting)[0]


def embedding_length(graph: Graph, tensor: str) -> int:
    """D of an embedding `(N, D)`; see `find_embedding` for the parameters and errors."""
    find_embedding(graph, tensor)
    return pooled_length(graph.shape(tensor), None) or 0


def _shapes(graph: Graph, names: Sequence[str]) -> dict[str, Shape | None]:
    """The shapes of tensors, measured in a run where inference leaves them open."""
    shapes = {name: graph.shape(name) for name in names}
    unknown = [name for name, shape in shapes.items() if shape is None or None in shape[1:]]
    if unknown:
        input_ = image_input(graph)
        sides = dict(zip("HW", (side or _SIDE for side in input_.size), strict=True))
        lengths = {"N": 2, "C": input_.channels, **sides}
        shapes |= probe_shapes(graph, unknown, tuple(lengths[axis] for axis in input_.axes))
        graph.learn({name: shape for name in unknown if (shape := shapes[name]) is not None})
    return shapes


def _other_length(shapes: dict[str, Shape | None], lengths: dict[str, int], vectors: tuple[int, int]) -> str:
    sizes = list(dict.fromkeys(lengths.values()))
    turned = f" They may be transposed: (classes, D) was expected, {vectors} was found."
    return (
        f"The class vectors have {vectors[1]} numbers each, but the embedding has {' or '.join(map(str, sizes))}: "
        f"{_listed(list(lengths), shapes)}.{turned if vectors[0] in sizes else ''} Take text embeddings of the same "
        "model, or prototypes of the same tensor; or name another tensor with --embedding NAME (embedding=NAME in "
        "Python)."
    )


def _listed(names: Sequence[str], shapes: dict[str, Shape | None]) -> str:
    return ", ".join(f"{name!r} {shape_text(shapes[name])}" for name in names)
