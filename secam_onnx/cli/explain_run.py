"""The run of `secam-onnx explain` once model and images are known: where results go, what it shows, how it ends."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.console import say
from secam_onnx.cli.explain_messages import Messages, head_folder, images_in_words, passed_over
from secam_onnx.cli.explain_options import OutputOptions
from secam_onnx.cli.progress import bar, json_lines, step

if TYPE_CHECKING:
    import numpy as np

    from secam_onnx.batch.run import Sink, Totals
    from secam_onnx.batch.sources import Sources
    from secam_onnx.explainer import Explainer
    from secam_onnx.heads import Heads

__all__ = ["Cluster", "Job", "explain_all"]

_SOME_FAILED, _ALL_FAILED = 1, 2
_FEW = 20  # images


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster and the explainers on it; `model` and `options` are arguments of `Explainer`."""

    model: Path | None
    options: Mapping[str, Any]
    address: str | None
    actors: int | None


@dataclass(frozen=True)
class Job:
    """What is to be explained, and how.

    Attributes
    ----------
    explainer : Explainer or Heads
        The model; on a cluster, it tells the settings only.
    sources : Sources
        The images.
    classes : sequence of str
        Which classes.
    output : OutputOptions
        Where results go.
    segments : ndarray or None
        The user's own label map.
    batch_size : int or None
        Images per forward pass; None to choose.
    cluster : Cluster or None
        The Ray cluster that explains the images; None for this machine.
    """

    explainer: Explainer | Heads
    sources: Sources
    classes: Sequence[str]
    output: OutputOptions
    segments: np.ndarray | None
    batch_size: int | None
    cluster: Cluster | None

    @property
    def explainers(self) -> Mapping[str, Explainer]:
        """The explainer of every head, by the head's output; by an empty name if there is only one."""
        from secam_onnx.explainer import Explainer

        return {"": self.explainer} if isinstance(self.explainer, Explainer) else self.explainer.explainers

    @property
    def brief(self) -> bool:
        """Whether each image gets a line: a few that were named one by one. Then there is no table of errors."""
        several = self.output.parquet or self.output.resume or self.output.json_progress
        return self.sources.files is not None and self.sources.files <= _FEW and not several


def explain_all(job: Job) -> None:
    """Explain all images, and end the program with the right exit code."""
    from secam_onnx.batch.run import Totals
    from secam_onnx.pipeline.prepare import ImageWarning

    output, totals = job.output, Totals()
    sink, table = _sink(job)
    batch_size, reason = _batch_size(job)
    work = _work(job, sink, batch_size)
    progress = _progress(job, totals, batch_size)
    messages = Messages(output, each=job.brief, live=not job.brief and progress is not None)
    if not sink.locked and not job.brief:
        messages.note(f"Warning: the file system of {output.folder} has no locks; start no second run in it.")
    start = time.perf_counter()
    try:
        with progress or contextlib.nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)  # it does not know the image's name
            work(totals=totals, on_result=messages.on_result)
            messages.count_doubts()
    except (KeyboardInterrupt, SystemExit):  # the latter on SIGTERM
        if not job.brief and not output.json_progress:
            finished = images_in_words(totals.explained)
            say(f"{finished} finished in {output.folder}; go on with --resume.", err=True)
        raise
    if not job.brief and not output.json_progress and totals.explained + totals.passed_over:
        rate = totals.explained / (time.perf_counter() - start)
        facts = [f"{rate:.1f} images/s", reason] if totals.explained else []
        facts += passed_over(totals)
        say(f"{images_in_words(totals.explained)} -> {output.folder} ({'; '.join(facts)})")
    _end(totals, None if job.brief else table, quiet=output.json_progress)


def _sink(job: Job) -> tuple[Sink, Path]:
    """The sink of all results, and the table of errors; each of several heads has a folder named after its output."""
    from secam_onnx.batch.head_sinks import HeadSinks

    made = {name: _sink_of_head(job, name, explainer) for name, explainer in job.explainers.items()}
    sink, table = next(iter(made.values()))
    return (sink if "" in made else HeadSinks({name: one for name, (one, _) in made.items()})), table


