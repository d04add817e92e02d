"""Many images on many machines: Ray Data gives shards of the list to explainers, one per actor, and collects rows.

Only the driver writes, through the sink of the local engine. So results need no shared file system, and a worker that
was believed dead, or outlives its driver, cannot damage them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secam_onnx.batch import rows
from secam_onnx.batch.object_stores import RemoteImage
from secam_onnx.batch.parquet import ParquetSink
from secam_onnx.batch.ray_actor import Job, ShardExplainer
from secam_onnx.batch.run import ItemSource, OnResult, Totals, unfinished
from secam_onnx.batch.sources import Item
from secam_onnx.errors import ImageError, MissingDependencyError, ModelError, OptionError, ProviderError, SecamError
from secam_onnx.photograph.images import EncodedImage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["explain_on_ray"]

_SHARD = 256  # images that an actor gets at a time, at most
_SHARDS = 4  # per actor, at least, so that no actor is idle for long at the end
_CPUS = 0.5  # per actor: with whole CPUs Ray Data may wait for ever (ray #44687), and half the cluster may be lost
_ERRORS = {rows.ERROR_KIND[error.__name__]: error for error in (ImageError, ModelError)}

_Place = tuple[str, bytes]
"""An address on the file system of an object store, or nothing; and a path, which need not be valid text."""


def explain_on_ray(
    job: Job,
    sources: ItemSource,
    sink: ParquetSink,
    *,
    address: str | None = None,
    actors: int | None = None,
    totals: Totals | None = None,
    on_result: OnResult = lambda item, result: None,
) -> Totals:
    """Explain all images that the sink does not have yet, on a Ray cluster.

    However it ends, the results so far are kept.

    Parameters
    ----------
    job : Job
        What the actors need to know.
    sources : ItemSource
        Finds the images, all of them before the work begins; every machine must see the files at the same paths.
    sink : ParquetSink
        Keeps the results.
    address : str, optional
        Address of the cluster, unless the program has called `ray.init` itself. Without it, and without RAY_ADDRESS, a
        cluster is started on this machine and stopped at the end.
    actors : int, optional
        How many explainers, at most; by default one per GPU, or one per core where there is no GPU.
    totals : Totals, optional
        Counted up as the run goes on, for whoever shows its progress.
    on_result : callable
        Called with each image that has no result, and the error.

    Raises
    ------
    OptionError
        The cluster cannot be reached, or `sources` has tar shards.
    SecamError
        The actors cannot open the model as the driver does, or Ray fails.
    OutputError
        A result cannot be written.
    MissingDependencyError
        Ray Data is not installed.
    """
    totals = Totals() if totals is None else totals

    def fail(item: Item, error: SecamError) -> None:
        sink.fail(item, error)
        totals.failed += 1
        on_result(item, error)

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
            try:
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
                sink.flush()  # before anything waits for the cluster
    finally:
        sink.flush()
        totals.explained = sink.written
        sink.close()
    if todo:
        raise SecamError(
            f"{len(todo)} images did not come back from Ray, {next(iter(todo))} among them; go on with --resume."
        )
    return totals


def _known(result: pa.Table, todo: dict[str, _Place]) -> Iterator[pa.RecordBatch]:
    """Single rows, one per image, even if Ray has repeated some work."""
    for batch in result.to_batches():
        for place, key in enumerate(batch.column("image").to_pylist()):
            row = batch.slice(place, 1)
            if key is None:
                raise SecamError(row.column("message")[0].as_py())
            if todo.pop(key, None) is not None:
                yield row


def _place(item: Item) -> _Place:
    if isinstance(item.image, EncodedImage):
        raise OptionError(
            f"{item.key} is in a tar shard, and --engine ray reads files. Unpack it, or use --engine local."
        )
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
        raise SecamError(f"Ray gave up ({last}). The results so far are kept; go on with --resume.") from error


def _share(cluster: Mapping[str, float], provider: str) -> tuple[int, dict[str, float], int]:
    """How many actors there are, what Ray reserves for each, and how many threads each uses."""
    cpus, gpus = int(cluster.get("CPU", 0)), int(cluster.get("GPU", 0))
    if gpus and provider.lower() != "cpu":
        return gpus, {"num_gpus": 1}, max(1, cpus // gpus)
    if provider.lower() == "cuda":
        raise ProviderError("CUDA was asked for, but the Ray cluster has no GPU; use --provider auto or cpu.")
    return max(1, cpus), {"num_cpus": _CPUS}, 1


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are raised anyway
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            'Ray Data is not installed: pip install "secam-onnx[ray]" on every machine of the cluster.'
        ) from error
    if ray.is_initialized():  # by the caller, who stops it, too
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}  # reachable from this machine alone
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
