"""An ONNX file read without its weights: where they lie in it stands in their place.

protobuf reads a file whole and keeps its own copy of it; the weights, nearly all of it, are then copied once more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from secam_onnx.checks.tensors import tensor_bytes
from secam_onnx.errors import ModelError

__all__ = ["read_skeleton"]

_LARGE = 1 << 16  # bytes; smaller constants are cheap, and looked at
_LONGEST = (1 << 31) - 1  # bytes; protobuf's limit
_MOST = 1 << 20  # fields; far more than any classifier has
_NUMBERS = 1 << 29  # field numbers are below
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_PLAIN = {1, 2, 8, 12, 14, 16, _RAW_DATA}  # dims, data_type, name, doc_string, data_location, metadata_props
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; the others are groups, or none
_KEY_BYTES, _VALUE_BYTES = 5, 10  # how long a varint may be


def read_skeleton(path: str | os.PathLike[str]) -> ModelProto:
    """Read an ONNX file; its large weights become external data that lie in this very file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ModelProto
        Every initializer of the main graph whose `raw_data` are more than 64 KiB, and as many as its lengths say, has
        the file's own name as `location`, an `offset` and a `length` instead. All else is as protobuf reads it.

    Raises
    ------
    DecodeError
        The file is no model.
    OSError
        It cannot be read.
    """
    file = Path(path)
    with file.open("rb") as handle:
        try:
            return ModelProto.FromString(_Scan(handle, file.name).model())
        except _UnusualError:
            handle.seek(0)
            return ModelProto.FromString(handle.read())


class _UnusualError(Exception):
    """Nothing that an exporter writes; what it is, protobuf shall say."""


class _Field(NamedTuple):
    """One field of a message: its number, its wire type, and where its tag, its value and what follows begin."""

    number: int
    wire: int
    tag: int
    value: int
    end: int


class _Scan:
    """Goes through an open file from tag to tag, and reads nothing that is large.

    Nothing is believed: a field that does not end within its message is unusual.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._count = 0

    def model(self) -> bytes:
        """The file but for the large weights."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            self._name.encode()
        except UnicodeEncodeError:  # a location is UTF-8
            raise _UnusualError from None
        whole = self._rewritten(0, min(size, _LONGEST), _GRAPH, self._graph)
        if whole is None or size > _LONGEST:
            raise _UnusualError
        return whole

    def _rewritten(self, start: int, end: int, number: int, rewrite: Callable[[_Field], bytes | None]) -> bytes | None:
        """A message with other values in some fields of one number; None if all stay as they are."""
        parts, done = [], start
        for field in self._fields(start, end):
            if (field.number, field.wire) != (number, _BYTES) or field.end - field.value <= _LARGE:
                continue
            value = rewrite(field)
            if value is not None:
                parts += [self._read(done, field.tag), _varint(number << 3 | _BYTES), _varint(len(value)), value]
                done = field.end
        return b"".join([*parts, self._read(done, end)]) if parts else None

    def _graph(self, graph: _Field) -> bytes | None:
        return self._rewritten(graph.value, graph.end, _INITIALIZER, self._tensor)

    def _tensor(self, tensor: _Field) -> bytes | None:
        """A tensor without its numbers; None where they do not lie there in one piece of the right length."""
        raw = []
        for field in self._fields(tensor.value, tensor.end):
            if field.number not in _PLAIN:
                return None
            if field.number == _RAW_DATA:
                raw.append(field)
        if len(raw) != 1 or raw[0].wire != _BYTES:
            return None
        (numbers,) = raw
        rest = self._read(tensor.value, numbers.tag) + self._read(numbers.end, tensor.end)
        length = numbers.end - numbers.value
        try:
            bare = TensorProto.FromString(rest)
            if length <= _LARGE or bare.data_location != TensorProto.DEFAULT or tensor_bytes(bare) != length:
                return None
        except (DecodeError, ModelError):  # which is said of the tensor as it stands there
            return None
        bare.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._name), ("offset", numbers.value), ("length", length)):
            bare.external_data.add(key=key, value=str(value))
        return bare.SerializeToString()

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        while start < end:
            self._count += 1
            key, value = self._varint(start, end, _KEY_BYTES)
            number, wire = key >> 3, key & 7
            if wire == _BYTES:
                length, value = self._varint(value, end, _KEY_BYTES)
                after = value + length
            elif wire == _VARINT:
                _, after = self._varint(value, end, _VALUE_BYTES)
            elif wire in (_FIXED32, _FIXED64):
                after = value + (4 if wire == _FIXED32 else 8)
            else:
                raise _UnusualError
            if after > end or not 0 < number < _NUMBERS or self._count > _MOST:
                raise _UnusualError
            yield _Field(number, wire, start, value, after)
            start = after

    def _varint(self, start: int, end: int, longest: int) -> tuple[int, int]:
        """A number, and where it ends."""
        self._file.seek(start)
        result = 0
        for index, byte in enumerate(self._file.read(min(longest, end - start))):
            result |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return result, start + index + 1
        raise _UnusualError

    def _read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(end - start)
        if len(data) < end - start:
            raise _UnusualError
        return data


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