def _sink_of_head(job: Job, name: str, explainer: Explainer) -> tuple[Sink, Path]:
    from secam_onnx.batch import folder_sink, parquet
    from secam_onnx.batch.run_settings import run_settings

    output = job.output
    folder = head_folder(output.folder, name)
    settings = run_settings(explainer, job.classes)
    if job.cluster is not None:
        settings["providers"] = [f"{job.cluster.options['providers']}, on Ray"]  # its machines may differ
    again = {"resume": output.resume, "retry_errors": output.retry_errors}
    if output.parquet:
        dataset = parquet.ParquetSink(folder, settings, label_maps=output.label_maps, **again)
        return dataset, folder / parquet.ERRORS
    folders = folder_sink.FolderSink(folder, settings, pictures=output.pictures, error_table=not job.brief, **again)
    return folders, folder / folder_sink.ERRORS


def _batch_size(job: Job) -> tuple[int | None, str]:
    """The batch size, None if each actor chooses, and why it is so."""
    from secam_onnx.batch.batch_size import choose_batch_size

    if job.batch_size:
        return job.batch_size, f"batches of {job.batch_size}, as asked for"
    if job.cluster is not None:
        return None, "on Ray"
    size, reason = choose_batch_size(next(iter(job.explainers.values())).classifier)
    return size, f"batches of {size}, {reason}"


def _work(job: Job, sink: Sink, batch_size: int | None) -> Callable[..., Totals]:
    """The function that explains all images, here or on a cluster."""
    from secam_onnx.batch.run import run

    if job.cluster is not None:
        return _work_on_ray(job, job.cluster, sink, batch_size)
    assert batch_size is not None
    images = (job.explainer, job.sources, sink, job.classes)
    return functools.partial(run, *images, segments=job.segments, batch_size=batch_size)


def _work_on_ray(job: Job, cluster: Cluster, sink: Sink, batch_size: int | None) -> Callable[..., Totals]:
    from secam_onnx.batch import ray_actor
    from secam_onnx.batch.parquet import ParquetSink
    from secam_onnx.batch.ray_data import explain_on_ray
    from secam_onnx.batch.run_settings import run_settings, settings_digest

    assert isinstance(sink, ParquetSink)
    (explainer,) = job.explainers.values()
    digest = settings_digest(run_settings(explainer, job.classes))
    model = None if cluster.model is None else str(cluster.model.absolute())
    task = ray_actor.Job(model, cluster.options, tuple(job.classes), job.output.label_maps, batch_size, digest)
    return functools.partial(explain_on_ray, task, job.sources, sink, address=cluster.address, actors=cluster.actors)


def _progress(job: Job, totals: Totals, batch_size: int | None) -> AbstractContextManager[object] | None:
    """How the run shows its progress; None where it shows none."""
    if job.output.json_progress:
        return json_lines(totals, job.sources, batch_size=batch_size)
    if job.brief:
        return step(f"explain {images_in_words(job.sources.files or 0)}", keep=False)
    return bar(totals, job.sources) if sys.stderr.isatty() else None


def _end(totals: Totals, table: Path | None, *, quiet: bool) -> None:
    """Say what failed, and leave with the exit code."""
    from secam_onnx.errors import OptionError

    seen, failed = totals.done + totals.passed_over, totals.failed + totals.failed_earlier
    if not seen:
        raise OptionError(
            "No image was found. Folders and patterns are searched for .tar shards and for JPEG, PNG, WebP, TIFF, GIF, "
            "BMP and AVIF files, by the endings of their names."
        )
    if failed:
        where = f"; see {table}" if table is not None else ""
        earlier = f", {totals.failed_earlier} of them earlier (--retry-errors)" if totals.failed_earlier else ""
        if not quiet:
            say(f"{failed} of {images_in_words(seen)} could not be explained{earlier}{where}.", err=True)
        raise click.exceptions.Exit(_SOME_FAILED if totals.explained + totals.finished_earlier else _ALL_FAILED)
