"""What is in a folder, in order and without a list of all of it; what cannot be looked at is an error of its own."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from secam_onnx.errors import ImageError
from secam_onnx.files import printable

__all__ = ["Found", "entries", "has_magic", "matches", "named_below"]

Entry = TypeVar("Entry")

_SORTED = 10_000  # entries of a folder that are sorted at a time, which bounds the memory


has_magic: Callable[[str], bool] = glob.has_magic
"""Whether a text is a pattern."""


class Found(NamedTuple):
    """Something in a folder.

    Attributes
    ----------
    path, name : str
        Its path, which begins with the folder's, and its name.
    folder : bool
        Whether it is a folder itself, and no link to one.
    error : ImageError or None
        Why it cannot be looked at; for the folder itself, why it cannot be listed any further.
    """

    path: str
    name: str
    folder: bool
    error: ImageError | None = None


def _unreadable(path: str, error: OSError, what: str = "The folder ") -> ImageError:
    """The error for a path at which the operating system says no; it has the other as its cause."""
    todo = "change its permissions or leave it out" if isinstance(error, PermissionError) else "mend it or leave it out"
    found = ImageError(f"{what}{printable(path)} cannot be read: {error.strerror or error}; {todo}.")
    found.__cause__ = error
    return found


def entries(top: str, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Found]:
    """Go through a folder, without hidden files and folders.

    Parameters
    ----------
    top : str
        The folder; empty for the current one.
    wanted : callable
        Whether a file of that name is looked at; folders are, whatever they are called.

    Yields
    ------
    Found
        Sorted by name, in portions.
    """
    try:
        with os.scandir(top or ".") as found:
            visible = (entry for entry in found if not entry.name.startswith("."))
            for entry in _in_order(visible, key=lambda entry: entry.name):
                yield from _looked_at(os.path.join(top, entry.name), entry, wanted)  # noqa: PTH118 (text in, text out)
    except OSError as error:
        yield Found(top, "", True, _unreadable(top or ".", error))


def _looked_at(path: str, entry: os.DirEntry[str], wanted: Callable[[str], bool]) -> Iterator[Found]:
    try:
        folder = entry.is_dir(follow_symlinks=False)
        if folder or (wanted(entry.name) and not entry.is_dir()):  # the second follows links: each may lead in a circle
            yield Found(path, entry.name, folder)
    except OSError as error:
        yield Found(path, entry.name, False, _unreadable(path, error, ""))


def matches(pattern: str, exclude: str | None = None) -> Iterator[Found]:
    """Go through what a pattern matches; `**` stands for any number of folders, but follows no links to folders.

    The module `glob` follows them: two links that lead to their own folder make 2^40 paths.

    Parameters
    ----------
    pattern : str
        With `*`, `?`, `[...]` and `**`.
    exclude : str, optional
        The real path of a folder that `**` does not stand for, nor one below it.

    Yields
    ------
    Found
        What is there; `folder` is not known and False, except where there is an error.
    """
    head, tail = os.path.split(pattern)
    if not head or head == pattern:
        tops: Iterable[Found] = [Found(head, "", True)]
    elif has_magic(head):
        tops = matches(head, exclude)
    else:
        tops = [Found(head, "", True)]
    for top in tops:
        if top.error is not None:
            yield top
        elif tail == "**":
            yield from _folders(top, exclude)
        elif has_magic(tail):
            yield from _matching(top.path, tail)
        elif os.path.lexists(path := os.path.join(top.path, tail)):  # noqa: PTH118 (text in, text out)
            yield Found(path, tail, False)


def _matching(top: str, tail: str) -> Iterator[Found]:
    match = re.compile(fnmatch.translate(os.path.normcase(tail))).match
    try:
        with os.scandir(top or ".") as found:
            names = (entry.name for entry in found if match(os.path.normcase(entry.name)))
            for name in _in_order(name for name in names if not name.startswith(".") or tail.startswith(".")):
                yield Found(os.path.join(top, name), name, False)  # noqa: PTH118 (text in, text out)
    except (FileNotFoundError, NotADirectoryError):  # a pattern may well meet those
        return
    except OSError as error:
        yield Found(top, "", True, _unreadable(top or ".", error))


def named_below(path: str | None, top: str) -> str | None:
    """A real path as it is called by who walks down from a folder without following links; None if it is elsewhere."""
    real = os.path.realpath(top or ".")
    inside = os.path.join(real, "")  # noqa: PTH118 (text in, text out)
    if path == real:
        return top
    return os.path.join(top, path[len(inside) :]) if path is not None and path.startswith(inside) else None  # noqa: PTH118


def _folders(top: Found, exclude: str | None) -> Iterator[Found]:
    """A folder and all below it, by depth."""
    excluded = named_below(exclude, top.path)
    if not os.path.isdir(top.path or ".") or excluded == top.path:  # noqa: PTH112 (False for what cannot be looked at)
        return
    levels = [iter([top])]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif found.error is not None:
            yield found
        else:
            yield Found(found.path, found.name, False)
            levels.append(entry for entry in entries(found.path, lambda name: False) if entry.path != excluded)


def _in_order(found: Iterable[Entry], key: Callable[[Entry], str] | None = None) -> Iterator[Entry]:
    """Sort entries in portions, without a list of all of them."""
    found = iter(found)
    while some := list(itertools.islice(found, _SORTED)):
        yield from sorted(some, key=key)  # type: ignore[type-var, arg-type]
