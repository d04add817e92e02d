"""The class names of a model, and whether they fit what is explained."""

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

__all__ = ["check_labels", "name_classes"]


def name_classes(
    graph: Graph,
    head: Head,
    labels: tuple[str, ...] | None,
    file: Path | None,
    activation: str | None,
) -> tuple[Head, tuple[str, ...] | None, dict[str, str]]:
    """The head with its class names, from wherever they come; one sigmoid with two names is made a pair.

    Parameters
    ----------
    graph, head
        The model's.
    labels : tuple of str or None
        Names that the user gives.
    file : Path or None
        Where the model lies, if the files beside it are to be read.
    activation : str or None
        What the user says of raw outputs.

    Returns
    -------
    head : Head
        The same, or as a pair of classes.
    labels : tuple of str or None
        The names, if there are any.
    notes : dict
        For the metadata's `origin`: where the names come from, or why there are none.

    Raises
    ------
    OptionError
        Names were given that do not fit.
    """
    single = head.n_classes == 1 and "sigmoid" in (head.activation, activation)
    renumbered = _renumbered(head)
    if labels is not None and renumbered:
        raise OptionError(
            f"{head.output!r} numbers its classes {renumbered}, so names by number would go to other classes. Leave "
            f"the names out, or name the tensor before (--logits {head.logits}), which takes them in its own order."
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
    return head, labels, {"labels": note} if note else {}


def _as_many(graph: Graph, head: Head, n_classes: int) -> list[str]:
    """Other outputs with as many classes, of other logits; one sigmoid may have two names."""
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
    """The numbers that a table in the graph gives the classes, where they are those of other classes; else empty."""
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
        pair = " For one logit with two names, negative and positive: --activation sigmoid."
        raise OptionError(miscounted(labels, logits[1]) + (pair if (logits[1], len(labels)) == (1, 2) else ""))
