"""Results as one folder per image, written by `Explanation.save`, and a table of errors beside them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secam_onnx.batch import rows
from secam_onnx.batch.error_table import ErrorTable
from secam_onnx.batch.parquet import PARTS
from secam_onnx.batch.run_settings import settings_digest
from secam_onnx.batch.sources import Item
from secam_onnx.errors import OptionError, OutputError, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.explanation.saving import MANIFEST
from secam_onnx.files import FolderLock, open_regular, output_errors, remove_leftovers

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
        Write the errors into a table. Sinks without one share a folder; a sink with one keeps others out of it.

    Raises
    ------
    OutputError
        The folder is in use by another run, cannot be written, or holds a Parquet dataset or another table.
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
        self._written, self._counting = 0, threading.Lock()
        self._folder, self._pictures, self._resume = folder, pictures, resume
        self._run = settings_digest({**settings, "pictures": pictures})
        self._lock = FolderLock(folder, shared=not error_table)
        try:
            _check_folder(folder)
            if resume:
                remove_leftovers(folder, deep=True)
            keep = resume and not retry_errors
            self._errors = ErrorTable(folder / ERRORS, keep=keep) if error_table else None
        except BaseException:
            self._lock.release()
            raise

    @property
    def locked(self) -> bool:
        """Whether other runs are kept out of the folder; some network file systems have no locks."""
        return self._lock.held

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
            with open_regular(self._folder / folder / MANIFEST) as file:
                report = json.load(file)
            image, run = report["image"], report["run"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        if run != self._run:
            raise OptionError(
                f"{self._folder / folder} was made by a run with other settings. Resume with the same model, "
                "classes and options, or choose another folder with -o."
            )
        return image == key

    def failed(self, key: str) -> bool:
        """Whether an earlier run failed on this image, and it is not to be tried again."""
        return self._errors is not None and key in self._errors

    def encode(self, item: Item, explanation: Explanation) -> Path:
        """Write the folder of an image, in any thread."""
        notes = {"image": item.key, "run": self._run}
        path = explanation.save(self.path(item), pictures=self._pictures, notes=notes)
        with self._counting:
            self._written += 1
        return path

    def add(self, item: Item, encoded: Path) -> None:
        """Begin this run's table of errors, now that there is a result."""
        if self._errors is not None:
            self._errors.begin()

    def fail(self, item: Item, error: SecamError) -> None:
        """Add an error to the table."""
        if self._errors is not None:
            self._errors.add(rows.error_row(item.key, error))

    def flush(self) -> None:
        """Do nothing: everything was written already."""

    def close(self) -> None:
        """Let other runs have the folder."""
        self._lock.release()


def _check_folder(folder: Path) -> None:
    with output_errors(folder):
        parts = any(folder.glob(PARTS))
    if parts:
        raise OutputError(
            f"{folder} holds a Parquet dataset, which other files would make unreadable; choose another folder with "
            "-o, or go on with the dataset: --to parquet --resume."
        )
