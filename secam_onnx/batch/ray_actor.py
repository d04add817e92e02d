"""The actor of the Ray engine: an explainer on some machine that turns shards of the list of images into rows."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secam_onnx.batch import rows
from secam_onnx.batch.batch_size import choose_batch_size
from secam_onnx.batch.object_stores import RemoteImage
from secam_onnx.batch.run import Totals, run
from secam_onnx.batch.run_settings import run_settings, settings_digest
from secam_onnx.batch.sources import Item, Wanted
from secam_onnx.errors import ImageError, ModelError, SecamError
from secam_onnx.explainer import Explainer
from secam_onnx.explanation import Explanation
from secam_onnx.threads import map_ahead, thread_pool

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Job", "ShardExplainer"]

_READS = 8  # files that an actor reads at once, as object stores are slow to answer
_FATAL = "fatal"  # as the kind of an error that no image is to blame for


@dataclass(frozen=True)
class Job:
    """What an actor needs to know.

    Attributes
    ----------
    model : str or None
        Path of the model's file, the same on every machine; None for the default model.
    options : mapping
        Keyword arguments of `Explainer`.
    classes : sequence of int or str
        See `Explainer.explain`.
    label_maps : bool
        Whether rows include label maps.
    batch_size : int, optional
        Images per forward pass; by default each actor chooses.
    settings : str
        Digest of the driver's settings, which every actor must reproduce.
    """

    model: str | None
    options: Mapping[str, Any]
    classes: Sequence[int | str]
    label_maps: bool
    batch_size: int | None
    settings: str


class ShardExplainer:
    """The actor: an explainer that gets one shard after another from Ray Data.

    Parameters
    ----------
    job : Job
        What to explain, and how.
    threads : int
        How many threads the actor may use.
    """

    def __init__(self, job: Job, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._job, self._totals = job, Totals()
        self._schema = _with_errors(rows.schema({}, label_maps=job.label_maps))
        self._failure: SecamError | None = None
        try:
            self._explainer = _same_explainer(job)
            self._batch_size = job.batch_size or choose_batch_size(self._explainer.classifier)[0]
        except SecamError as error:
            self._failure = error  # raised here, Ray would report it with pages of traceback

    def __call__(self, shard: pa.Table) -> pa.Table:
        """Explain a shard (`image`, `root`, `path`); gives `rows.schema` with `kind` and `message` of errors."""
        import pyarrow as pa

        sink = _Rows(self._schema, self._job.label_maps)
        try:
            if self._failure is not None:
                raise self._failure
            run(
                self._explainer,
                _Shard(shard),
                sink,
                self._job.classes,
                batch_size=self._batch_size,
                totals=self._totals,
            )
        except SecamError as error:
            text = f"{error} (On {socket.gethostname()}.)"
            return pa.Table.from_pylist([{"kind": _FATAL, "message": text}], schema=self._schema)
        return pa.Table.from_batches(sink.batches, schema=self._schema)


def _same_explainer(job: Job) -> Explainer:
    explainer = Explainer(job.model, **job.options)
    if settings_digest(run_settings(explainer, job.classes)) != job.settings:
        raise ModelError(
            f"The model {explainer.model.name}, its class names, the files beside it or the version of secam-onnx are "
            "not those of the machine where the command runs; put the same ones on every machine."
        )
    return explainer


class _Shard:
    """The images of a shard, read ahead."""

    def __init__(self, table: pa.Table) -> None:
        self._entries = table.to_pylist()

    def items(self, wanted: Wanted) -> Iterator[Item]:
        with thread_pool(_READS, "read") as pool:
            yield from map_ahead(pool, _read, self._entries, ahead=_READS)


def _read(entry: Mapping[str, Any]) -> Item:
    key, root, path = entry["image"], entry["root"], os.fsdecode(entry["path"])
    if not root:
        return Item(key, "", path)
    try:
        return Item(key, "", RemoteImage(key, root, path).read())
    except ImageError as error:
        return Item(key, "", error=error)


class _Rows:
    """A sink that keeps rows, also of errors, in memory."""

    needs_images = False
    locked = True  # nobody else has this memory

    def __init__(self, schema: pa.Schema, label_maps: bool) -> None:
        self._schema, self._label_maps = schema, label_maps
        self.batches: list[pa.RecordBatch] = []
        self.written = 0

    def finished(self, key: str, folder: str) -> bool:
        return False

    def failed(self, key: str) -> bool:
        return False

    def encode(self, item: Item, explanation: Explanation) -> pa.RecordBatch:
        return self._batch(rows.row(item.key, explanation, label_maps=self._label_maps))

    def add(self, item: Item, encoded: pa.RecordBatch) -> None:
        self.batches.append(encoded)
        self.written += 1

    def fail(self, item: Item, error: SecamError) -> None:
        self.batches.append(self._batch(rows.error_row(item.key, error)))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _batch(self, row: Mapping[str, Any]) -> pa.RecordBatch:
        return rows.arrow().RecordBatch.from_pylist([dict(row)], schema=self._schema)


def _with_errors(schema: pa.Schema) -> pa.Schema:
    pa = rows.arrow()
    return pa.schema([*schema, ("kind", pa.string()), ("message", pa.string())])
