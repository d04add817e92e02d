"""Many images on many machines: Ray Data hands shards of the list to explainers, one an actor, and brings rows back.

Only the driver writes, with the sink of the local engine: results need no common file system, and a worker that was
taken for dead or outlived its driver cannot reach them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secam_onnx.batch import rows
from secam_onnx.batch.parquet import ParquetSink
from secam_onnx.batch.remote import RemoteImage
from secam_onnx.batch.run import ItemSource, Totals, run, unfinished
from secam_onnx.batch.settings import run_settings, settings_digest
from secam_onnx.batch.sizes import choose_batch_size
from secam_onnx.batch.sources import Item, Wanted
from secam_onnx.errors import ImageError, MissingDependencyError, ModelError, OptionError, ProviderError, SecamError
from secam_onnx.explainer import Explainer
from secam_onnx.explanation import Explanation
from secam_onnx.images import EncodedImage
from secam_onnx.threads import map_ahead, thread_pool

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Job", "ShardExplainer", "explain_on_ray"]

_SHARD = 256  # images that an actor is handed at a time, at most
_SHARDS = 4  # for each actor, at least, so that none is idle long at the end
_READS = 8  # files under way at once in an actor: stores answer late
_CPUS = 0.5  # an actor: with a whole one each Ray Data may wait for ever (ray #44687), and half the cluster can be lost
_ERRORS = {rows.ERROR_KIND[error.__name__]: error for error in (ImageError, ModelError)}
_FATAL = "fatal"  # in place of the kind of an error: no image is at fault

_Place = tuple[str, bytes]
"""An address on the file system of a store, or nothing; and a path, which need not be text."""


@dataclass(frozen=True)
class Job:
    """What actors are told, once.

    Attributes
    ----------
    model : str or None
        The model's file, found at this path on every machine; None for the default model.
    options : mapping
        Keyword arguments of `Explainer`.
    classes : sequence of int or str
        See `Explainer.explain`.
    label_maps : bool
        Whether rows hold label maps.
    batch_size : int, optional
        Images a forward pass; by default each actor chooses.
    settings : str
        Digest of the settings on the driver, which those of the actors must have.
    """

    model: str | None
    options: Mapping[str, Any]
    classes: Sequence[int | str]
    label_maps: bool
    batch_size: int | None
    settings: str


class ShardExplainer:
    """The actor: an explainer, to which Ray Data hands one shard after another.

    Parameters
    ----------
    job : Job
        What to do.
    threads : int
        How many threads it may take.
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
            self._failure = error  # raised here, it would come back as a page of Ray's; handed back, as one line

    def __call__(self, shard: pa.Table) -> pa.Table:
        """Explain a shard: columns `image`, `root`, `path` in; `rows.schema` and `kind`, `message` of errors out."""
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


def explain_on_ray(
    job: Job,
    sources: ItemSource,
    sink: ParquetSink,
    *,
    address: str | None = None,
    actors: int | None = None,
    totals: Totals | None = None,
    seen: Callable[[Item, Explanation | SecamError], None] = lambda item, result: None,
) -> Totals:
    """Explain all images that the sink does not have yet, on a Ray cluster.

    Whatever ends it, what came back is kept.

    Parameters
    ----------
    job, sources, sink
        How, what, and where results go. `sources` is gone through before the work begins; all machines must see its
        files at the same paths.
    address : str, optional
        Of the cluster, where the program has not called `ray.init` itself; without it (and without RAY_ADDRESS) one is
        started on this machine for as long as it takes.
    actors : int, optional
        How many explainers, at most; by default one a GPU, or one a core where there is no GPU.
    totals : Totals, optional
        Counted up while it runs.
    seen : callable
        Told of each image for which there is no result.

    Raises
    ------
    OptionError
        The cluster cannot be reached, or `sources` has tar shards.
    SecamError
        The actors cannot do what the driver can, or the job fails on Ray's side.
    OutputError
        A result cannot be written.
    MissingDependencyError
        Ray Data is not installed.
    """
    totals = Totals() if totals is None else totals

    def fail(item: Item, error: SecamError) -> None:
        sink.fail(item, error)
        totals.failed += 1
        seen(item, error)

    try:
        todo: dict[str, _Place] = {}
        for item in sources.items(unfinished(sink, totals)):
            if item.error is not None:
                fail(item, item.error)
            else:
                todo[item.key] = _place(item)
        if not todo:
            return totals
        with _cluster(address) as ray:
            for result in _results(ray, job, todo, actors):
                for row in _known(result, todo):
                    kind, message = (row.column(name)[0].as_py() for name in ("kind", "message"))
                    key = row.column("image")[0].as_py()
                    if kind is None:
                        sink.add(Item(key, ""), row.select(sink.schema.names).cast(sink.schema))
                        totals.explained += 1
                    else:
                        fail(Item(key, ""), _ERRORS.get(kind, SecamError)(message))
    finally:
        sink.close()
    if todo:
        raise SecamError(f"{len(todo)} images did not come back from Ray, {next(iter(todo))} among them; use --resume.")
    return totals


