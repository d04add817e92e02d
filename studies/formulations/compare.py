"""Which way to write K-means as an ONNX graph is the fastest in ONNX Runtime on a CPU (README.md).

    taskset -c 0 python -m studies.formulations.compare --json formulations.json
    python -m studies.formulations.compare --step whole

Each step of the model is written in several ways that give the same labels, or nearly: how many agree is printed. They
take turns, in sessions of one thread. CPU time of the process is the figure to compare: unlike wall time it hardly
changes when others use the machine as well.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from PIL import Image

from secam_onnx.bench.machine import record
from secam_onnx.bench.report import table
from secam_onnx.photograph.images import read_image
from secam_onnx.superpixels import Segmenter, segment
from secam_onnx.superpixels.cells import Cells
from secam_onnx.superpixels.kmeans import kmeans_model
from studies.formulations.session import open_model, open_nodes, run, take_turns
from studies.formulations.steps import COMPACTNESS, Step, steps

PHOTO = Path(__file__).parents[2] / "docs" / "chelsea.png"
SIZE, SEGMENTS, BLOCKS = (224, 224), 49, 8
STEPS = ("move", "colour", "iterate", "assign", "look up", "whole")
PACKAGES = ("secam-onnx", "onnxruntime", "onnx", "numpy", "scikit-image")


def square(image: np.ndarray) -> np.ndarray:
    """The largest square in the middle, `SIZE`."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    middle = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(middle.resize(SIZE, Image.Resampling.BICUBIC))


def compare(step: Step, rounds: int) -> list[dict[str, Any]]:
    """One row for each form of a step; `agree` is the share of pixels with the first form's label."""
    candidates = {name: run(open_nodes(form, step.feeds), step.feeds) for name, form in step.forms.items()}
    labels = {name: step.labels(candidate()) for name, candidate in candidates.items()}
    first = next(iter(labels.values()))
    times = take_turns(candidates, rounds)
    return [
        {"form": name, "ours": name == step.ours, "agree": float((labels[name] == first).mean()), **times[name]}
        for name in candidates
    ]


def compare_whole(picture: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """The same for the whole model and for scikit-image; `superpixels` are those that each makes of the picture."""
    model = kmeans_model(SIZE, SEGMENTS, compactness=COMPACTNESS, blocks=BLOCKS).SerializeToString()
    feeds = {"image": picture[None]}
    slic = Segmenter("slic", SEGMENTS)
    candidates: dict[str, Callable[[], np.ndarray]] = {
        f"the model, {threads} thread{'s' * (threads > 1)}": run(open_model(model, threads), feeds)
        for threads in (1, 2)
        if threads <= len(cores())
    }
    candidates["scikit-image's slic"] = lambda: segment(picture, slic)
    counts = {name: len(np.unique(candidate())) for name, candidate in candidates.items()}
    times = take_turns(candidates, rounds)
    return [
        {"form": name, "ours": name.endswith("1 thread"), "superpixels": counts[name], **times[name]}
        for name in candidates
    ]


def cores() -> list[int]:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def as_table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds of CPU and wall time, the ratio to ours, and what shows that the result is right."""
    (base,) = (median(row["cpu"]) for row in rows if row["ours"])
    lines = []
    for row in rows:
        share = f"{row['agree']:.2%}" if "agree" in row else row["superpixels"]
        figures = [pick(row[kind]) for kind in ("cpu", "wall") for pick in (min, median)]
        name = f"**{row['form']}**" if row["ours"] else row["form"]
        lines.append([name, *(f"{figure:.3g}" for figure in figures), f"{median(row['cpu']) / base:.2f}", share])
    header = ["", "CPU, least", "CPU, median", "wall, least", "wall, median", "CPU / ours"]
    return table([*header, "labels that agree" if "agree" in rows[0] else "superpixels"], lines)


@click.command(context_settings={"show_default": True})
@click.option("--photograph", type=click.Path(path_type=Path, exists=True), default=PHOTO, help="Any picture.")
@click.option("--step", "chosen", multiple=True, type=click.Choice(STEPS), default=STEPS, help="May be repeated.")
@click.option("--rounds", default=100, type=click.IntRange(1), help="How often each form is timed.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Every single duration.")
def main(photograph: Path, chosen: tuple[str, ...], rounds: int, json_file: Path | None) -> None:
    """Time the forms of each step, print the tables."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    cells = Cells.fitted(SIZE, SEGMENTS, BLOCKS)
    picture = square(read_image(photograph))
    prepared = steps(picture, cells)
    versions = {name: version(name) for name in PACKAGES}
    conditions = {
        "processor": record()["machine"]["processor"],
        "cores": cores(),
        "load": load,
        "platform": platform.platform(),
        "versions": versions,
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
    }
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    click.echo(
        f"{conditions['processor']}, cores {', '.join(map(str, cores()))}, load {load} before; {packages}; "
        f"{conditions['date']}\n"
    )
    click.echo(f"{SIZE[0]} x {SIZE[1]} pixels, {cells.count} cells; milliseconds, {rounds} runs each, in turns.")
    results = {}
    for name in chosen:
        results[name] = compare_whole(picture, rounds) if name == "whole" else compare(prepared[name], rounds)
        title = "The whole" if name == "whole" else prepared[name].title
        click.echo(f"\n{title}\n\n{as_table(results[name])}", nl=False)
    if json_file is not None:
        json_file.write_text(
            json.dumps({**conditions, "steps": results}, separators=(",", ":")) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
