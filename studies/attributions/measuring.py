"""Every attribution of every head on one picture: completeness, likeness to the linear head's map, faithfulness."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from scipy.stats import spearmanr

from secam_onnx import Explainer, Preprocessing, Segmenter
from secam_onnx.superpixels import pooling_matrices, segment
from studies.attributions.heads import EPSILONS, Weights, logits, with_head
from studies.attributions.learning import LITE, softmax
from studies.evaluation.faithfulness import Canvas, Ranking

__all__ = ["WAYS", "Row", "explainers", "measure_fitted", "measure_model", "time_ways", "write_heads"]

WAYS = ("gradient", "integrated", "masking")
DETACHED = "detached"  # the deviation of the layer normalisation held constant
RANDOM = 2
PAUSE = 0.15  # seconds before each timed call: threads of ONNX Runtime spin for up to 0.1 s after a run

Row = dict[str, Any]
"""One head and one attribution on one picture."""


def explainers(file: Path, preprocessing: Preprocessing | None = LITE) -> dict[str, Explainer]:
    """One explainer for each attribution."""
    return {way: Explainer(file, providers="cpu", preprocessing=preprocessing, attribution=way) for way in WAYS}


def write_heads(fold: int, heads: Mapping[str, Weights], cache: Path) -> dict[str, dict[str, Explainer]]:
    """Explainers of the default model with each head of one fold."""
    found = {}
    for kind, weights in heads.items():
        file = cache / f"{kind}-{fold}.onnx"
        onnx.save(with_head(kind, weights), file)
        found[kind] = explainers(file)
    return found


def measure_fitted(
    picture: np.ndarray, ways: Mapping[str, Mapping[str, Explainer]], heads: Mapping[str, Weights], seed: int
) -> Iterator[Row]:
    """All heads on one picture, for the class that the linear head has on top."""
    backbone = ways["linear"]["gradient"].classifier

    def answers(pictures: np.ndarray) -> dict[str, np.ndarray]:
        inputs = np.concatenate([LITE.normalise(entry) for entry in pictures])
        pooled = backbone.forward(inputs)[0][0].mean(axis=(2, 3))
        return {kind: softmax(logits(kind, weights, pooled)) for kind, weights in heads.items()}

    whole = answers(picture[None])
    top = int(whole["linear"][0].argmax())
    agreeing = [kind for kind in heads if whole[kind][0].argmax() == top]
    rows, segments = _maps(picture, {kind: ways[kind] for kind in agreeing}, top)
    (features,), *_ = backbone.forward(LITE.normalise(picture))
    for kind in agreeing:
        if kind in EPSILONS:
            rows.append(_detached(kind, heads[kind], features, top, segments))
    _compare(rows)
    cells, row = segment(picture, Segmenter("grid", n_segments=49)), rows[0]
    rankings = {**_rankings(rows, segments, seed), "cells": (cells, (row["map"] @ pooling_matrices(cells, (7, 7))[1]))}
    canvas = Canvas(picture, LITE.mean, lambda p: {kind: value[:, top] for kind, value in answers(p).items()})
    yield from _with_faithfulness(rows, canvas.faithfulness(rankings))


def measure_model(picture: np.ndarray, name: str, ways: Mapping[str, Explainer], seed: int) -> Iterator[Row]:
    """A network as it is on one picture, for its top class."""
    explainer = ways["gradient"]
    classifier, preprocessing = explainer.classifier, explainer.preprocessing

    def answers(pictures: np.ndarray) -> np.ndarray:
        return classifier.forward(np.concatenate([preprocessing.normalise(entry) for entry in pictures]))[2]

    top = int(answers(picture[None])[0].argmax())
    rows, segments = _maps(picture, {name: ways}, top)
    canvas = Canvas(picture, preprocessing.mean, lambda pictures: {name: answers(pictures)[:, top]})
    yield from _with_faithfulness(rows, canvas.faithfulness(_rankings(rows, segments, seed)))


def _maps(picture: np.ndarray, ways: Mapping[str, Mapping[str, Explainer]], top: int) -> tuple[list[Row], np.ndarray]:
    segments = segment(picture, Segmenter())
    rows = []
    for kind, explainers_ in ways.items():
        for way, explainer in explainers_.items():
            found = explainer.explain(picture, top, segments=segments)
            cells, bias, logit = found.cam[0].ravel(), float(found.bias[0]), found.classes[0].logit
            rows.append(_row(kind, way, cells, bias, logit, found.segment_scores[0], found.classes[0].probability))
    return rows, segments


def _row(
    kind: str, way: str, cells: np.ndarray, bias: float, logit: float, scores: np.ndarray, probability: float
) -> Row:
    return {
        "head": kind,
        "way": way,
        "probability": probability,
        "gap": abs(float(cells.sum()) + bias - logit) / abs(logit),
        "size": float(np.abs(cells).sum()) / abs(logit),
        "map": cells,
        "scores": scores,
    }


def _detached(kind: str, weights: Weights, features: np.ndarray, top: int, segments: np.ndarray) -> Row:
    """Gradient times activation with the deviation, not the mean, as a constant; PyTorch only."""
    entry = torch.from_numpy(features).requires_grad_()
    x = entry.mean((2, 3))
    centred = x - x.mean(1, keepdim=True)
    normal = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + EPSILONS[kind]).detach()
    row = torch.from_numpy(weights["w2"][top] * weights["w1"])
    bias = float(weights["b2"][top] + weights["w2"][top] @ weights["b1"])
    linear = (normal @ row)[0]
    linear.backward()
    assert entry.grad is not None
    cells = (entry.grad * entry).sum(1).detach().numpy().ravel()
    scores = cells @ pooling_matrices(segments, features.shape[2:])[1]
    probability = softmax(logits(kind, weights, x.detach().numpy()))[0, top]
    return _row(kind, DETACHED, cells, bias, float(linear.detach()) + bias, scores, float(probability))


def _compare(rows: list[Row]) -> None:
    """Correlate the superpixels' scores with those of the linear head; its gradient is the first row."""
    for row in rows:
        row["pearson"] = float(np.corrcoef(row["scores"], rows[0]["scores"])[0, 1])
        row["spearman"] = float(spearmanr(row["scores"], rows[0]["scores"]).statistic)