def _known(result: pa.Table, todo: dict[str, _Place]) -> Iterator[pa.RecordBatch]:
    """Single rows, each image once, whatever Ray did twice."""
    for batch in result.to_batches():
        for place, key in enumerate(batch.column("image").to_pylist()):
            row = batch.slice(place, 1)
            if key is None:
                raise SecamError(row.column("message")[0].as_py())
            if todo.pop(key, None) is not None:
                yield row


def _place(item: Item) -> _Place:
    if isinstance(item.image, EncodedImage):
        raise OptionError(f"{item.key} is in a tar shard; --engine ray reads files. Unpack it, or use --engine local.")
    if isinstance(item.image, RemoteImage):
        return item.image.root, os.fsencode(item.image.path)
    return "", os.fsencode(Path(item.image).absolute())


def _shards(todo: Mapping[str, _Place], size: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    entries = iter(todo.items())
    while some := list(itertools.islice(entries, size)):
        keys, places = zip(*some, strict=True)
        roots, paths = zip(*places, strict=True)
        yield pa.table({"image": keys, "root": roots, "path": paths})


def _results(ray: Any, job: Job, todo: Mapping[str, _Place], actors: int | None) -> Iterator[pa.Table]:
    count, share, threads = _share(ray.cluster_resources(), str(job.options.get("providers") or "auto"))
    count = actors or count
    shards = list(_shards(todo, min(_SHARD, math.ceil(len(todo) / (_SHARDS * count)))))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    dataset = ray.data.from_arrow(shards).map_batches(
        ShardExplainer,
        batch_size=None,  # a shard
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count),
        fn_constructor_args=(job, threads),
        **share,
    )
    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise SecamError(f"Ray gave up ({last}); what is finished is kept: go on with --resume.") from error


def _share(cluster: Mapping[str, float], provider: str) -> tuple[int, dict[str, float], int]:
    """How many actors, what Ray sets aside for each, and how many threads each has."""
    cpus, gpus = int(cluster.get("CPU", 0)), int(cluster.get("GPU", 0))
    if gpus and provider.lower() != "cpu":
        return gpus, {"num_gpus": 1}, max(1, cpus // gpus)
    if provider.lower() == "cuda":
        raise ProviderError("CUDA was asked for, but Ray knows of no GPU in the cluster; use --provider auto or cpu.")
    return max(1, cpus), {"num_cpus": _CPUS}, 1


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is raised
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            'Ray Data is not installed: pip install "secam-onnx[ray]", on every machine of the cluster.'
        ) from error
    if ray.is_initialized():  # the caller's
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}  # nobody else is to reach it
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"Ray cannot be reached at {address or 'this machine'} ({error}); check --ray-address."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        ray.shutdown()


def _same_explainer(job: Job) -> Explainer:
    explainer = Explainer(job.model, **job.options)
    if settings_digest(run_settings(explainer, job.classes)) != job.settings:
        raise ModelError(
            f"Model {explainer.model.name}, class names, files beside it or version of secam-onnx are not those of the "
            "machine that gave the command; put the same ones there."
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
    """A sink that keeps rows, those of errors among them, in memory."""

    needs_images = False

    def __init__(self, schema: pa.Schema, label_maps: bool) -> None:
        self._schema, self._label_maps = schema, label_maps
        self.batches: list[pa.RecordBatch] = []

    def finished(self, key: str, folder: str) -> bool:
        return False

    def encode(self, item: Item, explanation: Explanation) -> pa.RecordBatch:
        return self._batch(rows.row(item.key, explanation, label_maps=self._label_maps))

    def add(self, item: Item, encoded: pa.RecordBatch) -> None:
        self.batches.append(encoded)

    def fail(self, item: Item, error: SecamError) -> None:
        self.batches.append(self._batch(rows.error_row(item.key, error)))

    def close(self) -> None:
        pass

    def _batch(self, row: Mapping[str, Any]) -> pa.RecordBatch:
        return rows.arrow().RecordBatch.from_pylist([dict(row)], schema=self._schema)


def _with_errors(schema: pa.Schema) -> pa.Schema:
    pa = rows.arrow()
    return pa.schema([*schema, ("kind", pa.string()), ("message", pa.string())])
