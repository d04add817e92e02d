"""Results as one folder per image, written by `Explanation.save`, and a table of errors beside them."""

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
    """Writes one folder per image, which appears whole and records the settings that it was made with.

    Parameters
    ----------
    folder : Path
        Where the folders go.
    settings : mapping
        How results are made, as JSON types.
    pictures : int
        How many classes of each image are drawn.
    resume : bool
        Keep the folders that an earlier run finished; they are replaced otherwise.
    retry_errors : bool
        Try the images again on which the earlier run failed.
    error_table : bool
        Write the errors into a table.

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
        self._outdated = known and (
            not resume or retry_errors
        )  # the table is replaced with the first new result or error
        if known and not self._outdated:
            self._read_errors()

    @property
    def written(self) -> int:
        """How many folders this run has written."""
        return self._written

    def path(self, item: Item) -> Path:
        """The folder of an image."""
        return self._folder / item.folder

    def finished(self, key: str, folder: str) -> bool:
        """Whether an earlier run has explained this image.

        Raises
        ------
        OptionError
            It has, with other settings.
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
                f"{self._folder / folder} was made by a run with other settings. Resume with the same model, "
                "classes and options, or choose another folder with -o."
            )
        return image == key

    def failed(self, key: str) -> bool:
        """Whether an earlier run failed on this image, and it is not to be tried again."""
        return key in self._failed

    def encode(self, item: Item, explanation: Explanation) -> Path:
        """Write the folder of an image, in any thread."""
        notes = {"image": item.key, "run": self._run}
        path = explanation.save(self.path(item), pictures=self._pictures, notes=notes)
        with self._lock:
            self._written += 1
        return path

    def add(self, item: Item, encoded: Path) -> None:
        """Begin this run's table of errors, now that there is a result."""
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
        """Do nothing: everything was written already."""

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
            raise OutputError(f"{self._errors} cannot be read as a table of errors ({error}); move it away.") from error


def _check_folder(folder: Path) -> None:
    with output_errors(folder):
        parts = any(folder.glob(PARTS))
    if parts:
        raise OutputError(
            f"{folder} holds a Parquet dataset, which other files would make unreadable; choose another folder with "
            "-o, or go on with the dataset: --to parquet --resume."
        )
