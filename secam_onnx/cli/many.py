"""What `secam-onnx explain` does once its options are read: where results go, what is shown, how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.progress import bar, json_lines, step

if TYPE_CHECKING:
    import numpy as np

    from secam_onnx.batch.run import Sink, Totals
    from secam_onnx.batch.sources import Item, Sources
    from secam_onnx.errors import SecamError
    from secam_onnx.explainer import Explainer
    from secam_onnx.explanation import Explanation
    from secam_onnx.heads import Heads

__all__ = ["Cluster", "Target", "explain_all"]

_SOME_FAILED, _ALL_FAILED = 1, 2
_FEW = 20  # images named one by one, of which each gets a line, and there is no table of errors
_ERRORS_SHOWN = 10


@dataclass(frozen=True)
class Target:
    """Where results go and how; see the options of `secam-onnx explain`."""

    folder: Path
    parquet: bool
    resume: bool
    retry_errors: bool
    label_maps: bool
    pictures: int
    json_progress: bool


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster and the explainers on it; `model` and `options` are arguments of `Explainer`."""

    model: Path | None
    options: Mapping[str, Any]
    address: str | None
    actors: int | None


def explain_all(
    explainer: Explainer | Heads,
    sources: Sources,
    classes: Sequence[str],
    target: Target,
    segments: np.ndarray | None,
    batch_size: int | None,
    cluster: Cluster | None = None,
) -> None:
    """Explain all images, by one head or by all, and end the program with the right code."""
    from secam_onnx.batch.run import Totals, run
    from secam_onnx.errors import OptionError
    from secam_onnx.explainer import Explainer
    from secam_onnx.pipeline.prepare import ImageWarning

    few = sources.files is not None and sources.files <= _FEW and not (target.parquet or target.resume)
    few = few and not target.json_progress
    sink: Sink
    if isinstance(explainer, Explainer):
        first = explainer
        sink, table = _sink(explainer, classes, target, few, cluster)
    else:
        first = next(iter(explainer.explainers.values()))
        sink, table = _sinks(explainer, classes, target, few)
    size, how = _batch_size(first, batch_size, cluster)
    work: Callable[..., Totals]
    if cluster is not None:
        work = _on_ray(first, classes, target, sources, sink, size, cluster)
    else:
        assert size is not None
        work = functools.partial(run, explainer, sources, sink, classes, segments=segments, batch_size=size)
    totals = Totals()
    show: AbstractContextManager[object] = contextlib.nullcontext()
    if target.json_progress:
        show = json_lines(totals, sources, batch_size=size)
    elif few:
        show = step(f"explain {_images(sources.files or 0)}", keep=False)
    elif sys.stderr.isatty():
        show = bar(totals, sources)
    talk = _Talk(target, few, live=not few and not isinstance(show, contextlib.nullcontext))
    start = time.perf_counter()
    try:
        with show, warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)  # it does not know what the image is called
            work(totals=totals, on_result=talk.seen)
            talk.say_how_many()
    except (KeyboardInterrupt, SystemExit):  # the latter by SIGTERM
        if not few and not target.json_progress:
            click.echo(f"{_images(totals.explained)} finished in {target.folder}; go on with --resume.", err=True)
        raise
    if not totals.done + totals.passed_over:
        raise OptionError(
            "No image was found. Folders and patterns are searched for JPEG, PNG, WebP, TIFF, GIF, BMP and AVIF files "
            "by the endings of their names, and for .tar shards."
        )
    if not few and not target.json_progress and totals.explained + totals.passed_over:
        rate = totals.explained / (time.perf_counter() - start)
        facts = [f"{rate:.1f} images/s", how] if totals.explained else []
        click.echo(f"{_images(totals.explained)} -> {target.folder} ({'; '.join(facts + _passed_over(totals))})")
    _end(totals, None if few else table, quiet=target.json_progress)


def _sink(
    explainer: Explainer, classes: Sequence[str], target: Target, few: bool, cluster: Cluster | None
) -> tuple[Sink, Path]:
    from secam_onnx.batch import folder_sink, parquet
    from secam_onnx.batch.run_settings import run_settings

    settings = run_settings(explainer, classes)
    if cluster is not None:
        settings["providers"] = [f"{cluster.options['providers']}, on Ray"]  # machines may differ
    again = {"resume": target.resume, "retry_errors": target.retry_errors}
    if target.parquet:
        table = target.folder / parquet.ERRORS
        return parquet.ParquetSink(target.folder, settings, label_maps=target.label_maps, **again), table
    table = target.folder / folder_sink.ERRORS
    return folder_sink.FolderSink(
        target.folder, settings, pictures=target.pictures, error_table=not few, **again
    ), table


def _sinks(heads: Heads, classes: Sequence[str], target: Target, few: bool) -> tuple[Sink, Path]:
    """A sink for each head, in a folder that is called as its output is."""
    from secam_onnx.batch.head_sinks import HeadSinks

    targets = {name: dataclasses.replace(target, folder=_folder(target, name)) for name in heads.explainers}
    made = {name: _sink(explainer, classes, targets[name], few, None) for name, explainer in heads.explainers.items()}
    return HeadSinks({name: sink for name, (sink, _) in made.items()}), next(iter(made.values()))[1]


