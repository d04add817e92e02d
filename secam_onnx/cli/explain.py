"""`secam-onnx explain`."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.many import Cluster, Target, explain_all
from secam_onnx.cli.options import (
    activation_option,
    attribution_option,
    features_option,
    labels_option,
    logits_option,
    preprocessing_options,
    selection_options,
    token_grid_option,
)
from secam_onnx.cli.progress import step

if TYPE_CHECKING:
    import numpy as np

    from secam_onnx.explainer import Explainer
    from secam_onnx.heads import Heads
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
    from secam_onnx.superpixels import Segmenter

__all__ = ["command"]

_SHOWN = 5  # names that lead to nothing


def _batch_size(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value.lower() == "auto":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 4096:
        raise click.BadParameter(f"{value!r}; auto, or 1 to 4096, was expected.")
    return int(value)


def _folder(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    from secam_onnx.batch.object_stores import is_address

    if is_address(value):
        raise click.BadParameter(f"{value!r} is an address; results go to a folder here, which can be copied there.")
    if os.path.isfile(value):  # noqa: PTH113 (whose answer to a name that is too long is no)
        raise click.BadParameter(f"{value!r} is a file; results go to a folder, a new one or that of an earlier run.")
    return Path(value)


@click.command("explain")
@click.argument("images", nargs=-1, type=click.Path(), metavar="IMAGE...")
@click.option("--from-list", "lists", metavar="FILE|-", help="Images, folders or shards, one a line; - is stdin.")
@click.option(
    "-m",
    "--model",
    type=click.Path(path_type=Path),
    help="ONNX classifier, or its folder.  [default: EfficientNet-Lite0, ImageNet]",
)
@click.option(
    "-c",
    "--class",
    "classes",
    multiple=True,
    default=("top-1",),
    metavar="CLASS",
    help="Class to explain: name, index, top-K or all; name:2 and index:2 where both could be meant; may be repeated.  "
    "[default: top-1]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    default="secam-out",
    show_default=True,
    callback=_folder,
    help="Folder for the results.",
)
@click.option(
    "--to",
    type=click.Choice(["folder", "parquet"]),
    help="A folder an image, with pictures, or one Parquet dataset of numbers.  [default: folder; on Ray parquet]",
)
@click.option("--label-maps", is_flag=True, help="For parquet: with the label maps of the superpixels.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run was stopped.")
@click.option("--retry-errors", is_flag=True, help="With --resume: try again what failed in the earlier run.")
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    callback=_batch_size,
    metavar="N|auto",
    help="Images a forward pass, at most.",
)
@click.option("--json-progress", is_flag=True, help="A line of JSON on stderr every second, for machines.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This machine, or a Ray cluster, which also reads addresses such as s3://bucket/folder.",
)
@click.option("--ray-address", metavar="HOST:PORT", help="Of the cluster.  [default: RAY_ADDRESS, or one of its own]")
@click.option(
    "--ray-actors", type=click.IntRange(1), metavar="N", help="Explainers, at most.  [default: one a GPU, or a core]"
)
@selection_options
@click.option(
    "--segmenter",
    metavar="NAME",
    help="kmeans, slic, felzenszwalb, quickshift or grid.  [default: kmeans]",
)
@click.option("--n-segments", type=int, metavar="N", help="How many superpixels to aim at.  [default: 50]")
@click.option(
    "--compactness",
    type=float,
    metavar="C",
    help="Higher: rounder superpixels.  [default: 15 for kmeans, 10 for the others]",
)
@click.option(
    "--label-map",
    type=click.Path(path_type=Path),
    help="Superpixels of your own for one image: PNG or NPY of integers, as large as the image.",
)
@click.option("--pictures", default=10, show_default=True, metavar="N", help="Draw at most N classes an image.")
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="For one forward pass on the CPU.  [default: all cores]"
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Compare all outputs with those of the file itself in plain ONNX Runtime, on three images, or not at all.  "
    "[default: on one; not above 1 GiB of weights, nor of exported files]",
)
@click.option("--provider", default="auto", show_default=True, metavar="NAME", help="auto, cpu or cuda.")
@preprocessing_options
@labels_option
@logits_option
@activation_option
@features_option
@token_grid_option
@attribution_option
def command(
    images: tuple[str, ...],
    lists: str | None,
    model: Path | None,
    classes: tuple[str, ...],
    output: Path,
    to: str | None,
    label_maps: bool,
    resume: bool,
    retry_errors: bool,
    batch_size: int | None,
    json_progress: bool,
    engine: str,
    ray_address: str | None,
    ray_actors: int | None,
    top_segments: int | None,
    threshold: float | None,
    coverage: float | None,
    segmenter: str | None,
    n_segments: int | None,
    compactness: float | None,
    label_map: Path | None,
    pictures: int,
    threads: int | None,
    verify: bool | None,
    provider: str,
    preprocessing: PreprocessingSettings | None,
    labels: Path | None,
    logits: str | None,
    activation: str | None,
    features: str | None,
    token_grid: tuple[int, int] | None,
    attribution: str | None,
) -> None:
    """Explain what a classifier saw in each IMAGE: a file, a folder of them, a pattern in quotes, or a .tar shard.

    Each image gets a folder: a panel and single pictures of every explained class, explanation.json and arrays.npz;
    or, with --to parquet, a row in a table.

    Exit code 0: all images were explained; 1: some could not be; 2: none was, or the options are wrong; 130: Ctrl-C.
    """
    from secam_onnx.batch.sources import Sources
    from secam_onnx.errors import OptionError
    from secam_onnx.explainer import Explainer
    from secam_onnx.labels.label_files import read_labels
    from secam_onnx.superpixels.selection import Selection

    if not images and lists is None:
        raise click.UsageError("Missing argument 'IMAGE...': files, folders, patterns or .tar shards, or --from-list.")
    if models := [name for name in images if name.lower().endswith(".onnx")]:
        raise click.UsageError(f"{models[0]} is a model; it goes behind --model, and IMAGE is what it is to explain.")
    if pictures < 0:
        raise click.BadParameter(f"{pictures} is negative; 0 or more was expected.", param_hint="--pictures")
    on_ray = engine == "ray"
    if not on_ray and (ray_address or ray_actors):
        raise click.UsageError("--ray-address and --ray-actors go with --engine ray.")
    if on_ray and (to == "folder" or label_map is not None):
        raise click.UsageError(
            "--engine ray writes Parquet, with superpixels of its own: no --to folder, no --label-map."
        )
    to = to or ("parquet" if on_ray else "folder")
    if label_maps and to != "parquet":
        raise click.UsageError("--label-maps goes with --to parquet; folders hold the label map in arrays.npz anyway.")
    if retry_errors and not resume:
        raise click.UsageError("--retry-errors goes with --resume; without it every image is tried.")
    sources = Sources(images, lists, exclude=output, stores=on_ray)
    if reasons := sources.nothing():  # before the model is opened
        raise OptionError(" ".join(reasons[:_SHOWN]))
    if label_map is not None and sources.files != 1:
        raise click.UsageError(f"--label-map goes with one image; {sources.files or 'several'} were given.")
    selection = Selection(top_segments, threshold, coverage)
    options: dict[str, Any] = {
        "providers": provider,
        "segmenter": _segmenter(segmenter, n_segments, compactness),
        "selection": None if selection == Selection() else selection,  # a fused model has its own
        "preprocessing": preprocessing,
        "labels": read_labels(labels) if labels else None,
        "logits": logits,
        "activation": activation,
        "features": features,
        "token_grid": token_grid,
        "attribution": attribution,
        "threads": threads,
        "verify": "auto" if verify is None else verify,
    }
    own_segments = None if label_map is None else _read_label_map(label_map)
    target = Target(output, to == "parquet", resume, retry_errors, label_maps, pictures, json_progress)
    if logits == "all":
        heads = _heads(model, options, on_ray=on_ray)
        heads.check_classes(classes)
        _say(heads.explainers.values(), verify, as_json=json_progress)
        explain_all(heads, sources, classes, target, own_segments, batch_size)
        return
    # On Ray it is here for the settings only; this machine may have no GPU, and its actors check the provider.
    with contextlib.nullcontext() if json_progress else step(f"open {model or 'the default model'}", keep=False):
        explainer = Explainer(model, **options | ({"providers": "cpu"} if on_ray else {}))
    explainer.check_classes(classes)
    _say([explainer], verify, as_json=json_progress)
    cluster = Cluster(model, options, ray_address, ray_actors) if on_ray else None
    explain_all(explainer, sources, classes, target, own_segments, batch_size, cluster)


def _heads(model: Path | None, options: dict[str, Any], *, on_ray: bool) -> Heads:
    """All heads of a model; what is said of one head goes with one."""
    from secam_onnx.graph.locate import default_model
    from secam_onnx.heads import Heads

    options = {name: value for name, value in options.items() if value is not None and name != "logits"}
    shared = {"providers", "segmenter", "selection", "preprocessing", "threads", "verify"}
    if on_ray or not options.keys() <= shared:
        what = next(iter(options.keys() - shared), "engine ray").replace("_", "-")
        raise click.UsageError(f"--{what} goes with one head, not with --logits all.")
    with step(f"open {model or 'the default model'}", keep=False):
        return Heads(model or default_model(), **options)


def _say(explainers: Iterable[Explainer], verify: bool | None, *, as_json: bool) -> None:
    """What there is to say of one head or more; what is the same of several is said once."""
    for note in dict.fromkeys(note for explainer in explainers for note in _notes(explainer, verify)):
        click.echo(json.dumps({"event": "note", "message": note}) if as_json else note, err=True)


def _notes(explainer: Explainer, verify: bool | None) -> Iterator[str]:
    """What was assumed, what takes long, and what was not done."""
    from secam_onnx.classifier.fidelity import NOT_COMPARED

    metadata = explainer.classifier.metadata
    if (explainer.preprocessing_note or "").startswith("assumed"):
        again = "" if metadata.fused is None else "export it --fused again, with "
        yield f"Preprocessing {explainer.preprocessing_note}. Another: {again}--preprocess PRESET."
    for warning in filter(None, (explainer.preprocessing_warning, explainer.features_warning)):
        yield f"Warning: {warning}"
    if metadata.probability_note.startswith(("assumed", "none")):
        yield f"Probability {metadata.probability_note}."
    if metadata.labels is None and (why := metadata.origin.get("labels")):
        yield f"Class names: {why}. --labels FILE gives them."
    if explainer.classifier.attribution == "masking":
        yield _of_masking(explainer)
    if verify and (found := explainer.fidelity) is not None:
        yield (
            f"Verified: on {len(found['images'])} images {', '.join(found['outputs'])} differ from what the file gives "
            f"in plain ONNX Runtime by {found['max_relative_difference']:.2g} at most, relative."
        )
    if verify is None and explainer.fidelity is None and not metadata.completeness:  # which exports have
        yield f"Not verified: {NOT_COMPARED} (--verify does that)."


def _of_masking(explainer: Explainer) -> str:
    """What the slow way is, why it is taken, and how much it takes."""
    head = explainer.classifier.metadata.head
    why = "The head is not understood, so maps are" if head.algebra == "unknown" else "Maps are"
    shapes = [head.shape[1:], *(entry.shape[1:] for entry in head.further)]
    lengths = [length for shape in shapes for length in shape]
    times = "once for each cell of the feature map"
    if None not in lengths:
        runs = sum(math.prod(length or 0 for length in shape) + 2 for shape in shapes)
        cells = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
        times = f"{runs} times ({cells} cells{', each' * (len(shapes) > 1)} alone, then none and all)"
    return f"{why} made by masking: the head is run again {times} for each image or batch of images."


def _segmenter(method: str | None, n_segments: int | None, compactness: float | None) -> Segmenter | None:
    """None where nothing is said: a fused model has its own."""
    from secam_onnx.superpixels import Segmenter

    given = {"method": method, "n_segments": n_segments, "compactness": compactness}
    given = {name: value for name, value in given.items() if value is not None}
    return Segmenter(**given) if given else None  # type: ignore[arg-type]


def _read_label_map(path: Path) -> np.ndarray:
    import numpy as np
    from PIL import Image

    from secam_onnx.errors import OptionError

    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise OptionError(
            f"Cannot read the label map {path} ({error}); give a PNG, TIFF or NPY of integers."
        ) from error
