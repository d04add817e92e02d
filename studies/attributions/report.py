"""The Markdown tables; a photograph's crops are no independent samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from secam_onnx.bench.report import table
from studies.attributions.heads import HEADS
from studies.evaluation.intervals import interval, text

__all__ = ["report"]

RIVALS = (
    *(("integrated", "gradient"), ("masking", "gradient"), ("masking", "integrated")),
    *(("detached", "gradient"), ("integrated", "detached"), ("masking", "detached")),
)


def report(results: dict[str, Any]) -> str:
    """All tables."""
    rows = [row for row in results["rows"] if row["head"] in {**HEADS, **results["others"]}]
    kinds = list(dict.fromkeys(row["head"] for row in rows))
    parts = [_fits(results), _completeness(rows, kinds), _faithfulness(rows, kinds), _differences(rows, kinds)]
    return "\n".join([*parts, _backgrounds(rows, kinds), _times(results["ms"])])


def _fits(results: dict[str, Any]) -> str:
    found = []
    for kind, fits in results["fits"].items():
        means = [
            np.mean([fit[part][key] for fit in fits])
            for part in ("all", "confident")
            for key in ("top1", "correlation")
        ]
        found.append([kind, HEADS[kind], *(f"{value:.3f}" for value in means)])
    header = ["head", "what", "same top class", "correlation of logits", "same, p >= 0.5", "correlation, p >= 0.5"]
    return "The fitted heads and the linear one on photographs that they were not fitted to.\n\n" + table(header, found)


def _select(rows: Iterable[dict[str, Any]], head: str, way: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["head"], row["way"]) == (head, way)]


def _ways(rows: Iterable[dict[str, Any]], head: str) -> list[str]:
    return list(dict.fromkeys(row["way"] for row in rows if row["head"] == head))


def _completeness(rows: list[dict[str, Any]], kinds: list[str]) -> str:
    found = []
    for head in kinds:
        for way in _ways(rows, head):
            chosen = _select(rows, head, way)
            if "gap" not in chosen[0]:
                continue
            gaps, sizes = ([row[key] for row in chosen] for key in ("gap", "size"))
            like = ["-", "-"]
            if "pearson" in chosen[0]:
                groups = [row["photograph"] for row in chosen]
                like = [text(interval([row[key] for row in chosen], groups)) for key in ("pearson", "spearman")]
            gap = [f"{np.median(gaps):.1e}", f"{np.max(gaps):.1e}"]
            found.append([head, way, len(chosen), *gap, f"{np.median(sizes):.2f}", *like])
    header = ["head", "attribution", "pictures", "gap, median", "gap, max", "size", "Pearson", "Spearman"]
    return (
        "Completeness gap, |map + bias - logit| / |logit|; size, the sum of the map's absolute values / |logit|; "
        "correlation over superpixels with the linear head's map.\n\n" + table(header, found)
    )


def _faithfulness(rows: list[dict[str, Any]], kinds: list[str]) -> str:
    ways = list(dict.fromkeys(row["way"] for row in rows))
    found = []
    for head in kinds:
        cells = []
        for way in ways:
            chosen = _select(rows, head, way)
            values = [row["faithfulness"] for row in chosen]
            cells.append(text(interval(values, [row["photograph"] for row in chosen])) if chosen else "-")
        found.append([head, *cells])
    return "Insertion minus deletion, the mean of both backgrounds.\n\n" + table(["head", *ways], found)


def _paired(rows: list[dict[str, Any]], head: str, one: str, other: str, key: str) -> tuple[list[float], list[str]]:
    values = {(row["photograph"], row["crop"]): row[key] for row in _select(rows, head, other)}
    pairs = [(row[key] - values[place], place[0]) for row in _select(rows, head, one)
             if (place := (row["photograph"], row["crop"])) in values]  # fmt: skip
    return [value for value, _ in pairs], [group for _, group in pairs]


def _differences(rows: list[dict[str, Any]], kinds: list[str]) -> str:
    found = []
    for head in kinds:
        for one, other in RIVALS:
            values, groups = _paired(rows, head, one, other, "faithfulness")
            if values:
                found.append([head, f"{one} - {other}", len(set(groups)), text(interval(values, groups), "+.4f"),
                              f"{np.mean(np.array(values) > 0):.2f}"])  # fmt: skip
    return "The same, differences on the same pictures.\n\n" + table(
        ["head", "difference", "photographs", "mean [95 %]", "share of pictures above 0"], found
    )


def _backgrounds(rows: list[dict[str, Any]], kinds: list[str]) -> str:
    columns = [f"{curve}, {background}" for background in ("blurred", "plain") for curve in ("insertion", "deletion")]
    found = []
    for head in kinds:
        for way in _ways(rows, head):
            chosen = _select(rows, head, way)
            groups = [row["photograph"] for row in chosen]
            means = [interval([row[column] for row in chosen], groups)[0] for column in columns]
            found.append([head, way, *(f"{value:.3f}" for value in means)])
    return "Areas under the curves.\n\n" + table(["head", "attribution", *columns], found)


def _times(times: dict[str, dict[str, float]]) -> str:
    found = []
    for head, ms in times.items():
        forward = ms["forward"]
        for way in [name for name in ms if f"{name}, all classes" in ms]:
            one, whole = ms[way], ms[f"{way}, all classes"]
            ratios = [f"{one:.2f}", f"{one / forward:.2f}", f"{whole:,.0f}", f"{whole / forward:.1f}"]
            found.append([head, way, f"{forward:.1f}", *ratios])
    header = ["head", "attribution", "forward", "one class", "/ forward", "all classes", "/ forward"]
    return "Milliseconds of the attribution alone, medians, in turns.\n\n" + table(header, found)