def _rankings(rows: list[Row], segments: np.ndarray, seed: int) -> dict[str, Ranking]:
    random = np.random.default_rng(seed)
    count = len(rows[0]["scores"])
    found = {f"{row['head']} {row['way']}": (segments, row["scores"]) for row in rows}
    return {**found, **{f"random {index}": (segments, random.random(count)) for index in range(RANDOM)}}


def _with_faithfulness(rows: list[Row], found: Mapping[str, Any]) -> Iterator[Row]:
    """Finished rows, those of the controls included."""
    for row in rows:
        areas = found[f"{row['head']} {row['way']}"]
        kept = {key: value for key, value in row.items() if key not in ("map", "scores")}
        yield {**kept, **_areas(areas, row["head"])}
    for head in dict.fromkeys(row["head"] for row in rows):
        blind = [_areas(found[f"random {index}"], head) for index in range(RANDOM)]
        yield {"head": head, "way": "random", **{key: float(np.mean([b[key] for b in blind])) for key in blind[0]}}
        if "cells" in found:
            yield {"head": head, "way": "linear head's map", **_areas(found["linear gradient"], head)}
            yield {"head": head, "way": "linear head's cells", **_areas(found["cells"], head)}


def _areas(areas: Mapping[str, Mapping[str, tuple[float, float]]], head: str) -> dict[str, float]:
    found = {}
    for background, of_head in areas.items():
        found[f"insertion, {background}"], found[f"deletion, {background}"] = of_head[head]
    differences = [found[f"insertion, {name}"] - found[f"deletion, {name}"] for name in areas]
    return {**found, "faithfulness": float(np.mean(differences))}


def time_ways(ways: Mapping[str, Explainer], picture: np.ndarray, repeats: int) -> dict[str, float]:
    """Milliseconds of the forward pass and of each attribution, for one class and for all, medians, in turns."""
    classifier = ways["gradient"].classifier
    inputs = ways["gradient"].preprocessing.normalise(picture)
    features, found, _ = classifier.forward(inputs)
    one, all_ = np.array([[int(found.argmax())]]), np.arange(classifier.n_classes)[None]
    candidates = {"forward": lambda: classifier.forward(inputs)}
    for way, explainer in ways.items():
        candidates[way] = lambda run=explainer.classifier.contribute: run(features, one)
        candidates[f"{way}, all classes"] = lambda run=explainer.classifier.contribute: run(features, all_)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(-1, repeats):
        for name, call in candidates.items():
            if round_ > 1 and name.endswith("all classes"):
                continue
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            if round_ >= 0:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(values) for name, values in times.items()}
