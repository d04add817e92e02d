"""Class names: reading them, and finding a class by what a user typed."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secam_onnx.errors import ClassError, OptionError

__all__ = [
    "ClassQuery",
    "class_codes",
    "class_name",
    "find_class",
    "in_order",
    "read_labels",
    "resolve_classes",
    "same_class",
]

ClassQuery = int | str
"""A class by index, name, `"top-K"` or `"all"`."""

_DIGITS = 18  # longer numbers are out of range anyway, and Python refuses to convert the longest
_HEADERS = ("name", "names", "label", "labels", "class", "class_name", "classname")  # of a CSV with a single column


def class_name(labels: Sequence[str] | None, index: int) -> str:
    """The name of a class, or `class INDEX` where the model has no labels."""
    return labels[index] if labels else f"class {index}"


def same_class(query: ClassQuery, index: int, label: str) -> bool:
    """Whether a user's index or name means this class."""
    text = str(query).strip()
    return text == str(index) or _spelled(text) == _spelled(label)


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names: a text file with one name a line, JSON, or CSV.

    JSON is a list of names, `{"0": "tench", ...}`, or Keras's `{"0": ["n01440764", "tench"], ...}`. CSV has a column of
    names, or a column of indices and one of names, its rows in any order, with or without a header.

    Raises
    ------
    OptionError
        The file is missing, not UTF-8 text, or not of these forms.
    """
    file = Path(path)
    readers: dict[str, Callable[[str], Any]] = {".json": json.loads, ".csv": _names_in_csv}
    try:
        text = file.read_text(encoding="utf-8-sig")
        return in_order(readers.get(file.suffix.lower(), _names_in_lines)(text))
    except OSError as error:
        raise OptionError(f"Cannot read labels from {file}: {error.strerror}.") from error
    except KeyError as error:
        raise OptionError(f"{file}: the key {error} is missing; labels count from 0 without gaps.") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise OptionError(
            f"{file} holds no labels ({error}); give one name a line, a JSON list, or CSV of indices and names."
        ) from error


def in_order(names: Any) -> tuple[str, ...]:
    """Class names in order of the index, from a list, or from an object whose keys are the indices as text.

    Raises
    ------
    KeyError
        An index is missing.
    ValueError
        Neither list nor object, or a class without a name.
    """
    if isinstance(names, Mapping):
        names = [names[str(index)] for index in range(len(names))]
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise ValueError("every class needs a name")
    # Keras's imagenet_class_index.json has ["n01440764", "tench"] for each class.
    names = [entry[-1] if isinstance(entry, list) and entry else entry for entry in names]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("every class needs a name")
    return tuple(name.strip() for name in names)


def _names_in_lines(text: str) -> list[str]:
    return text.rstrip().splitlines()


def _names_in_csv(text: str) -> list[str] | dict[str, str]:
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # spreadsheets write what their country is used to
    reader = csv.reader(io.StringIO(text.strip(), newline=""), delimiter=delimiter)
    rows = [[cell.strip() for cell in row] for row in reader]
    widths = {len(row) for row in rows}
    if widths == {1}:
        names = [row[0] for row in rows]
        return names[1:] if names[0].casefold() in _HEADERS else names
    if widths != {2}:
        found = " or ".join(map(str, sorted(widths))) or "no"
        raise ValueError(f"its rows have {found} columns where one or two were expected")
    if not any(cell.isdecimal() for cell in rows[0]):
        rows = rows[1:]
    turned = not all(row[0].isdecimal() for row in rows)  # some write the name first
    indexed = [(row[1], row[0]) if turned else (row[0], row[1]) for row in rows]
    odd = next((index for index, _ in indexed if not index.isdecimal()), None)
    if odd is not None:
        raise ValueError(f"{odd!r} is no index; names with a comma need quotes")
    names_by_index: dict[str, str] = {}
    for index, name in indexed:
        if names_by_index.setdefault(str(int(index)), name) != name:
            raise ValueError(f"the index {index} stands there twice")
    return names_by_index


def find_class(query: ClassQuery, labels: Sequence[str] | None, n_classes: int) -> int:
    """Find one class by index or name (letter case does not matter, nor underscores for spaces).

    Raises
    ------
    ClassError
        Out of range, unknown (with near matches), or a name that several classes share.
    """
    text = str(query).strip()
    if re.fullmatch(r"[+-]?\d+", text):
        if len(text) <= _DIGITS and 0 <= int(text) < n_classes:
            return int(text)
        raise ClassError(
            f"Class {text[:40]} is out of range; this model has {n_classes} classes, 0 to {n_classes - 1}."
        )
    if not labels:
        raise ClassError(f"Unknown class {text!r}: this model file has no class names; give an index from 0.")
    wanted = _spelled(text)
    names = [_spelled(label) for label in labels]
    found = [index for index, name in enumerate(names) if name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise ClassError(f"{len(found)} classes are called {text!r}; give one of the indices {_listed(found)}.")
    near = [name for name in names if wanted and wanted in name]
    near = [*near, *difflib.get_close_matches(wanted, names, n=5, cutoff=0.6)]
    options = [f"{labels[index]!r} ({index})" for index in list(dict.fromkeys(map(names.index, near)))[:5]]
    hint = f"Near matches: {', '.join(options)}." if options else "`secam-onnx inspect MODEL --labels` lists them."
    raise ClassError(f"Unknown class {text!r}. {hint}")


def resolve_classes(
    queries: Sequence[ClassQuery], logits: np.ndarray, labels: Sequence[str] | None = None
) -> list[int]:
    """Turn what a user asked for into class indices, in that order, without repeats.

    Parameters
    ----------
    queries : sequence of int or str
        Indices, names, `"top-K"` (the K highest logits) or `"all"`.
    logits : ndarray
        `(classes,)`.
    labels : sequence of str, optional
        Class names.

    Raises
    ------
    ClassError
        See `find_class`; also a `top-K` with K outside 1..classes.
    """
    ranked = np.argsort(-logits, kind="stable").tolist()
    codes = class_codes(queries, len(logits), labels)
    return list(dict.fromkeys(code if code >= 0 else ranked[-1 - code] for code in codes))


def class_codes(queries: Sequence[ClassQuery], n_classes: int, labels: Sequence[str] | None = None) -> list[int]:
    """The same before logits are known: indices, or -1 for the highest logit, -2 for the next one, and so on.

    Raises
    ------
    ClassError
        As `resolve_classes`.
    """
    codes: list[int] = []
    for query in queries:
        text = str(query).strip().casefold()
        top = re.fullmatch(r"top-?(\d+)", text)
        if text == "all":
            codes += range(n_classes)
        elif top:
            count = int(top[1]) if len(top[1]) <= _DIGITS else 0
            if not 1 <= count <= n_classes:
                raise ClassError(f"{query!r}: this model has {n_classes} classes; ask for top-1 to top-{n_classes}.")
            codes += range(-1, -1 - count, -1)
        else:
            codes.append(find_class(query, labels, n_classes))
    return list(dict.fromkeys(codes))


def _spelled(name: str) -> str:
    """Without differences that nobody types alike: case, and the underscores of file names."""
    return name.casefold().replace("_", " ")


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices))
