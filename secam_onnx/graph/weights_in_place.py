"""Reading an ONNX file without its weights: only their places in the file are kept.

protobuf would read the whole file into a copy of its own, and the weights, most of it, would then be copied again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from secam_onnx.errors import ModelError
from secam_onnx.files import open_regular
from secam_onnx.graph.checks.tensors import tensor_bytes
from secam_onnx.graph.protobuf import BYTES, Field, UnusualError, Wire

__all__ = ["read_without_weights"]

_LARGE = 1 << 16  # bytes; smaller constants are cheap, and needed for the analysis
_LONGEST = (1 << 31) - 1  # bytes; the limit of protobuf
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_PLAIN = {1, 2, 8, 12, 14, 16, _RAW_DATA}  # dims, data_type, name, doc_string, data_location, metadata_props


def read_without_weights(path: str | os.PathLike[str]) -> ModelProto:
    """Read an ONNX file; its large weights become external data in that same file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ModelProto
        Initializers of the main graph have the name of the file as `location`, an `offset` and a `length` in place of
        their `raw_data`, if these are longer than 64 KiB and as long as the shape says. All else is as protobuf reads
        it.

    Raises
    ------
    DecodeError
        The file is not a model.
    OSError
        The file cannot be read.
    """
    file = Path(path)
    with open_regular(file) as handle:
        try:
            return ModelProto.FromString(_Scan(handle, file.name).model())
        except UnusualError:
            handle.seek(0)
            return ModelProto.FromString(handle.read())


class _Scan(Wire):
    """Goes through an open model file and skips large weights."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file)
        self._name = name

    def model(self) -> bytes:
        """The file without the large weights."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            self._name.encode()
        except UnicodeEncodeError:  # a location is UTF-8
            raise UnusualError from None
        whole = self._rewritten(0, min(size, _LONGEST), _GRAPH, self._graph)
        if whole is None or size > _LONGEST:
            raise UnusualError
        return whole

    def _rewritten(self, start: int, end: int, number: int, rewrite: Callable[[Field], bytes | None]) -> bytes | None:
        """A message with new values for some fields of one number; None if all stay as they are."""
        parts, done = [], start
        for field in self.fields(start, end):
            if (field.number, field.wire) != (number, BYTES) or field.end - field.value <= _LARGE:
                continue
            value = rewrite(field)
            if value is not None:
                parts += [self.read(done, field.tag), _varint(number << 3 | BYTES), _varint(len(value)), value]
                done = field.end
        return b"".join([*parts, self.read(done, end)]) if parts else None

    def _graph(self, graph: Field) -> bytes | None:
        return self._rewritten(graph.value, graph.end, _INITIALIZER, self._tensor)

    def _tensor(self, tensor: Field) -> bytes | None:
        """A tensor without its numbers; None if they are not in one piece of the right length."""
        raw = []
        for field in self.fields(tensor.value, tensor.end):
            if field.number not in _PLAIN:
                return None
            if field.number == _RAW_DATA:
                raw.append(field)
        if len(raw) != 1 or raw[0].wire != BYTES:
            return None
        (numbers,) = raw
        rest = self.read(tensor.value, numbers.tag) + self.read(numbers.end, tensor.end)
        length = numbers.end - numbers.value
        try:
            bare = TensorProto.FromString(rest)
            if length <= _LARGE or bare.data_location != TensorProto.DEFAULT or tensor_bytes(bare) != length:
                return None
        except (DecodeError, ModelError):  # reported when the tensor itself is checked
            return None
        bare.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._name), ("offset", numbers.value), ("length", length)):
            bare.external_data.add(key=key, value=str(value))
        return bare.SerializeToString()


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
