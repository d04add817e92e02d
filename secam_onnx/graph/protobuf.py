"""A reader of protobuf's encoding, field by field, which finds things in a large model without reading it all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from secam_onnx.files import open_regular

__all__ = ["BYTES", "Field", "UnusualError", "Wire", "read_metadata"]

_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; the others are groups, or none
_MOST = 1 << 20  # fields; far more than any classifier has
_NUMBERS = 1 << 29  # field numbers are smaller
_KEY, _VALUE = 5, 10  # bytes; the longest varints
_METADATA = 14  # field of ModelProto: pairs of a key (1) and a value (2)
_LONGEST = 1 << 26  # bytes of metadata


class UnusualError(Exception):
    """The bytes are nothing that an exporter writes. Parse the file with protobuf, which reports what is wrong."""


class Field(NamedTuple):
    """One field of a message: its number, its wire type, and the offsets of its tag, its value and its end."""

    number: int
    wire: int
    tag: int
    value: int
    end: int


class Wire:
    """Iterates over the fields of a message in an open file.

    It trusts no length: a field that does not end within its message raises `UnusualError`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._count = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message between two offsets."""
        while start < end:
            self._count += 1
            key, value = self._varint(start, end, _KEY)
            number, wire = key >> 3, key & 7
            if wire == BYTES:
                length, value = self._varint(value, end, _KEY)
                after = value + length
            elif wire == _VARINT:
                _, after = self._varint(value, end, _VALUE)
            elif wire in (_FIXED32, _FIXED64):
                after = value + (4 if wire == _FIXED32 else 8)
            else:
                raise UnusualError
            if after > end or not 0 < number < _NUMBERS or self._count > _MOST:
                raise UnusualError
            yield Field(number, wire, start, value, after)
            start = after

    def _varint(self, start: int, end: int, longest: int) -> tuple[int, int]:
        """A number and the offset of its end."""
        self._file.seek(start)
        result = 0
        for index, byte in enumerate(self._file.read(min(longest, end - start))):
            result |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return result, start + index + 1
        raise UnusualError

    def read(self, start: int, end: int) -> bytes:
        """The bytes between two offsets."""
        self._file.seek(start)
        data = self._file.read(end - start)
        if len(data) < end - start:
            raise UnusualError
        return data


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The `metadata_props` of an ONNX file, by key; empty if it is no ONNX file.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    found: dict[str, str] = {}
    with open_regular(path) as file:
        wire = Wire(file)
        try:
            for entry in wire.fields(0, os.fstat(file.fileno()).st_size):
                if (entry.number, entry.wire) == (_METADATA, BYTES) and entry.end - entry.value < _LONGEST:
                    pair = {part.number: part for part in wire.fields(entry.value, entry.end) if part.wire == BYTES}
                    # Entries of others may lack a value, or hold no text.
                    with contextlib.suppress(KeyError, UnicodeDecodeError):
                        key, value = (wire.read(*pair[number][3:]).decode() for number in (1, 2))
                        found.setdefault(key, value)  # the first one counts
        except UnusualError:
            pass
    return found
