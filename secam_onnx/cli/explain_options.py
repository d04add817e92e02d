"""The options of `secam-onnx explain` that no other command has, in groups."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secam_onnx.cli.options import (
    SELECTION,
    activation_option,
    attribution_option,
    formats_option,
    grouped,
    labels_option,
    model_option,
    provider_option,
    selection,
    threads_option,
)

if TYPE_CHECKING:
    from secam_onnx.superpixels import Segmenter

__all__ = [
    "EngineOptions",
    "ImageOptions",
    "ModelOptions",
    "OutputOptions",
    "engine_options",
    "image_options",
    "model_options",
    "output_options",
    "segmenter_options",
    "selection_options",
]


@dataclass(frozen=True)
class ImageOptions:
    """Which images are explained."""

    images: tuple[str, ...]
    from_list: str | None
    label_map: Path | None
    formats: tuple[str, ...] | None
    isolate: bool

    def __post_init__(self) -> None:
        if not self.images and self.from_list is None:
            raise click.UsageError(
                "Missing argument 'IMAGE...': files, folders, patterns or .tar shards, or --from-list."
            )
        if models := [name for name in self.images if name.lower().endswith(".onnx")]:
            raise click.UsageError(f"{models[0]} is a model; name it with --model, and IMAGE is what it explains.")


@dataclass(frozen=True)
class ModelOptions:
    """Which model explains them; the options of its head and of its preprocessing are groups of their own."""

    model: Path | None
    labels: Path | None
    activation: str | None
    attribution: str | None
    verify: bool | None

    @property
    def title(self) -> str:
        """The model, in words."""
        return "the default model" if self.model is None else str(self.model)


@dataclass(frozen=True)
class OutputOptions:
    """Where results go, and in which form."""

    folder: Path
    to: str | None
    label_maps: bool
    pictures: int
    resume: bool
    retry_errors: bool
    json_progress: bool

    def __post_init__(self) -> None:
        if self.pictures < 0:
            raise click.BadParameter(f"{self.pictures} is negative; 0 or more was expected.", param_hint="--pictures")
        if self.retry_errors and not self.resume:
            raise click.UsageError("--retry-errors goes with --resume; without it every image is tried.")

    @property
    def parquet(self) -> bool:
        """Whether results go into a Parquet dataset."""
        return self.to == "parquet"


@dataclass(frozen=True)
class EngineOptions:
    """What the network runs on."""

    engine: str
    ray_address: str | None
    ray_actors: int | None
    batch_size: int | None
    provider: str
    threads: int | None

    def __post_init__(self) -> None:
        if not self.on_ray and (self.ray_address or self.ray_actors):
            raise click.UsageError("--ray-address and --ray-actors go with --engine ray.")

    @property
    def on_ray(self) -> bool:
        """Whether a Ray cluster explains the images."""
        return self.engine == "ray"


def _batch_size(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value.lower() == "auto":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 4096:
        raise click.BadParameter(f"{value!r}; auto, or 1 to 4096, was expected.")
    return int(value)


def _folder(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    from secam_onnx.batch.object_stores import is_address

    if is_address(value):
        raise click.BadParameter(f"{value!r} is an address; name a folder on this machine, and copy it there.")
    if os.path.isfile(value):  # noqa: PTH113 (False for a name that is too long)
        raise click.BadParameter(f"{value!r} is a file; name a new folder, or the folder of an earlier run.")
    return Path(value)


def _segmenter(segmenter: str | None, n_segments: int | None, compactness: float | None) -> Segmenter | None:
    """How superpixels are made; None without any of the options, as a fused model has its own way."""
    from secam_onnx.superpixels import Segmenter

    given = {"method": segmenter, "n_segments": n_segments, "compactness": compactness}
    given = {name: value for name, value in given.items() if value is not None}
    return Segmenter(**given) if given else None  # type: ignore[arg-type]


image_options = grouped(
    "images",
    ImageOptions,
    click.argument("images", nargs=-1, type=click.Path(), metavar="IMAGE..."),
    click.option(
        "--from-list",
        metavar="FILE|-",
        help="Explain the images, folders and shards in this file, one per line; - reads them from stdin.",
    ),
    click.option(
        "--label-map",
        type=click.Path(path_type=Path),
        help="Take the superpixels of one image from this file: a PNG, TIFF or NPY of integers, as large as the image "
        "or the model's input.",
    ),
    formats_option,
    click.option(
        "--isolate",
        is_flag=True,
        help="Decode in processes that are ended where an image takes more than 10 s, too much memory, or crashes: for "
        "files of strangers.",
    ),
)
model_options = grouped(
    "model",
    ModelOptions,
    model_option,
    labels_option,
    activation_option,
    attribution_option,
    click.option(
        "--verify/--no-verify",
        default=None,
        help="Compare all outputs with those of the same file in plain ONNX Runtime: on three images, or not at all.  "
        "[default: on one image; not for exported files, nor above 1 GiB of weights]",
    ),
)
segmenter_options = grouped(
    "segmenter",
    _segmenter,
    click.option(
        "--segmenter",
        metavar="NAME",
        help="Make superpixels by kmeans, slic, felzenszwalb, quickshift or grid.  [default: kmeans]",
    ),
    click.option("--n-segments", type=int, metavar="N", help="Aim at N superpixels.  [default: 50]"),
    click.option(
        "--compactness",
        type=float,
        metavar="C",
        help="Make superpixels rounder with a higher number.  [default: 15 for kmeans, 10 for the others]",
    ),
)
selection_options = grouped("selection", selection, *SELECTION)
output_options = grouped(
    "output",
    OutputOptions,
    click.option(
        "-o",
        "--output",
        "folder",
        type=click.Path(),
        default="secam-out",
        show_default=True,
        callback=_folder,
        help="Write the results into this folder.",
    ),
    click.option(
        "--to",
        type=click.Choice(["folder", "parquet"]),
        help="Write one folder per image, with pictures, or one Parquet dataset of numbers.  [default: folder; on Ray "
        "parquet]",
    ),
    click.option("--label-maps", is_flag=True, help="With --to parquet: write the label maps of the superpixels, too."),
    click.option(
        "--pictures", default=10, show_default=True, metavar="N", help="Draw at most N classes of each image."
    ),
    click.option("--resume", is_flag=True, help="Go on with an earlier run that was stopped."),
    click.option("--retry-errors", is_flag=True, help="With --resume: try the images again that failed earlier."),
    click.option(
        "--json-progress", is_flag=True, help="Write a line of JSON to stderr every second, for other programs."
    ),
)
engine_options = grouped(
    "engine",
    EngineOptions,
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Run on this machine, or on a Ray cluster, which also reads addresses such as s3://bucket/folder.",
    ),
    click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Use the Ray cluster at this address.  [default: RAY_ADDRESS, or a cluster started on this machine]",
    ),
    click.option(
        "--ray-actors",
        type=click.IntRange(1),
        metavar="N",
        help="Start at most N explainers on the cluster.  [default: one per GPU, or per core without GPUs]",
    ),
    click.option(
        "--batch-size",
        default="auto",
        show_default=True,
        callback=_batch_size,
        metavar="N|auto",
        help="Put at most N images into a forward pass.",
    ),
    provider_option,
    threads_option,
)
