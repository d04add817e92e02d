"""Means and paired differences over pictures, also at equal true numbers of superpixels, as Markdown tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from secam_onnx.bench.report import table
from studies.evaluation.intervals import interval, text
from studies.segmenters.measuring import CAM
from studies.segmenters.scenes import KINDS

__all__ = ["at_equal_counts", "report"]

TRUTH = ("undersegmentation", "corrected undersegmentation", "boundary recall", "boundary recall, 2 px")
SHAPE = ("superpixels", "explained variation", "compactness", "boundary", "stray pieces", "stray area")
FEW = 10  # pictures that an interval needs

Rows = list[dict[str, Any]]


def report(results: dict[str, Any]) -> str:
    """All tables."""
    rows, settings = results["rows"], results["settings"]
    parts = [_pictures(rows), _shape(rows, settings)]
    for kind in KINDS:
        known = [row for row in rows if row["kind"] == kind and TRUTH[0] in row]
        if known:
            parts.append(_means(known, kind, settings))
            parts.append(_differences(known, kind, TRUTH, settings))
    photographs = [row for row in rows if row["kind"] == "photographs"]
    if photographs:
        parts.append(_differences(photographs, "photographs", ("explained variation",), settings))
    faithful = [row for row in photographs if "faithfulness" in row]
    if faithful:
        parts += [_faithfulness(faithful, settings), _faithfulness_differences(faithful, settings)]
        parts.append(_differences(faithful, "photographs", ("faithfulness",), settings))
    return "\n".join(part for part in parts if part)


def at_equal_counts(counts: list[float], values: list[float], wanted: float) -> float:
    """A measure at a number of superpixels that no aim may have given, linear in the logarithm of the number.

    Returns
    -------
    float
        NaN where that would be beyond what was measured.
    """
    order = np.argsort(counts, kind="stable")
    known = np.log(np.asarray(counts)[order])
    return float(np.interp(np.log(wanted), known, np.asarray(values)[order], left=np.nan, right=np.nan))


def _select(rows: Rows, method: str, aim: int) -> Rows:
    return [row for row in rows if row["method"] == method and row["aim"] == aim]


def _pictures(rows: Rows) -> str:
    counts = {kind: len({row["picture"] for row in rows if row["kind"] == kind}) for kind in KINDS}
    found = [[kind, what, counts[kind]] for kind, what in KINDS.items() if counts[kind]]
    return "Pictures, 224 x 224.\n\n" + table(["kind", "what", "pictures"], found)


def _shape(rows: Rows, settings: dict[str, Any]) -> str:
    found = []
    for method in settings["methods"]:
        for aim in settings["aims"]:
            chosen = _select(rows, method, aim)
            means = {name: float(np.mean([row[name] for row in chosen])) for name in SHAPE}
            counts = [row["superpixels"] for row in chosen]
            spread = f"{means['superpixels']:.1f} ({min(counts):.0f} to {max(counts):.0f})"
            found.append([method, aim, spread, *(f"{means[name]:.3f}" for name in SHAPE[1:4]),
                          f"{means['stray pieces']:.1f}", f"{means['stray area']:.2%}"])  # fmt: skip
    header = ["segmenter", "aim", "superpixels (range)", *SHAPE[1:4], *SHAPE[4:]]
    return "The superpixels themselves, means over all pictures of all kinds.\n\n" + table(header, found)


def _means(rows: Rows, kind: str, settings: dict[str, Any]) -> str:
    found = []
    for method in settings["methods"]:
        for aim in settings["aims"]:
            chosen = _select(rows, method, aim)
            values = [f"{np.mean([row[name] for row in chosen]):.4f}" for name in TRUTH]
            found.append([method, aim, f"{np.mean([row['superpixels'] for row in chosen]):.1f}", *values])
    return f"Against the true regions of the {kind}; errors: lower is better, recall: higher.\n\n" + table(
        ["segmenter", "aim", "superpixels", *TRUTH], found
    )


def _curves(rows: Rows, method: str, measure: str) -> dict[str, tuple[list[float], list[float]]]:
    """Picture -> true numbers of superpixels, values."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row["method"] == method and row["aim"]:
            counts, values = found.setdefault(row["picture"], ([], []))
            counts.append(row["superpixels"])
            values.append(row[measure])
    return found


def _differences(rows: Rows, kind: str, measures: tuple[str, ...], settings: dict[str, Any]) -> str:
    reference, found = settings["reference"], []
    for method in settings["methods"]:
        for wanted in settings["equal"] if method != reference else ():
            cells, number = [], 0
            for measure in measures:
                mine, theirs = _curves(rows, method, measure), _curves(rows, reference, measure)
                both = [
                    at_equal_counts(*mine[name], wanted) - at_equal_counts(*theirs[name], wanted)
                    for name in mine.keys() & theirs.keys()
                ]
                known = sorted(value for value in both if np.isfinite(value))
                number = len(known)
                cells.append(text(interval(known), "+.4f") if number >= FEW else "-")
            found.append([f"{method} - {reference}", wanted, number, *cells])
    if not found or all(set(row[3:]) == {"-"} for row in found):
        return ""
    return (
        f"{kind.capitalize()}: differences at equal numbers of superpixels, interpolated on each picture where both "
        "reach them.\n\n" + table(["difference", "superpixels", "pictures", *measures], found)
    )


def _faithfulness(rows: Rows, settings: dict[str, Any]) -> str:
    names = [name for name in rows[0] if name.startswith("faithfulness, ")]
    found = []
    for method, aim in [*((m, a) for m in settings["methods"] for a in settings["aims"]), (CAM, 0)]:
        chosen = _select(rows, method, aim)
        means = [f"{np.mean([row[name] for row in chosen]):.4f}" for name in names]
        count = f"{np.mean([row['superpixels'] for row in chosen]):.1f}" if aim else "-"
        found.append([method, aim or "-", count, text(interval([row["faithfulness"] for row in chosen])), *means])
    header = ["segmenter", "aim", "superpixels", "insertion - deletion", *names]
    return (
        f"Insertion minus deletion of SeCAM with the default model, top class, {len({row['picture'] for row in rows})} "
        f"photographs with a probability of at least {settings['confident']:g}.\n\n" + table(header, found)
    )


def _faithfulness_differences(rows: Rows, settings: dict[str, Any]) -> str:
    reference, found = settings["reference"], []
    for aim in settings["aims"]:
        theirs = {row["picture"]: row["faithfulness"] for row in _select(rows, reference, aim)}
        others = [method for method in settings["methods"] if method != reference]
        for method in [*others, CAM]:
            chosen = _select(rows, method, 0 if method == CAM else aim)
            values = [row["faithfulness"] - theirs[row["picture"]] for row in chosen]
            found.append([f"{method} - {reference}", aim, len(values), text(interval(values), "+.4f"),
                          f"{np.mean(np.array(values) > 0):.2f}"])  # fmt: skip
    return "The same, differences on the same photographs with the same aim.\n\n" + table(
        ["difference", "aim", "photographs", "mean [95 %]", "share above 0"], found
    )
