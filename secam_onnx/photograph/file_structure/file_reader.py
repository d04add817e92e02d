"""Reading the structure of a file: at any place, exactly as much as is asked for, and never too much in all."""

from __future__ import annotations

import io
import os
import re
import struct
from typing import Any, BinaryIO, NoReturn

from secam_onnx.errors import ImageError

__all__ = ["MAX_METADATA", "FileReader"]

MAX_METADATA = 16 << 20
"""Bytes of metadata: colour profile, EXIF, XMP, comments and the like together."""

_MOST_READS, _MOST_BYTES = 500_000, 64 << 20
_BLOCK = 1 << 18


class FileReader:
    """A file whose structure is read.

    Parameters
    ----------
    file : binary file
        It must be seekable.
    name : str
        Its name in error messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self.size = file.seek(0, os.SEEK_END)
        self._reads = self._bytes = 0

    @classmethod
    def of_bytes(cls, data: bytes, name: str) -> FileReader:
        """A part of a file, as a file of its own."""
        return cls(io.BytesIO(data), name)

    def read(self, place: int, length: int) -> bytes:
        """Exactly these bytes.

        Raises
        ------
        ImageError
            The file ends before, or the structure has been too large so far.
        """
        self._reads += 1
        self._bytes += length
        if self._reads > _MOST_READS or self._bytes > _MOST_BYTES:
            self.refuse(f"has a structure of more than {_MOST_READS:,} parts or {_MOST_BYTES >> 20} megabytes")
        if not 0 <= place <= self.size - length:
            self.cut_off()
        self._file.seek(place)
        data = self._file.read(length)
        if len(data) != length:
            self.cut_off()
        return data

    def unpack(self, form: str, place: int) -> tuple[Any, ...]:
        """Numbers at a place, by the format of `struct`."""
        return struct.unpack(form, self.read(place, struct.calcsize(form)))

    def find(self, pattern: re.Pattern[bytes], place: int, end: int) -> int:
        """Where a pattern of two bytes is found next, or -1. Each byte of a file is to be searched once."""
        while place < end - 1:
            self._file.seek(place)
            block = self._file.read(min(_BLOCK, end - place))
            if (found := pattern.search(block)) is not None:
                return place + found.start()
            if len(block) < 2:
                break
            place += len(block) - 1  # the last byte may begin a match
        return -1

    def count(self, byte: bytes, most: int) -> int:
        """How often a byte occurs in the file; counting ends beyond `most`."""
        found, place = 0, 0
        while place < self.size and found <= most:
            self._file.seek(place)
            block = self._file.read(_BLOCK)
            found, place = found + block.count(byte), place + max(1, len(block))
        return found

    def at_most(self, found: int, most: int, what: str) -> None:
        """Refuse more of something than decoders can take.

        Raises
        ------
        ImageError
            There are more.
        """
        if found > most:
            self.refuse(f"has more than {most:,} {what}")

    def refuse(self, why: str) -> NoReturn:
        """Refuse a file that would cost its decoder too much, or whose kind is not read."""
        raise ImageError(f"{self.name} {why}, which is not read. Save it again, as an ordinary PNG for instance.")

    def cut_off(self) -> NoReturn:
        """Refuse a file that ends in the middle of its structure."""
        raise ImageError(f"{self.name} cannot be decoded: its structure is damaged, or cut off. Get the file again.")