def _folder(target: Target, head: str) -> Path:
    from secam_onnx.batch.folder_names import folder_name

    return target.folder / folder_name(head).replace("/", "_")


def _batch_size(explainer: Explainer, asked: int | None, cluster: Cluster | None) -> tuple[int | None, str]:
    from secam_onnx.batch.batch_size import choose_batch_size

    if asked:
        return asked, f"batches of {asked}, as asked for"
    if cluster is not None:
        return None, "on Ray"  # each actor chooses
    size, reason = choose_batch_size(explainer.classifier)
    return size, f"batches of {size}, {reason}"


def _on_ray(
    explainer: Explainer,
    classes: Sequence[str],
    target: Target,
    sources: Sources,
    sink: Sink,
    batch_size: int | None,
    cluster: Cluster,
) -> Callable[..., Totals]:
    from secam_onnx.batch.parquet import ParquetSink
    from secam_onnx.batch.ray_actor import Job
    from secam_onnx.batch.ray_data import explain_on_ray
    from secam_onnx.batch.run_settings import run_settings, settings_digest

    assert isinstance(sink, ParquetSink)
    model = None if cluster.model is None else str(cluster.model.absolute())
    digest = settings_digest(run_settings(explainer, classes))
    job = Job(model, cluster.options, tuple(classes), target.label_maps, batch_size, digest)
    return functools.partial(explain_on_ray, job, sources, sink, address=cluster.address, actors=cluster.actors)


class _Talk:
    """A line for each image, where there are not too many of them and no bar is in the way."""

    def __init__(self, target: Target, few: bool, live: bool) -> None:
        self._target, self._few, self._live = target, few, live
        self._errors = 0
        self._doubts: Counter[str] = Counter()

    def seen(self, item: Item, result: Explanation | Mapping[str, Explanation] | SecamError) -> None:
        from secam_onnx.errors import SecamError

        if not isinstance(result, SecamError):
            one = next(iter(result.values())) if isinstance(result, Mapping) else result
            self._doubted(item.key, one.method.get("image", {}).get("doubt"))
        if isinstance(result, Mapping):
            for name, one in result.items():
                self._explained(f"{item.key}, {name}", _folder(self._target, name) / item.folder, one)
            return
        if not isinstance(result, SecamError):
            self._explained(item.key, self._target.folder / item.folder, result)
            return
        self._errors += 1
        if self._target.json_progress:
            click.echo(json.dumps({"event": "failed", "image": item.key, "message": str(result)}), err=True)
            return
        if self._errors > _ERRORS_SHOWN and not self._few:
            return
        self._say(f"Error: {result}")

    def say_how_many(self) -> None:
        """How many more images there were that a warning applies to."""
        for doubt, count in self._doubts.items():
            if count > 1:
                self._say(f"Warning: {count - 1} more image{'s' * (count > 2)}: {doubt}")

    def _doubted(self, name: str, doubt: str | None) -> None:
        """Say it of the first image alone, of as many as there may be."""
        if doubt:
            self._doubts[doubt] += 1
            if self._doubts[doubt] == 1:
                self._say(f"Warning: {name}: {doubt}")

    def _say(self, text: str) -> None:
        if self._target.json_progress:
            text = json.dumps({"event": "note", "message": text})
        elif self._live:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)
            return
        click.echo(text, err=True)

    def _explained(self, name: str, folder: Path, explanation: Explanation) -> None:
        if not self._live and not self._target.parquet:
            if self._few and sys.stderr.isatty():
                click.echo("\r\033[K", nl=False, err=True)  # of the seconds that count up there
            click.echo(_summary(name, folder, explanation, self._target.pictures))


def _end(totals: Totals, table: Path | None, *, quiet: bool) -> None:
    seen = totals.done + totals.passed_over
    failed = totals.failed + totals.failed_earlier
    if failed:
        where = f"; {table} says why" if table is not None else ""
        earlier = f", {totals.failed_earlier} of them earlier (--retry-errors)" if totals.failed_earlier else ""
        if not quiet:
            click.echo(f"{failed} of {_images(seen)} could not be explained{earlier}{where}.", err=True)
        raise click.exceptions.Exit(_SOME_FAILED if totals.explained + totals.finished_earlier else _ALL_FAILED)


def _passed_over(totals: Totals) -> list[str]:
    counts = {
        "finished earlier": totals.finished_earlier,
        "failed earlier": totals.failed_earlier,
        "named twice": totals.repeated,
    }
    return [f"{count} {why}" for why, count in counts.items() if count]


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _summary(name: str, folder: Path, explanation: Explanation, pictures: int) -> str:
    top = ", ".join(map(str, explanation.predictions[:3]))
    left_out = len(explanation.classes) - pictures
    note = (
        f" (pictures of {pictures} of {len(explanation.classes)} classes: --pictures)"
        if left_out > 0 < pictures
        else ""
    )
    return f"{name}: {top} -> {folder}{note}"
