"""Finding classes by what a user asks for: an index, a name, the highest ones, or all."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from secam_onnx.errors import ClassError, OptionError
from secam_onnx.labels.objects import MAX_DIGITS, classes_in_words
from secam_onnx.shown_text import LONGEST_NAME

__all__ = ["ClassQuery", "as_queries", "class_codes", "class_name", "find_class", "resolve_classes"]

ClassQuery = int | str | np.integer[Any]
"""A class by index, by name, as `"top-K"` or as `"all"`; `"index:2"` and `"name:2"` where either could be meant."""

_LIKELY = 100  # names that a misspelt one is compared with
_NUMBER = re.compile(r"[+-]?\d+")


def class_name(labels: Sequence[str] | None, index: int) -> str:
    """The name of a class, or `class INDEX` where the model has no labels."""
    return labels[index] if labels else f"class {index}"


def as_queries(classes: ClassQuery | Iterable[ClassQuery]) -> list[ClassQuery]:
    """One class or several, as a list.

    Raises
    ------
    OptionError
        A value cannot mean a class.
    """
    if isinstance(classes, np.ndarray) and not classes.ndim:
        classes = classes[()]
    if isinstance(classes, str | bytes) or not isinstance(classes, Iterable):
        queries: list[Any] = [classes]
    else:
        queries = list(classes)
    if not queries:
        raise OptionError("No class was asked for; give an index, a name, 'top-1' or 'all'.")
    for query in queries:
        _check_type(query)
    return queries


def find_class(query: ClassQuery, labels: Sequence[str] | None, n_classes: int) -> int:
    """Find one class by index or name (letter case does not matter, nor underscores for spaces).

    A number is an index. Text of digits is a name if a class has it, else an index. If it is the name of one class and
    the index of another, it must be written as `index:2` or `name:2`.

    Raises
    ------
    ClassError
        The index is out of range, the name is unknown (the message lists near matches), or several classes fit.
    OptionError
        The query is neither a number nor text.
    """
    index, name = _readings(query)
    named = [] if name is None or not labels else _called(name, labels)
    by_index = index is not None and 0 <= index < n_classes
    if index is not None and by_index and set(named) <= {index}:
        return index
    if by_index and len(named) == 1:
        raise ClassError(
            f"{name!r} is the index of {class_name(labels, index or 0)!r} and the name of class {named[0]}; ask for "
            f"'index:{index}' or 'name:{name}'."
        )
    if len(named) == 1:
        return named[0]
    if named:
        some = ", ".join(f"index:{found}" for found in named[:20]) + (", ..." if len(named) > 20 else "")
        raise ClassError(f"{len(named)} classes have the name {name!r}; ask for one by its index: {some}.")
    if index is not None:
        named_so = ", and none has that name" if labels and name is not None else ""
        raise ClassError(
            f"Class {str(query).strip()[:40]} is out of range; this model has {classes_in_words(n_classes)}, "
            f"{'0' if n_classes == 1 else f'0 to {n_classes - 1}'}{named_so}."
        )
    assert name is not None
    if not labels:
        raise ClassError(f"Unknown class {name!r}: this model file has no class names; give an index from 0.")
    raise ClassError(f"Unknown class {name!r}. {_hint(name, labels)}")


def _readings(query: ClassQuery) -> tuple[int | None, str | None]:
    """What a query may mean: an index, a name, or either."""
    _check_type(query)
    if not isinstance(query, str):
        return int(query), None
    text = query.strip()
    prefix, colon, rest = text.partition(":")
    kind, rest = prefix.strip().casefold() if colon else "", rest.strip()
    if kind == "name":
        return None, rest
    if kind == "index" and _NUMBER.fullmatch(rest):
        return _number(rest), None
    return (_number(text), text) if _NUMBER.fullmatch(text) else (None, text)


def _check_type(query: object) -> None:
    if isinstance(query, bool) or not isinstance(query, int | np.integer | str):
        shown = "None" if query is None else f"of type {type(query).__name__}"
        raise OptionError(f"A class is {shown}; give an index, a name, 'top-1' or 'all'.")


def _number(text: str) -> int:
    return int(text) if len(text) <= MAX_DIGITS else 10**MAX_DIGITS  # out of range


def _called(name: str, labels: Sequence[str]) -> list[int]:
    """The classes of this name; a number also finds names that are written differently, such as `07`."""
    wanted = _spelled(name)
    found = [index for index, label in enumerate(labels) if _spelled(label) == wanted]
    if found or not _NUMBER.fullmatch(name):
        return found
    number = _number(name)
    return [index for index, label in enumerate(labels) if _NUMBER.fullmatch(label) and _number(label) == number]


def _hint(name: str, labels: Sequence[str]) -> str:
    import difflib  # for this message alone

    wanted, names = _spelled(name[:LONGEST_NAME]), [_spelled(label[:LONGEST_NAME]) for label in labels]
    near = [label for label in names if wanted and wanted in label]
    # To compare two names takes the product of their lengths, which of 20,000 names would be seconds.
    pairs = {wanted[place : place + 2] for place in range(len(wanted) - 1)}
    likely = heapq.nlargest(_LIKELY, names, key=lambda label: sum(pair in label for pair in pairs))
    near = [*near, *difflib.get_close_matches(wanted, likely, n=5, cutoff=0.6)]
    options = [f"{labels[index]!r} ({index})" for index in list(dict.fromkeys(map(names.index, near)))[:5]]
    return f"Near matches: {', '.join(options)}." if options else "`secam-onnx inspect MODEL --labels` lists them."


def resolve_classes(
    queries: Sequence[ClassQuery], logits: np.ndarray, labels: Sequence[str] | None = None
) -> list[int]:
    """Turn what a user asks for into class indices, in that order, without repeats.

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
    ClassError, OptionError
        See `find_class`; also a `top-K` with K outside 1..classes.
    """
    ranked = np.argsort(-logits, kind="stable").tolist()
    codes = class_codes(queries, len(logits), labels)
    return list(dict.fromkeys(code if code >= 0 else ranked[-1 - code] for code in codes))


def class_codes(queries: Sequence[ClassQuery], n_classes: int, labels: Sequence[str] | None = None) -> list[int]:
    """The same before the logits are known: indices, or -1 for the highest logit, -2 for the next one, and so on.

    Raises
    ------
    ClassError, OptionError
        As `resolve_classes`.
    """
    codes: list[int] = []
    for query in queries:
        text = query.strip().casefold() if isinstance(query, str) else ""
        top = re.fullmatch(r"top-?(\d+)", text)
        if text == "all":
            codes += range(n_classes)
        elif top:
            count = int(top[1]) if len(top[1]) <= MAX_DIGITS else 0
            if not 1 <= count <= n_classes:
                raise ClassError(
                    f"{query!r}: this model has {classes_in_words(n_classes)}; ask for top-1"
                    f"{f' to top-{n_classes}' * (n_classes > 1)}."
                )
            codes += range(-1, -1 - count, -1)
        else:
            codes.append(find_class(query, labels, n_classes))
    return list(dict.fromkeys(codes))


def _spelled(name: str) -> str:
    """Without case and underscores, which people type as they like."""
    return name.casefold().replace("_", " ")
