"""The comparison of real files as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from real_files.authors import Recipe

from secam_onnx.bench.tables import table

__all__ = ["EQUAL", "report", "verdict"]

EQUAL = 1e-4
"""Outputs that differ by less, as a share of the largest, are equal: sums in float32 were added in another order."""

Row = Mapping[str, Any]


def largest(row: Row) -> float:
    """The largest difference of an output."""
    return max(row.get("differences", {}).values(), default=float("inf"))


def verdict(row: Row, recipe: Recipe | None = None) -> str:
    """What a row comes to, in words; "equal" or "refused" where all is well."""
    if "error" in row:
        if recipe and recipe.refused and not row.get("not_ours"):
            return "refused"
        return f"{'FAILS' if row.get('not_ours') else 'not explained'}: {row['error']}"
    if recipe and recipe.refused:
        return "EXPLAINED, though it is no classifier"
    wrong = [f"{name} DIFFERS" for name, value in row["differences"].items() if not value <= EQUAL]
    if row["answer_difference"] > EQUAL:
        wrong.append("what is explained DIFFERS from the output")
    if row["not_compared"] and row["explained"] in row["not_compared"]:
        wrong.append("its output was not compared")
    return "; ".join(wrong) or "equal"


def authors_verdict(row: Row, recipe: Recipe) -> str:
    """How the answers compare with those of the authors' own code."""
    if recipe.refused:
        return f"refused: {recipe.refused}" if "error" in row else "EXPLAINED"
    authors = row.get("authors", {})
    if "probability_difference" not in authors:
        return "not compared"
    return f"{authors['probability_difference']:.1e}"


def found_by_itself(row: Row) -> str:
    """Where the preprocessing came from when nothing was told."""
    if "error" in row:
        return "-"
    said = row["origin"].get("preprocessing", "the file")
    return str(said).split(",")[0].split(";")[0]


def activation(row: Row) -> str:
    """What the file was found to say by itself."""
    return "-" if "error" in row else str(row["activation"])


def trained_table(rows: Mapping[str, Row], known: Mapping[str, Recipe]) -> str:
    """Trained models: outputs, activation, preprocessing."""
    header = ["model", "made by", "head", "outputs differ by", "activation", "authors' activation", "preprocessing",
              "authors' code differs by", "verdict"]  # fmt: skip
    lines = []
    for name, recipe in known.items():
        row = rows.get(name)
        if row is None:
            continue
        lines.append([
            f"{name}: {recipe.task}", row.get("made_by", "-"), row.get("head", "-"),
            f"{largest(row):.1e}" if "differences" in row else "-", activation(row), recipe.activation,
            found_by_itself(row), authors_verdict(row, recipe), verdict(row, recipe),
        ])  # fmt: skip
    return table(header, lines)


def networks_table(rows: Mapping[str, Row]) -> str:
    """Networks with random weights."""
    header = ["file", "opset", "feature map", "head", "attribution", "outputs differ by", "proof", "verdict"]
    lines = []
    for name, row in rows.items():
        shape = " x ".join(map(str, row["features"]["shape"])) if "features" in row else "-"
        layout = f" {row['features']['layout']}" if "features" in row else ""
        lines.append([
            name, row.get("opset", "-"), f"{shape}{layout}", row.get("head", "-"),
            row.get("attribution", "-"), f"{largest(row):.1e}" if "differences" in row else "-",
            f"{row['completeness']:.1e}" if "completeness" in row else "-", verdict(row),
        ])  # fmt: skip
    return table(header, lines)


def report(results: Mapping[str, Row], known: Mapping[str, Recipe]) -> str:
    """All tables, with what they come to."""
    groups: dict[str, dict[str, Row]] = {}
    for key, row in sorted(results.items()):
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = row
    parts = [_states(results)]
    for group, rows in groups.items():
        trained = group == "trained"
        counted = Counter(
            verdict(row, known.get(name) if trained else None).split(":")[0] for name, row in rows.items()
        )
        words = ", ".join(f"{count} {word}" for word, count in counted.most_common())
        body = trained_table(rows, known) if trained else networks_table(rows)
        parts.append(f"## {group.capitalize()}: {len(rows)} files, {words}\n\n{body}")
    refusals = [f"- `{key}`: {row['words']}" for key, row in sorted(results.items()) if "error" in row]
    if refusals:
        parts.append("## What is said of files that are not explained\n\n" + "\n".join(refusals) + "\n")
    return "\n".join(parts)


def _states(results: Mapping[str, Row]) -> str:
    states = Counter(
        ", ".join(f"{name} {value}" for name, value in row["state"].items()) + f"; {row['date']}"
        for row in results.values()
    )
    return "".join(f"{count} files at {state}.\n" for state, count in states.most_common())
