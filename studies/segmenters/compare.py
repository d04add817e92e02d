r"""Measure which segmenter makes the better superpixels and the more faithful SeCAM (README.md).

    pip install "secam-onnx[cpu]" scipy
    python -m studies.photographs.collect packages photographs  # its docstring says where they come from
    python -m studies.segmenters.compare --photographs photographs --split tune \
        --method slic --method slic:compactness=20
    python -m studies.segmenters.compare --photographs photographs --split test \
        --json studies/segmenters/segmenters.json

Settings are tuned on one half of the photographs and reported on the other. A method is a segmenter's name, and what to
change of its settings: `slic:compactness=20`. Functions that are not in the package can be tried from a script of one's
own: put them into `secam_onnx.superpixels.SEGMENTERS`, then call `main`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from secam_onnx import SecamError, Segmenter
from studies.segmenters.measuring import Row, measure
from studies.segmenters.report import report
from studies.segmenters.scenes import KINDS, SPLITS, scenes

PACKAGES = ("secam-onnx", "onnxruntime", "numpy", "scikit-image", "scipy", "pillow")


def as_segmenter(method: str, aim: int) -> Segmenter:
    """`name` or `name:option=value,...` as a segmenter that aims at so many superpixels."""
    name, _, options = method.partition(":")
    changes: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        changes[key] = float(value) if "." in value else int(value)
    return dataclasses.replace(Segmenter(name, n_segments=aim), **changes)


def as_columns(rows: list[Row]) -> dict[str, Any]:
    """For the file: pictures once, then one column a measure for each kind, method and aim, four digits."""
    pictures = list(dict.fromkeys(row["picture"] for row in rows))
    number = {picture: index for index, picture in enumerate(pictures)}
    columns: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        own = columns.setdefault(f"{row['kind']} | {row['method']} | {row['aim']}", {})
        own.setdefault("picture", []).append(number[row["picture"]])
        for name, value in row.items():
            if name not in ("kind", "picture", "method", "aim"):
                own.setdefault(name, []).append(float(f"{value:.4g}"))
    return {"pictures": pictures, "measures": columns}


@click.command(context_settings={"show_default": True})
@click.option("--photographs", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="A folder.")
@click.option("--method", "methods", multiple=True, default=("slic", "kmeans", "grid"), help="May be repeated.")
@click.option("--aim", "aims", multiple=True, default=(25, 50, 100, 200), type=click.IntRange(2), help="Superpixels.")
@click.option("--equal", multiple=True, default=(30, 50, 100), help="True numbers at which methods are compared.")
@click.option("--reference", default="slic", help="The method that others are compared with.")
@click.option("--kind", "kinds", multiple=True, default=tuple(KINDS), type=click.Choice(tuple(KINDS)), help="Pictures.")
@click.option("--split", default="all", type=click.Choice(SPLITS), help="Which half of the pictures.")
@click.option("--most", type=click.IntRange(1), help="At most so many pictures of each kind.")
@click.option("--confident", default=0.3, help="Probability that a top class needs to be explained.")
@click.option("--faithfulness/--no-faithfulness", default=True, help="Run the default model.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Every single number.")
def main(
    folder: Path,
    methods: tuple[str, ...],
    aims: tuple[int, ...],
    equal: tuple[int, ...],
    reference: str,
    kinds: tuple[str, ...],
    split: str,
    most: int | None,
    confident: float,
    faithfulness: bool,
    json_file: Path | None,
) -> None:
    """Cut pictures into superpixels, measure, print the tables."""
    if reference not in methods:
        raise click.UsageError(f"--reference {reference} is none of the methods: {', '.join(methods)}.")
    try:
        segmenters = {(method, aim): as_segmenter(method, aim) for method in methods for aim in aims}
    except (SecamError, TypeError, ValueError) as error:
        raise click.UsageError(f"--method: {error}") from error
    start, rows, seen = time.perf_counter(), [], set()
    for row in measure(scenes(folder, kinds, split, most), segmenters, confident if faithfulness else None):
        rows.append(row)
        seen.add((row["kind"], row["picture"]))
        if len(seen) % 10 == 0 and row["method"] == methods[0] and row["aim"] == aims[0]:
            click.echo(f"{len(seen)} pictures, {time.perf_counter() - start:.0f} s", err=True)
    if not rows:
        raise click.UsageError(
            f"No {', '.join(kinds)} in {folder}; `python -m studies.photographs.collect` fills such a folder."
        )
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {name: version(name) for name in PACKAGES},
        "settings": {
            "methods": methods,
            "aims": aims,
            "equal": equal,
            "reference": reference,
            "kinds": kinds,
            "split": split,
            "most": most,
            "confident": confident,
        },
        "rows": rows,
    }
    if json_file is not None:
        file = json.dumps({**results, "rows": as_columns(rows)}, separators=(",", ":"))
        json_file.write_text(f"{file}\n", encoding="utf-8")
    click.echo(report(results))


if __name__ == "__main__":
    main()
