"""Results as folders, one an image, as `Explanation.save` writes them, and a table of errors beside them."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secam_onnx.batch import rows
from secam_onnx.batch.key_set import KeySet
from secam_onnx.batch.parquet import PARTS
from secam_onnx.batch.run_settings import settings_digest
from secam_onnx.batch.sources import Item
from secam_onnx.errors import OptionError, OutputError, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.explanation.saving import MANIFEST
from secam_onnx.files import output_errors, remove_leftovers

__all__ = ["ERRORS", "FolderSink"]

ERRORS = "errors.csv"


class FolderSink:
    """Writes a folder an image; each appears whole and says with which settings it was made.

    Parameters
    ----------
    folder : Path
        Where to.
    settings : mapping
        How results are made, JSON types.
    pictures : int
        How many classes of an image are drawn.
    resume : bool
        Leave alone what an earlier run finished; otherwise it is replaced.
    retry_errors : bool
        Forget the errors of the earlier run, so that those images are tried again.
    error_table : bool
        Whether errors go into a table.

    Raises
    ------
    OutputError
        The folder cannot be read, or holds a Parquet dataset.
    """

    needs_images = True

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        pictures: int,
        resume: bool = False,
        retry_errors: bool = False,
        error_table: bool = True,
    ) -> None:
        self.needs_images = pictures > 0
        self._written, self._lock = 0, threading.Lock()
        self._folder, self._pictures, self._resume = folder, pictures, resume
        _check_folder(folder)
        self._run = settings_digest({**settings, "pictures": pictures})
        self._failed = KeySet()
        self._errors = folder / ERRORS if error_table else None
        if resume:
            remove_leftovers(folder, deep=True)
        known = self._errors is not None and self._errors.exists()
        self._outdated = known and (not resume or retry_errors)  # the table, as soon as there is something new
        if known and not self._outdated:
            self._read_errors()

    @property
    def written(self) -> int:
        """How many folders of this run are on the disk."""
        return self._written

    def path(self, item: Item) -> Path:
        """Where the results of an image go."""
        return self._folder / item.folder

    def finished(self, key: str, folder: str) -> bool:
        """Whether an earlier run has explained this image.

        Raises
        ------
        OptionError
            It did, with other settings.
        """
        if not self._resume:
            return False
        try:
            report = json.loads((self._folder / folder / MANIFEST).read_text(encoding="utf-8"))
            image, run = report["image"], report["run"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if run != self._run:
            raise OptionError(
                f"{self._folder / folder} was made by a run with other settings. Resume with the same model, classes "
                "and options, or choose another folder with -o."
            )
        return image == key

    def failed(self, key: str) -> bool:
        """Whether an earlier run could not, and it is not to be tried again."""
        return key in self._failed

    def encode(self, item: Item, explanation: Explanation) -> Path:
        """Write a folder, in whatever thread."""
        notes = {"image": item.key, "run": self._run}
        path = explanation.save(self.path(item), pictures=self._pictures, notes=notes)
        with self._lock:
            self._written += 1
        return path

    def add(self, item: Item, encoded: Path) -> None:
        """Take note of a folder that was written."""
        self._begin()

    def fail(self, item: Item, error: SecamError) -> None:
        """Add an error to the table."""
        if self._errors is None:
            return
        self._begin()
        with output_errors(self._errors):
            self._errors.parent.mkdir(parents=True, exist_ok=True)
            new = not self._errors.exists()
            with self._errors.open("a", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, rows.ERROR_COLUMNS)
                if new:
                    writer.writeheader()
                writer.writerow(rows.error_row(item.key, error))

    def close(self) -> None:
        """Nothing is left to do."""

    def _begin(self) -> None:
        if self._outdated and self._errors is not None:
            with output_errors(self._errors):
                self._errors.unlink(missing_ok=True)
            self._outdated = False

    def _read_errors(self) -> None:
        assert self._errors is not None
        try:
            with self._errors.open(newline="", encoding="utf-8") as handle:
                for row in csv.DictReader(handle):
                    self._failed.add(row["image"])
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise OutputError(f"{self._errors} is no table of errors ({error}); move it away.") from error


def _check_folder(folder: Path) -> None:
    with output_errors(folder):
        parts = any(folder.glob(PARTS))
    if parts:
        raise OutputError(
            f"{folder} holds a Parquet dataset, which could not be read any more with other files in it; choose "
            "another folder with -o, or add to it with --to parquet --resume."
        )
