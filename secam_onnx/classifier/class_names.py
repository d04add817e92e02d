"""Class names: where they come from, and whether they fit the explained output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from secam_onnx.errors import HeadError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape
from secam_onnx.head import (
    BINARY,
    Head,
    find_heads,
)
from secam_onnx.labels.objects import miscounted
from secam_onnx.photograph.sidecars.stated_labels import stated_labels

__all__ = ["EMBEDDINGS", "check_labels", "name_classes"]

EMBEDDINGS = (
    "image_embeds",
    "image_features",
    "image_embedding",
    "embedding",
    "embeddings",
    "features",
    "pooler_output",
)
"""Names of embeddings, the likeliest first: what stands before comes after projection, where there is one."""


def name_classes(
    graph: Graph,
    head: Head,
    labels: tuple[str, ...] | None,
    file: Path | None,
    activation: str | None,
) -> tuple[Head, tuple[str, ...] | None, dict[str, str]]:
    """Find the class names of a head; one sigmoid with two names becomes a pair of classes.

    Parameters
    ----------
    graph, head
        The index of the model, and its head.
    labels : tuple of str or None
        The user's names.
    file : Path or None
        Where the model lies; None if the files beside it are not to be read.
    activation : str or None
        The user's choice for raw outputs.

    Returns
    -------
    head : Head
        The head, or the head as a pair of classes.
    labels : tuple of str or None
        The names; None if there are none.
    notes : dict
        An entry for the metadata's `origin`: where the names come from, or why there are none.

    Raises
    ------
    OptionError
        The user's names do not fit.
    """
    single = head.n_classes == 1 and "sigmoid" in (head.activation, activation)
    renumbered = _renumbered(head)
    if labels is not None and renumbered:
        raise OptionError(
            f"{head.output!r} numbers its classes {renumbered}, so names in order would go to the wrong classes. Leave "
            f"them out, or explain the tensor before it (--logits {head.logits}), which has its classes in order."
        )
    if labels is not None:
        if single and len(labels) == len(BINARY):
            return replace(head, class_output=head.class_output.as_pair()), labels, {}
        check_labels(labels, (None, head.n_classes))
        return head, labels, {}
    note, found = "", head
    stated = {entry.key: entry.value for entry in graph.model.metadata_props}
    if single:
        labels, note = stated_labels(stated, file, len(BINARY))
        head = head if labels is None else replace(head, class_output=head.class_output.as_pair())
    if labels is None and not renumbered:
        labels, note = stated_labels(stated, file, head.n_classes)
    if labels is not None and (others := _as_many(graph, found, len(labels))):
        head, labels = found, None
        note = (
            f"none: {note or 'the file has names'}, but it does not say whether they are those of {head.output!r} or "
            f"of {', '.join(map(repr, others))}, with as many classes; --labels says it"
        )
    if labels is None and head.class_output.labels is not None and len(head.class_output.labels) == head.n_classes:
        labels, note = head.class_output.labels, "read from the graph (ZipMap or a table of names)"
    if labels is None and not note and head.output in EMBEDDINGS:
        note = (
            f"none: {head.output!r} is named as embeddings are, whose numbers are no classes; `secam-onnx export "
            "--classes` puts classes on an encoder"
        )
    return head, labels, {"labels": note} if note else {}


def _as_many(graph: Graph, head: Head, n_classes: int) -> list[str]:
    """Outputs of other logits with the same number of classes; one sigmoid may count as two."""
    if len(graph.outputs) < 2:
        return []
    try:
        heads = find_heads(graph)
    except HeadError:
        return []
    return [
        other.output
        for other in heads
        if other.logits != head.logits
        and (other.n_classes == n_classes or (other.n_logits, other.activation, n_classes) == (1, "sigmoid", 2))
    ]


def _renumbered(head: Head) -> str:
    """The numbers that a table in the graph gives the classes, if they are a permutation; else an empty string."""
    own = [str(index) for index in range(head.n_classes)]
    names = list(head.class_output.labels or ())
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8) if names != own and sorted(names) == sorted(own) else ""


def check_labels(labels: Sequence[str], logits: Shape | None) -> None:
    """Compare class names with the shape of the logits, `(N, classes)`.

    Raises
    ------
    OptionError
        The number of labels is not the number of classes.
    """
    if logits is not None and logits[1] not in (None, len(labels)):
        pair = " If the names are the negative and the positive class of one logit, add --activation sigmoid."
        raise OptionError(miscounted(labels, logits[1]) + (pair if (logits[1], len(labels)) == (1, 2) else ""))
