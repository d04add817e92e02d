"""`secam-onnx explain`."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.explain_options import (
    EngineOptions,
    ImageOptions,
    ModelOptions,
    OutputOptions,
    engine_options,
    image_options,
    model_options,
    output_options,
    segmenter_options,
    selection_options,
)
from secam_onnx.cli.options import head_options, memory_limit_option, timeout_option
from secam_onnx.cli.preprocessing_options import preprocessing_options
from secam_onnx.cli.progress import step
from secam_onnx.head_query import HeadQuery

if TYPE_CHECKING:
    from secam_onnx.batch.sources import Sources
    from secam_onnx.explainer import Explainer
    from secam_onnx.heads import Heads
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
    from secam_onnx.superpixels import Segmenter
    from secam_onnx.superpixels.selection import Selection

__all__ = ["command"]

_SHOWN = 5  # names that lead to no image
_OF_ALL_HEADS = {"providers", "segmenter", "selection", "preprocessing", "threads", "verify", "formats", "isolate"}


@click.command("explain")
@image_options
@click.option(
    "-c",
    "--class",
    "classes",
    multiple=True,
    default=("top-1",),
    metavar="CLASS",
    help="Explain this class: a name, an index, top-K or all; say name:2 or index:2 where both could be meant. May be "
    "repeated.  [default: top-1]",
)
@output_options
@model_options
@head_options
@preprocessing_options
@segmenter_options
@selection_options
@engine_options
@timeout_option
@memory_limit_option
def command(
    images: ImageOptions,
    classes: tuple[str, ...],
    output: OutputOptions,
    model: ModelOptions,
    query: HeadQuery,
    preprocessing: PreprocessingSettings | None,
    segmenter: Segmenter | None,
    selection: Selection | None,
    engine: EngineOptions,
) -> None:
    """Explain what a classifier saw in each IMAGE: a file, a folder of images, a pattern in quotes, or a .tar shard.

    Each image gets a folder: a panel and single pictures of every explained class, explanation.json and arrays.npz.
    With --to parquet it gets a row in a table instead.

    Exit code 0: all images were explained; 1: some failed; 2: all failed, or the options are wrong; 124:
    --timeout; 130: Ctrl-C; 143: SIGTERM.
    """
    from secam_onnx.cli.explain_notes import say_notes
    from secam_onnx.cli.explain_run import Cluster, Job, explain_all
    from secam_onnx.labels.label_files import read_labels
    from secam_onnx.photograph.label_map_files import read_label_map

    output = _checked(images, output, engine)
    sources = _sources(images, output.folder, engine)
    options: dict[str, Any] = {
        "providers": engine.provider,
        "segmenter": segmenter,
        "selection": selection,
        "preprocessing": preprocessing,
        "labels": read_labels(model.labels) if model.labels else None,
        **vars(query),
        "activation": model.activation,
        "attribution": model.attribution,
        "threads": engine.threads,
        "verify": "auto" if model.verify is None else model.verify,
        "formats": images.formats,
        "isolate": images.isolate,
    }
    segments = None if images.label_map is None else read_label_map(images.label_map)
    cluster = Cluster(model.model, options, engine.ray_address, engine.ray_actors) if engine.on_ray else None
    explainer: Explainer | Heads
    if query.logits == "all":
        explainer = _heads(model, options, engine)
        explainers = list(explainer.explainers.values())
    else:
        explainer = _explainer(model, options, engine, quiet=output.json_progress)
        explainers = [explainer]
    explainer.check_classes(classes)
    say_notes(explainers, model.verify, as_json=output.json_progress)
    explain_all(Job(explainer, sources, classes, output, segments, engine.batch_size, cluster))


def _checked(images: ImageOptions, output: OutputOptions, engine: EngineOptions) -> OutputOptions:
    """Refuse options that contradict each other; gives the output with its form decided."""
    if engine.on_ray and (output.to == "folder" or images.label_map is not None):
        raise click.UsageError(
            "--engine ray writes Parquet, and makes superpixels itself: no --to folder, --label-map."
        )
    output = dataclasses.replace(output, to=output.to or ("parquet" if engine.on_ray else "folder"))
    if output.label_maps and not output.parquet:
        raise click.UsageError("--label-maps goes with --to parquet; folders hold the label map in arrays.npz anyway.")
    return output


def _sources(images: ImageOptions, results: Path, engine: EngineOptions) -> Sources:
    """Find out whether there may be images, before the model is opened."""
    from secam_onnx.batch.sources import Sources
    from secam_onnx.errors import OptionError

    sources = Sources(images.images, images.from_list, exclude=results, stores=engine.on_ray)
    if reasons := sources.nothing():
        raise OptionError(" ".join(reasons[:_SHOWN]))
    if images.label_map is not None and sources.files != 1:
        raise click.UsageError(f"--label-map goes with one image; {sources.files or 'several'} were given.")
    return sources


def _explainer(model: ModelOptions, options: dict[str, Any], engine: EngineOptions, *, quiet: bool) -> Explainer:
    from secam_onnx.explainer import Explainer

    if engine.on_ray:  # here it tells the settings only: this machine may have no GPU, and the actors open their own
        options = options | {"providers": "cpu"}
    with contextlib.nullcontext() if quiet else step(f"open {model.title}", keep=False):
        return Explainer(model.model, **options)


def _heads(model: ModelOptions, options: dict[str, Any], engine: EngineOptions) -> Heads:
    """All heads of a model; options of a single head are refused."""
    from secam_onnx.default_model import default_model
    from secam_onnx.heads import Heads

    given = {name: value for name, value in options.items() if value is not None and name != "logits"}
    of_one_head = sorted(given.keys() - _OF_ALL_HEADS)
    if of_one_head or engine.on_ray:
        option = of_one_head[0].replace("_", "-") if of_one_head else "engine ray"
        raise click.UsageError(f"--{option} goes with one head, not with --logits all.")
    with step(f"open {model.title}", keep=False):
        return Heads(model.model or default_model(), **given)
