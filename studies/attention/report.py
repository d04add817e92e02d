"""Tables of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from studies.evaluation.intervals import interval, text

__all__ = ["report"]

Values = dict[str, dict[str, float]]
"""Map -> picture -> value."""


def report(results: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> str:
    """All tables as Markdown."""
    lines = []
    for network, parts in results.items():
        for part, rows in parts.items():
            for head in dict.fromkeys(row["head"] for row in rows):
                own = [row for row in rows if row["head"] == head]
                lines += ["", f"{network}, head on the {head}, half of photographs to {part}", ""]
                lines += _table(_values(own, "faithfulness"), _values(own, "share"))
    return "\n".join(lines)


def _values(rows: list[dict[str, Any]], measure: str) -> Values:
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if measure == "share" and "share" in row:
            value = row["share"]
        elif measure == "faithfulness" and "insertion" in row:
            value = row["insertion"] - row["deletion"]
        else:
            continue
        found.setdefault(row["map"], {}).setdefault(row["picture"], []).append(value)
    return {name: {picture: float(np.mean(own)) for picture, own in of.items()} for name, of in found.items()}


def _table(faithful: Values, shares: Values) -> list[str]:
    lines = [
        "| map | n | insertion - deletion | less that of 4 blocks | mosaics: share in its quarter |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, values in faithful.items():
        against = [values[picture] - faithful["4"][picture] for picture in values]
        share = text(interval(list(shares[name].values()))) if name in shares else "-"
        named = f"held, {name} blocks" if name.isdigit() else name
        mean, error = np.mean(list(values.values())), np.std(list(values.values()), ddof=1) / len(values) ** 0.5
        lines.append(
            f"| {named} | {len(values)} | {mean:.3f} ± {error:.3f} | {text(interval(against), '+.3f')} | {share} |"
        )
    return lines
