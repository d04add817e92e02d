"""Run fused models in every engine and compare the answers with ONNX Runtime's in Python (benchmarks/runtimes.md).

    pip install "secam-onnx[cpu]" openvino
    (cd tests/runtimes && npm ci --ignore-scripts)
    secam-onnx export resnet50 --weights none -o resnet50.onnx  # and inception_v3, vgg16
    python tools/compare_runtimes.py resnet50.onnx inception_v3.onnx vgg16.onnx

The default model comes first. Pictures are cut at random, seed 0, out of the photographs that scikit-image ships.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click
import numpy as np
import onnxruntime
from PIL import Image
from skimage import data

from secam_onnx.bench.report import table
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.default_model import default_model
from secam_onnx.export import export_model, open_source
from secam_onnx.fusion import Fusion
from secam_onnx.reserved_prefix import RESERVED

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from agreement import difference
from engines import ENGINES, Arrays, EngineError, Result, timed

REFERENCE = "python"
PHOTOGRAPHS = (data.chelsea, data.astronaut, data.coffee)
PACKAGES = ("secam-onnx", "onnxruntime", "onnx", "numpy")
TOP = 3
HEADER = [
    "engine", "classes", "labels differ in", "labels", "contributions", "scores", "map", "overlay",
    "contributions, other labels", "ms", "/ forward",
]  # fmt: skip


def views(size: tuple[int, int], count: int) -> np.ndarray:
    """Parts of photographs at the model's size, `(count, H, W, 3)` uint8; the first is a whole one."""
    random = np.random.default_rng(0)
    pictures = []
    for index in range(count):
        photograph = PHOTOGRAPHS[index % len(PHOTOGRAPHS)]()
        if index:
            height, width = (int(edge * random.uniform(0.4, 1)) for edge in photograph.shape[:2])
            top, left = (
                random.integers(whole - part + 1)
                for whole, part in zip(photograph.shape[:2], (height, width), strict=True)
            )
            photograph = photograph[top : top + height, left : left + width]
        pictures.append(np.asarray(Image.fromarray(photograph).resize(size[::-1], Image.Resampling.BICUBIC)))
    return np.stack(pictures)


def forward(path: Path, picture: np.ndarray, repeats: int) -> list[float]:
    """Milliseconds of the network alone, in ONNX Runtime in Python with its own defaults."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    feed = {image.name: open_classifier(path, providers="cpu").metadata.preprocessing.normalise(picture)}
    own = [output.name for output in session.get_outputs() if not output.name.startswith(RESERVED)]
    return timed(lambda: dict(zip(own, session.run(own, feed), strict=True)), repeats).milliseconds


def compared(results: list[Result], expected: list[Result], milliseconds: float, plain: float) -> list[str]:
    """One row of the table."""
    pairs = [(mine.outputs, theirs.outputs) for mine, theirs in zip(results, expected, strict=True)]
    alike = [np.array_equal(mine["segments"], theirs["segments"]) for mine, theirs in pairs]
    same, other = ([pair for pair, equal in zip(pairs, alike, strict=True) if equal == kind] for kind in (True, False))

    def largest(name: str, pairs: list[tuple[Arrays, Arrays]] = same) -> str:
        return f"{max(difference(mine[name], theirs[name]) for mine, theirs in pairs):.1e}" if pairs else "-"

    def share(name: str, pairs: list[tuple[Arrays, Arrays]], beyond: int = 0) -> str:
        found = [float((np.abs(mine[name].astype(int) - theirs[name]) > beyond).mean()) for mine, theirs in pairs]
        return f"{np.mean(found):.1e}" if any(found) else "0"

    return [
        "equal" if share("class_ids", pairs) == "0" else "differ",
        f"{len(other)} of {len(pairs)}",
        share("segments", pairs),
        *(largest(name) for name in ("segment_contributions", "segment_scores", "cam")),
        share("overlay", same, beyond=1),
        largest("segment_contributions", other),
        f"{milliseconds:.3g}",
        f"{milliseconds / plain:.2f}",
    ]


def rows_of(path: Path, folder: Path, count: int, rounds: int) -> list[list[str]]:
    """Fuse a model and run it everywhere."""
    fused = folder / "fused.onnx"
    metadata = export_model(open_source(path), fused, fusion=Fusion(default_classes=False), overwrite=True)
    assert metadata.fused is not None
    pictures = views(metadata.fused.size, count)
    feeds = [{"image": picture[None], "classes": -1 - np.arange(TOP)[None]} for picture in pictures]
    expected = ENGINES[REFERENCE].run(fused, feeds)
    rows = []
    for name, engine in ENGINES.items():
        click.echo(f"{path.stem}: {name}", err=True)
        if missing := engine.missing():
            raise click.ClickException(f"{name} needs {missing}")
        before = forward(path, pictures[0], rounds)
        try:
            results = [*engine.run(fused, feeds[:1], rounds), *engine.run(fused, feeds[1:])]
        except EngineError as error:
            words = str(error).strip().splitlines()
            rows.append([engine.version(), f"cannot: {words[-1]}", *[""] * (len(HEADER) - 2)])
            click.echo(error, err=True)
            continue
        plain = median([*before, *forward(path, pictures[0], rounds)])
        rows.append([engine.version(), *compared(results, expected, median(results[0].milliseconds), plain)])
    return rows


@click.command(context_settings={"show_default": True})
@click.argument("models", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--pictures", default=24, type=click.IntRange(2), help="Pictures for each model.")
@click.option("--rounds", default=15, type=click.IntRange(2), help="Rounds of timing.")
def main(models: tuple[Path, ...], pictures: int, rounds: int) -> None:
    """Compare, and print tables: the default model first, then MODELS, explainable files."""
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    click.echo(f"{cores} cores; {versions}; {datetime.now(UTC):%Y-%m-%d}. {pictures} pictures, {rounds} rounds.\n")
    for path in (default_model(), *models):
        with TemporaryDirectory() as folder:
            rows = rows_of(path, Path(folder), pictures, rounds)
        click.echo(f"### {path.stem}\n\n{table(HEADER, rows)}")


if __name__ == "__main__":
    main()
