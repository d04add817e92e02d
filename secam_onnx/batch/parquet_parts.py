"""Part files of a Parquet dataset: each appears whole, and those of an earlier run are checked before they count."""

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
from secam_onnx.errors import OptionError, OutputError
from secam_onnx.files import new_file, output_errors, regular_file, remove_leftovers

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Parts"]

_PART = re.compile(r"part-(\d{6,18})\.parquet")
_ROWS = 256  # at most, in one part file
_BYTES = 64 << 20
_SECONDS = 30.0


class Parts:
    """Part files of one schema in one folder.

    Parameters
    ----------
    folder : Path
        Made with the first part.
    schema : Schema
        The columns, with the settings of the run as metadata.
    finished : KeySet
        Gets the images of the parts that are there.
    forget : bool
        Remove those parts instead.

    Raises
    ------
    OutputError
        A part is damaged or of another dataset, or cannot be removed.
    OptionError
        A part was made with other settings.
    """

    def __init__(self, folder: Path, schema: pa.Schema, finished: KeySet, *, forget: bool = False) -> None:
        self._pa = rows.arrow()
        import pyarrow.parquet  # now, as there is little time for it when a run is stopped

        self._parquet = pyarrow.parquet
        self._folder, self.schema = folder, schema
        self._batches: list[pa.RecordBatch] = []
        self._bytes = self.written = 0
        self._since = time.monotonic()
        self._next = 0
        remove_leftovers(folder)
        for part in _parts(folder):
            self._take_up(part, finished, forget)

    def encode(self, row: Mapping[str, Any]) -> pa.RecordBatch:
        """Make a row, in any thread."""
        return self._pa.RecordBatch.from_pylist([dict(row)], schema=self.schema)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a row; a part is written once there are enough of them, or enough time has passed."""
        if not self._batches:
            self._since = time.monotonic()
        self._batches.append(batch)
        self._bytes += batch.nbytes
        full = len(self._batches) >= _ROWS or self._bytes >= _BYTES
        if full or time.monotonic() - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are left. If it is stopped, another call writes them into the same part."""
        if not self._batches:
            return
        with output_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with new_file(self._folder / f"part-{self._next:06d}.parquet") as temporary:
            table = self._pa.Table.from_batches(self._batches).combine_chunks()
            self._parquet.write_table(table, temporary, compression="zstd")
        self.written += len(self._batches)
        self._batches, self._bytes = [], 0
        self._next += 1

    def _take_up(self, part: Path, finished: KeySet, forget: bool) -> None:
        try:
            regular_file(part)  # a pipe would be waited for
            with self._parquet.ParquetFile(part) as file:
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
        self._next = max(self._next, int(part.stem.removeprefix("part-")) + 1)
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
            f"{folder / strange[0]} is no part of the dataset in {folder}, though whoever reads the dataset would take "
            "it for one. Move it away."
        )
    return [folder / name for name in parts]
