"""The table of errors beside result folders: CSV of one line an image, which is whole after a full disk or a kill."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from secam_onnx.batch import rows
from secam_onnx.batch.key_set import KeySet
from secam_onnx.errors import OutputError
from secam_onnx.files import new_file, open_regular, output_errors, regular_file

__all__ = ["ErrorTable"]

_HEADER = (",".join(rows.ERROR_COLUMNS) + "\r\n").encode()
_LONGEST = 512 << 10  # bytes of a line; those that are written have fewer, also with all characters escaped


class ErrorTable:
    """A CSV file to which lines are added.

    A line that was torn, or damaged otherwise, is left out when the table is taken up: its image is tried again.

    Parameters
    ----------
    path : Path
        The file.
    keep : bool
        Whether an earlier run's errors count; otherwise they are replaced with the first result or error of this one.

    Raises
    ------
    OutputError
        The file is something else, or cannot be read.
    """

    def __init__(self, path: Path, *, keep: bool) -> None:
        self._path, self._failed = path, KeySet()
        with output_errors(path):
            known = os.path.lexists(path)
            if known:
                regular_file(path)
        if path.is_symlink():  # of whoever else can write there; lines would be added to what it leads to
            raise OutputError(f"{path} is a link, and a file of this folder was expected. Move it away.")
        self._outdated = known and not keep
        if known and keep:
            self._take_up()

    def __contains__(self, key: str) -> bool:
        """Whether an earlier run failed on this image."""
        return rows.in_one_line(key) in self._failed

    def begin(self) -> None:
        """Remove what is outdated, now that there is something new."""
        if self._outdated:
            with output_errors(self._path):
                self._path.unlink(missing_ok=True)
            self._outdated = False

    def add(self, row: Mapping[str, str]) -> None:
        """Add an error; if the disk is full, the table stays as it was."""
        self.begin()
        line = io.StringIO()
        csv.DictWriter(line, rows.ERROR_COLUMNS).writerow({name: rows.in_one_line(row[name]) for name in row})
        with output_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                _write(file, (b"" if end else _HEADER) + line.getvalue().encode(errors="backslashreplace"), end)

    def _take_up(self) -> None:
        """Read which images failed; what is damaged is left out of the file, too."""
        with output_errors(self._path):
            sound = True
            for _, row in self._lines():
                if row is None:
                    sound = False
                elif row:
                    self._failed.add(row[0])
            if sound:
                return
            with new_file(self._path) as temporary, temporary.open("wb") as file:
                for line, row in self._lines():
                    if row is not None:
                        file.write(line.rstrip(b"\r\n") + b"\r\n")

    def _lines(self) -> Iterator[tuple[bytes, list[str] | None]]:
        """Each line, and its columns: none of the header, None if it is damaged."""
        with open_regular(self._path) as file:
            first = file.readline(_LONGEST)
            if first and first.rstrip(b"\r\n") != _HEADER.rstrip() and not _HEADER.startswith(first):
                raise OutputError(
                    f"{self._path} cannot be read as a table of errors: it does not begin with "
                    f"{_HEADER.decode().rstrip()}. Move it away."
                )
            yield first, [] if first.endswith(b"\n") or not first else None
            while line := file.readline(_LONGEST):
                yield line, _columns(line)


def _columns(line: bytes) -> list[str] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        (columns,) = csv.reader([line.decode()], strict=True)
    except (ValueError, csv.Error):
        return None
    return columns if len(columns) == len(rows.ERROR_COLUMNS) else None


def _write(file: io.FileIO, data: bytes, end: int) -> None:
    """Write all at the end of a file, or nothing."""
    try:
        while data:
            data = data[file.write(data) :]
    except BaseException:
        with contextlib.suppress(OSError):
            file.truncate(end)
        raise
