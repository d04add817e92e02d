"""Lists of images: text files, pipes and the standard input, one name per line, read as they come."""

from __future__ import annotations

import codecs
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from secam_onnx.errors import OptionError

__all__ = ["STDIN", "is_whole", "listed"]

STDIN = "-"
"""Stands for the standard input."""

_LONGEST = 64 << 10  # bytes of a line; paths have 4096 at most, addresses a few more
_FIRST = 3  # lines: a null character in them tells a file that is no text


def is_whole(name: str) -> bool:
    """Whether a list is a regular file, which can be read twice: not the standard input, nor a pipe."""
    return name != STDIN and os.path.isfile(name)  # noqa: PTH113 (False for what cannot be looked at)


def listed(name: str) -> Iterator[str]:
    """The names in a list.

    Parameters
    ----------
    name : str
        A text file, in UTF-8 or with a byte order mark; a pipe, of which the other end may still be written;
        or `-` for the standard input.

    Yields
    ------
    str
        One for each line that is not empty.

    Raises
    ------
    OptionError
        It cannot be read, or is no text.
    """
    if name == STDIN:
        yield from _names(sys.stdin.buffer, "on stdin")
        return
    try:
        with Path(name).open("rb") as handle:
            yield from _names(handle, name)
    except OSError as error:
        raise OptionError(
            f"Cannot read the list {name}: {error.strerror}. Give a text file with one image per line, or - for stdin."
        ) from error


def _names(handle: BinaryIO, where: str) -> Iterator[str]:
    for number, line in enumerate(_as_utf8(handle, where)):
        if b"\0" in line and number < _FIRST:
            raise OptionError(f"The list {where} is not a text file; one image, folder or shard per line was expected.")
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield name


def _as_utf8(handle: BinaryIO, where: str) -> Iterator[bytes]:
    """The lines of a list in UTF-8; PowerShell writes a byte order mark, and UTF-16 by default."""
    first = handle.readline(_LONGEST)
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        parts = itertools.chain([first], iter(lambda: handle.read(_LONGEST), b""))
        yield from _split(codecs.iterdecode(parts, "utf-16", errors="replace"), where)
        return
    line = first.removeprefix(codecs.BOM_UTF8)
    while line:
        if len(line) >= _LONGEST and not line.endswith(b"\n"):
            raise _no_list(where)
        yield line
        line = handle.readline(_LONGEST)


def _split(parts: Iterator[str], where: str) -> Iterator[bytes]:
    rest = ""
    for part in parts:
        *lines, rest = (rest + part).split("\n")
        yield from (line.encode(errors="replace") for line in lines)
        if len(rest) > _LONGEST:
            raise _no_list(where)
    yield rest.encode(errors="replace")


def _no_list(where: str) -> OptionError:
    return OptionError(
        f"The list {where} has a line of more than {_LONGEST:,} bytes; one image, folder or shard per line was "
        "expected."
    )
