"""Results as one Parquet dataset: a folder of part files that appear whole, with a table of errors in it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secam_onnx.batch import rows
from secam_onnx.batch.key_set import KeySet
from secam_onnx.batch.run_settings import check_same_settings
from secam_onnx.batch.sources import Item
from secam_onnx.errors import OptionError, OutputError, SecamError
from secam_onnx.explanation import Explanation
from secam_onnx.files import FolderLock, new_file, output_errors, regular_file, remove_leftovers

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ERRORS", "PARTS", "ParquetSink"]

PARTS = "part-*.parquet"
"""Pattern of the part files of a dataset."""

ERRORS = "_errors"
"""Folder of the error table. Readers of the dataset skip names that begin with an underscore."""

_PART = re.compile(r"part-(\d{6,18})\.parquet")
_ROWS = 256  # at most, in one part file
_BYTES = 64 << 20
_SECONDS = 30.0


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
            self._rows = _Parts(folder, rows.schema(settings, label_maps=label_maps), self._finished)
            self._errors = _Parts(folder / ERRORS, rows.error_schema(settings), self._failed, forget=retry_errors)
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


class _Parts:
    """Part files of one schema in one folder."""

    def __init__(self, folder: Path, schema: pa.Schema, finished: KeySet, *, forget: bool = False) -> None:
        self._pa = rows.arrow()
        self._folder, self.schema = folder, schema
        self._batches: list[pa.RecordBatch] = []
        self._bytes = self.written = 0
        self._since = time.monotonic()
        self._next = 0
        remove_leftovers(folder)
        for part in _parts(folder):
            self._take_up(part, finished, forget)

    def encode(self, row: Mapping[str, Any]) -> pa.RecordBatch:
        return self._pa.RecordBatch.from_pylist([dict(row)], schema=self.schema)

    def add(self, batch: pa.RecordBatch) -> None:
        if not self._batches:
            self._since = time.monotonic()
        self._batches.append(batch)
        self._bytes += batch.nbytes
        full = len(self._batches) >= _ROWS or self._bytes >= _BYTES
        if full or time.monotonic() - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self._batches:
            return
        import pyarrow.parquet

        with output_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with new_file(self._folder / f"part-{self._next:06d}.parquet") as temporary:
            table = self._pa.Table.from_batches(self._batches).combine_chunks()
            pyarrow.parquet.write_table(table, temporary, compression="zstd")
        self.written += len(self._batches)
        self._batches, self._bytes = [], 0
        self._next += 1

    def _take_up(self, part: Path, finished: KeySet, forget: bool) -> None:
        import pyarrow.parquet

        try:
            regular_file(part)  # a pipe would be waited for
            with pyarrow.parquet.ParquetFile(part) as file:
                found = file.schema_arrow
                known = json.loads((found.metadata or {})[rows.METADATA])
                if not isinstance(known, dict):
                    raise TypeError("its settings are damaged")
                check_same_settings(part.parent, known, json.loads(self.schema.metadata[rows.METADATA]))
                if not found.equals(self.schema):
                    raise TypeError("it has other columns")
                for batch in file.iter_batches(columns=["image"]) if not forget else ():
                    for key in batch.column(0).to_pylist():
                        finished.add(key)
        except OptionError:
            raise
        except (
            *(self._pa.ArrowException, OSError, KeyError, TypeError, AttributeError),
            *(ValueError, MemoryError, RecursionError),
        ) as error:
            reason = "it has no settings of a run" if isinstance(error, KeyError) else error
            raise OutputError(
                f"{part} cannot be read as a part of a dataset ({reason}). Move it away to explain its images again."
            ) from error
        self._next = int(_PART.fullmatch(part.name)[1]) + 1  # type: ignore[index]
        if forget:
            with output_errors(part):
                part.unlink()


def _parts(folder: Path) -> list[Path]:
    """The part files in a folder, in order.

    Raises
    ------
    OutputError
        There is another `.parquet` in it, which readers of the dataset would take for a part.
    """
    with output_errors(folder):
        found = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    parts = sorted(name for name in found if _PART.fullmatch(name))
    visible = (name for name in found if not name.startswith((".", "_")))
    strange = sorted(name for name in visible if name.lower().endswith(".parquet") and not _PART.fullmatch(name))
    if strange:
        raise OutputError(
            f"{folder / strange[0]} is no part of the dataset in {folder}, though who reads the dataset would take it "
            "for one. Move it away."
        )
    return [folder / name for name in parts]


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
