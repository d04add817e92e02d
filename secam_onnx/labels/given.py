"""Class names as they are given in Python: a sequence, a mapping, or the path of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from secam_onnx.errors import OptionError
from secam_onnx.labels.objects import in_order

__all__ = ["given_labels"]


def given_labels(labels: Any) -> tuple[str, ...]:
    """Class names as they are given in Python.

    Parameters
    ----------
    labels : path, sequence of str, or mapping
        A file for `read_labels`; names in order of the index; `{index: name}` or `{name: index}`.

    Raises
    ------
    OptionError
        The value is none of these.
    """
    if isinstance(labels, str | os.PathLike):
        from secam_onnx.labels.label_files import read_labels  # with its parsers, which an explanation rarely needs

        return read_labels(labels)
    if hasattr(labels, "tolist"):  # an array, also of pandas
        labels = labels.tolist()
    if isinstance(labels, set | frozenset):
        raise OptionError("labels is a set, which has no order; give a list of names in order of the index.")
    try:
        return in_order(labels if isinstance(labels, Mapping | Sequence) else list(labels))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"labels does not hold class names ({error}); give a list of names, {{index: name}}, or the path of a file."
        ) from error
