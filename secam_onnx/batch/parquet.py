"""Results as one Parquet dataset: a folder of part files that appear whole, with a table of errors in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secam_onnx.batch import rows
from secam_onnx.batch.key_set import KeySet
from secam_onnx.batch.parquet_parts import Parts
from secam_onnx.batch.sources import Item
from secam_onnx.errors import OutputError, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.files import FolderLock, output_errors

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ERRORS", "PARTS", "ParquetSink"]

PARTS = "part-*.parquet"
"""Pattern of the part files of a dataset."""

ERRORS = "_errors"
"""Folder of the error table. Readers of the dataset skip names that begin with an underscore."""


class ParquetSink:
    """Writes a Parquet dataset.

    Parameters
    ----------
    folder : Path
        Where the dataset goes; made if it does not exist.
    settings : mapping
        How results are made, as JSON types; kept in each part file.
    resume : bool
        Go on with the dataset that is in the folder.
    retry_errors : bool
        Try the images again on which the earlier run failed.
    label_maps : bool
        Keep the label maps of the superpixels.

    Raises
    ------
    OutputError
        The folder is in use by another run, holds a dataset and `resume` is false, holds something else, a part that
        is damaged or no part of this dataset, or cannot be written.
    OptionError
        Its dataset was begun with other settings.
    MissingDependencyError
        pyarrow is not installed.
    """

    needs_images = False

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        retry_errors: bool = False,
        label_maps: bool = False,
    ) -> None:
        settings = {**settings, "label_maps": label_maps}
        self._label_maps = label_maps
        self._finished, self._failed = KeySet(), KeySet()
        rows.arrow()  # complain before a folder is made
        self._lock = FolderLock(folder)
        try:
            _check_folder(folder, resume)
            self._rows = Parts(folder, rows.schema(settings, label_maps=label_maps), self._finished)
            self._errors = Parts(folder / ERRORS, rows.error_schema(settings), self._failed, forget=retry_errors)
        except BaseException:
            self._lock.release()
            raise

    @property
    def locked(self) -> bool:
        """Whether other runs are kept out of the folder; some network file systems have no locks."""
        return self._lock.held

    @property
    def written(self) -> int:
        """How many rows this run has written."""
        return self._rows.written

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the settings as metadata."""
        return self._rows.schema

    def finished(self, key: str, folder: str) -> bool:
        """Whether an earlier run has explained this image."""
        return key in self._finished

    def failed(self, key: str) -> bool:
        """Whether an earlier run failed on this image, and it is not to be tried again."""
        return key in self._failed

    def encode(self, item: Item, explanation: Explanation) -> pa.RecordBatch:
        """Make a row, in any thread."""
        return self._rows.encode(rows.row(item.key, explanation, label_maps=self._label_maps))

    def add(self, item: Item, encoded: pa.RecordBatch) -> None:
        """Add a row; a part file is written once there are enough rows, or enough time has passed."""
        self._rows.add(encoded)

    def fail(self, item: Item, error: SecamError) -> None:
        """Add an error."""
        self._errors.add(self._errors.encode(rows.error_row(item.key, error)))

    def flush(self) -> None:
        """Write the rows and errors that are left."""
        try:
            self._rows.flush()
        finally:
            self._errors.flush()

    def close(self) -> None:
        """Let other runs have the folder."""
        self._lock.release()


def _check_folder(folder: Path, resume: bool) -> None:
    with output_errors(folder):
        parts = [*folder.glob(PARTS), *folder.glob(f"{ERRORS}/{PARTS}")]
        others = [
            entry.name for entry in folder.iterdir() if entry.name != ERRORS and not entry.name.startswith(".secam-")
        ]
    if parts and not resume:
        raise OutputError(
            f"{folder} already holds a dataset of {len(parts)} part files; go on with it with --resume, or choose "
            "another folder with -o."
        )
    if not parts and others:
        raise OutputError(f"{folder} holds other files ({sorted(others)[0]}, ...); choose another folder with -o.")
