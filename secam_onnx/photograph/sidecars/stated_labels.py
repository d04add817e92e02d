"""The class names that a model states: in its own metadata, or in the files beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain

from secam_onnx.labels.objects import classes_in_words

__all__ = ["stated_labels"]


def stated_labels(
    metadata: Mapping[str, str], model: str | os.PathLike[str] | None, n_classes: int | None
) -> tuple[tuple[str, ...] | None, str]:
    """The first list of class names that has as many as the model has classes.

    A list of another length is passed over: the file may belong to another model or another program.

    Parameters
    ----------
    metadata : mapping of str to str
        The model's `metadata_props`, which come first.
    model : path or None
        The ONNX file, if the files beside it are read as well.
    n_classes : int or None
        How many classes the model has; None if only a run tells.

    Returns
    -------
    labels : tuple of str or None
        None if there is no such list.
    note : str
        Where the names come from, or why none are used; empty if nothing is stated.
    """
    from secam_onnx.photograph.sidecars import beside_model, metadata_props  # exported files need none of their readers

    notes = []
    beside = () if model is None else beside_model.label_sources(model)
    for where, read in chain(metadata_props.label_sources(metadata), beside):
        try:
            labels = read()
        except ValueError as error:
            notes.append(f"none in {where}: {error}")
            continue
        if n_classes in (None, len(labels)):
            return labels, f"read from {where}"
        notes.append(f"none in {where}: it names {classes_in_words(len(labels))}, and the model has {n_classes}")
    return None, "; ".join(notes)
