"""The metadata of an explainable model held against its graph: what they both say has to agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, zip_longest

from secam_onnx.classifier.analysis import head_record
from secam_onnx.classifier.metadata import LOGITS, PROBABILITIES, BranchRecord, HeadRecord, ModelMetadata
from secam_onnx.errors import ModelError
from secam_onnx.graph.index import Graph
from secam_onnx.head import OWN_LAYOUT, Head, features_name
from secam_onnx.photograph.choose_preprocessing import check_preprocessing, input_for

__all__ = ["check_names", "corrected"]

_AGAIN = "Export the original model again with `secam-onnx export`."
_NEAR = 1e-6  # of spans


def check_names(metadata: ModelMetadata, graph: Graph) -> None:
    """Make sure that all tensors are there, and that the model takes what the preprocessing makes.

    Raises
    ------
    ModelError
        A tensor is missing or has another shape, or the input is another one.
    """
    head = metadata.head
    exposed = [features_name(index) for index in range(len(head.all_features))]
    if head.special:
        exposed[0] += OWN_LAYOUT
    there = [
        *(("feature map", name, graph.producer(name) is not None) for name in head.all_features),
        ("output", metadata.explained_output, graph.producer(metadata.explained_output) is not None),
        ("logits", metadata.logits, metadata.logits in graph.outputs),
        ("probabilities", metadata.probabilities, metadata.probabilities in (None, *graph.outputs)),
        *(("added output", name, name in graph.outputs) for name in exposed),
    ]
    for what, name, found in there:
        if not found:
            raise ModelError(f"The model's secam_onnx metadata names the {what} {name!r}, which is not in it. {_AGAIN}")
    if head.own_shape is not None:
        found_shape = graph.shape(head.features)
        graph.unknown_shapes.discard(head.features)  # which needs no run, as the metadata has it
        if found_shape is not None and not _like(found_shape, head.own_shape):
            raise _contradiction("head.shape", head.shape, f"{head.features!r} has shape {found_shape}")
    check_preprocessing(input_for(graph, metadata.preprocessing), metadata.preprocessing)


def corrected(metadata: ModelMetadata, head: Head, graph: Graph) -> ModelMetadata:
    """The metadata with what the head that was found in the graph says of itself.

    Raises
    ------
    ModelError
        They contradict each other in what is computed, and not in words only.
    """
    said, found = metadata.head, head_record(head, graph)
    for what, stated, there in chain(
        _of_classes(metadata, head), _of_map(said, found, "head"), _of_branches(said, found)
    ):
        raise _contradiction(what, stated, f"the graph has {there}")
    return replace(metadata, head=replace(said, kind=found.kind, weights=found.weights, steps=found.steps))


def _of_classes(metadata: ModelMetadata, head: Head) -> Iterator[tuple[str, object, object]]:
    """What the metadata says of classes where the graph says something else: the entry, and both."""
    output, own = head.class_output, metadata.logits
    probabilities = (None, own) if output.probabilities is None else (output.probabilities, PROBABILITIES)
    if metadata.activation != output.activation:
        yield "activation", metadata.activation, output.activation
    if metadata.logits not in (output.logits, LOGITS):
        yield "logits", metadata.logits, output.logits
    if metadata.probabilities not in probabilities:
        yield "probabilities", metadata.probabilities, output.probabilities
    for place, (one, other) in enumerate(zip_longest(metadata.head.pick or (), output.pick or ())):
        if one != other:
            yield f"head.pick[{place}]", one, other
    if metadata.labels is not None and len(metadata.labels) != head.n_classes:
        yield "labels", f"{len(metadata.labels)} labels for {head.n_classes} classes", f"{head.n_classes}"


def _of_map(
    said: HeadRecord | BranchRecord, found: HeadRecord | BranchRecord, where: str
) -> Iterator[tuple[str, object, object]]:
    for name in ("features", "layout", *(("prefix", "suffix", "algebra", "attention") if where == "head" else ())):
        stated, there = getattr(said, name), getattr(found, name)
        if stated != there:
            yield f"{where}.{name}", stated, there
    if not _like(said.shape, found.shape):
        yield f"{where}.shape", said.shape, found.shape
    ends = zip(chain(*said.span), chain(*found.span), strict=True)
    if not all(math.isclose(one, other, abs_tol=_NEAR) for one, other in ends):
        yield f"{where}.span", said.span, found.span


def _of_branches(said: HeadRecord, found: HeadRecord) -> Iterator[tuple[str, object, object]]:
    if len(said.further) != len(found.further):
        yield "head.further", f"{len(said.further)} branches", f"{len(found.further)}"
        return
    for place, (one, other) in enumerate(zip(said.further, found.further, strict=True)):
        yield from _of_map(one, other, f"head.further[{place}]")


def _like(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    """Whether two shapes agree where both are known."""
    return len(one) == len(other) and all(None in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _contradiction(what: str, stated: object, found: str) -> ModelError:
    shown = repr(stated) if isinstance(stated, str) else str(stated)
    return ModelError(f"The model's secam_onnx metadata has the {what} {shown}, but {found}. {_AGAIN}")
