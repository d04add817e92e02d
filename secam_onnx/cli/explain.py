"""`secam-onnx explain`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secam_onnx.cli.options import (
    attribution_option,
    features_option,
    grid_option,
    labels_option,
    logits_option,
    preprocessing_options,
)

if TYPE_CHECKING:
    import numpy as np

    from secam_onnx.explainer import Explainer
    from secam_onnx.explanation import Explanation
    from secam_onnx.settings import PreprocessingSettings

__all__ = ["command"]

_SOME_FAILED, _ALL_FAILED = 1, 2


@click.command("explain")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
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
    help="Class to explain: name, index, top-K or all; may be repeated.  [default: top-1]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("secam-out"),
    show_default=True,
    help="Folder for the results, one folder an image.",
)
@click.option("--top-segments", type=int, metavar="K", help="Keep the K highest superpixels.")
@click.option("--threshold", type=float, metavar="FRACTION", help="Keep those of at least this part of the highest.")
@click.option("--coverage", type=float, metavar="SHARE", help="Keep the fewest that carry this share.  [default: 0.5]")
@click.option(
    "--segmenter",
    default="kmeans",
    show_default=True,
    metavar="NAME",
    help="kmeans, slic, felzenszwalb, quickshift or grid.",
)
@click.option("--segments", default=50, show_default=True, metavar="N", help="How many superpixels to aim at.")
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
@click.option("--provider", default="auto", show_default=True, metavar="NAME", help="auto, cpu or cuda.")
@preprocessing_options
@labels_option
@logits_option
@features_option
@grid_option
@attribution_option
def command(
    images: tuple[Path, ...],
    model: Path | None,
    classes: tuple[str, ...],
    output: Path,
    top_segments: int | None,
    threshold: float | None,
    coverage: float | None,
    segmenter: str,
    segments: int,
    compactness: float | None,
    label_map: Path | None,
    pictures: int,
    provider: str,
    preprocessing: PreprocessingSettings | None,
    labels: Path | None,
    logits: str | None,
    features: str | None,
    tokens: tuple[int, int] | None,
    attribution: str | None,
) -> None:
    """Explain what a classifier saw in each IMAGE.

    Each image gets a folder: a panel and single pictures of every explained class, explanation.json and arrays.npz.
    Exit code 0: all images were explained; 1: some could not be read; 2: none was, or the options are wrong.
    """
    from secam_onnx.explainer import Explainer
    from secam_onnx.labels import read_labels
    from secam_onnx.selection import Selection
    from secam_onnx.superpixels import Segmenter

    if pictures < 0:
        raise click.BadParameter(f"{pictures} is negative; 0 or more was expected.", param_hint="--pictures")
    if label_map is not None and len(images) != 1:
        raise click.UsageError(f"--label-map goes with one image; {len(images)} were given.")
    explainer = Explainer(
        model,
        providers=provider,
        segmenter=Segmenter(segmenter, segments, compactness),  # type: ignore[arg-type]  # None: the method's own
        selection=Selection(top_segments, threshold, coverage),
        preprocessing=preprocessing,
        labels=read_labels(labels) if labels else None,
        output=logits,
        features=features,
        tokens=tokens,
        attribution=attribution,
    )
    explainer.check_classes(classes)
    if (explainer.preprocessing_note or "").startswith("assumed"):
        click.echo(f"Preprocessing {explainer.preprocessing_note}. Another: --preprocess PRESET.", err=True)
    own_segments = None if label_map is None else _read_label_map(label_map)
    failed = 0
    with _progress(images) as progress:
        for image, folder in zip(progress, _folders(images, output), strict=True):
            failed += not _explain_one(explainer, image, folder, classes, own_segments, pictures)
    if failed:
        click.echo(f"{failed} of {len(images)} images could not be explained.", err=True)
        raise click.exceptions.Exit(_ALL_FAILED if failed == len(images) else _SOME_FAILED)


def _explain_one(
    explainer: Explainer,
    image: Path,
    folder: Path,
    classes: Sequence[str],
    own_segments: np.ndarray | None,
    pictures: int,
) -> bool:
    """Explain and save; a bad image is reported and the others go on."""
    from secam_onnx.errors import ImageError

    try:
        explanation = explainer.explain(image, classes, segments=own_segments)
    except ImageError as error:
        click.echo(f"Error: {error}", err=True)
        return False
    explanation.save(folder, pictures=pictures)
    click.echo(_summary(image, folder, explanation, pictures))
    return True


def _summary(image: Path, folder: Path, explanation: Explanation, pictures: int) -> str:
    top = ", ".join(f"{entry.label} ({entry.index}) {entry.probability:.3f}" for entry in explanation.predictions[:3])
    left_out = len(explanation.classes) - pictures
    note = f" (pictures of {pictures} of {len(explanation.classes)} classes: --pictures)" if left_out > 0 else ""
    return f"{image}: {top} -> {folder}{note}"


def _folders(images: Iterable[Path], output: Path) -> list[Path]:
    """A folder for each image: its name without the ending, numbered where several share it."""
    taken: set[str] = set()
    folders = []
    for image in images:
        name, count = image.stem, 1
        while name.casefold() in taken:  # file systems may ignore case
            count += 1
            name = f"{image.stem}-{count}"
        taken.add(name.casefold())
        folders.append(output / name)
    return folders


def _progress(images: Sequence[Path]) -> AbstractContextManager[Iterable[Path]]:
    hidden = len(images) < 3 or not sys.stderr.isatty()
    return click.progressbar(images, label="explain", file=sys.stderr, show_pos=True, hidden=hidden)


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
