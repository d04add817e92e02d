"""The comparison of real files as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from real_files.authors import Recipe

from secam_onnx.bench.report import table

__all__ = ["EQUAL", "INTRODUCTION", "report", "verdict"]

EQUAL = 1e-4
"""Outputs that differ by less, as a share of the largest, are equal: sums in float32 were added in another order."""

INTRODUCTION = """\
# Real files beside what they say without this package

Every output of the session that explanations come from is compared with the same output of the untouched file in
plain ONNX Runtime, on three photographs and noise. The tables have the largest difference as a share of the largest
number. To measure again:

    python tools/compare_files.py fetch files/trained --tensorflow TF/bin/python
    python tools/compare_files.py networks files/networks
    python tools/compare_files.py matrix files/matrix --tensorflow TF/bin/python --paddle PADDLE/bin/python
    python tools/compare_files.py compare files/trained files/networks files/matrix --results files.json
    python tools/compare_files.py table files.json

The tool says what it needs. Trained models come from packages of PyPI and npm, by name and version. What their
authors do with a photograph and with the output is in `tools/real_files/trained.toml`, with the place in their code.
*Preprocessing by itself* is what happens without options. *Told so* compares probabilities with those of the authors'
steps, done by Pillow, OpenCV and NumPy alone, when the options say what the authors do. This package resizes with
Pillow's filters only, which smooth where a photograph gets smaller; OpenCV's and TensorFlow's do not, so one more
column has the authors' steps with Pillow's filter. [files.json](files.json) has every figure and every word.
"""

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
    if row["not_compared"] and row["output"] in row["not_compared"]:
        wrong.append("its output was not compared")
    return "; ".join(wrong) or "equal"


def beside_authors(row: Row, recipe: Recipe) -> tuple[str, str]:
    """By how much probabilities differ from those of the authors' code, and with Pillow's filter in it."""
    authors = row.get("authors", {})
    if "probability_difference" not in authors:
        return "-", "-"
    with_pillow = authors["with_pillows_filter"] if not recipe.filter.startswith("pillow") else None
    return f"{authors['probability_difference']:.1e}", "-" if with_pillow is None else f"{with_pillow:.1e}"


def found_by_itself(row: Row) -> str:
    """Where the preprocessing came from when nothing was told."""
    if "error" in row:
        return "-"
    origin = row["origin"]
    said = str(origin.get("preprocessing", "the file")).split(",")[0].split(";")[0]
    return "; ".join(
        [said, *(origin[name] for name in ("graph_begins_with", "preprocessing_warning") if name in origin)]
    )


def probability_of(row: Row) -> str:
    """What probabilities are, when nothing is told."""
    return str(row.get("probability", "-")).split(";")[0].split(",")[0]


def authors_words(recipe: Recipe) -> str:
    """What the authors do, in a few words."""
    if recipe.refused:
        return "-"
    size = " x ".join(map(str, recipe.size))
    how = f"{recipe.resize} to {size}" + (f", crop {recipe.crop}" if recipe.crop else "")
    return f"{how}, {recipe.filter}, {'grey' if recipe.grey else recipe.order}"


def trained_table(rows: Mapping[str, Row], known: Mapping[str, Recipe]) -> str:
    """Trained models: outputs, activation, preprocessing."""
    header = ["model", "task", "made by", "head", "outputs differ by", "activation", "authors' activation",
              "preprocessing by itself", "authors' preprocessing", "told so, differs by", "with Pillow's filter",
              "verdict"]  # fmt: skip
    lines = []
    for name, recipe in known.items():
        if name not in rows:
            continue
        row = rows[name]
        lines.append([
            name, recipe.task, row.get("made_by", "-"), row.get("head", "-"),
            f"{largest(row):.1e}" if "differences" in row else "-", probability_of(row), recipe.activation,
            found_by_itself(row), authors_words(recipe), *beside_authors(row, recipe), verdict(row, recipe),
        ])  # fmt: skip
    return table(header, lines)


def networks_table(rows: Mapping[str, Row]) -> str:
    """Networks with random weights."""
    header = ["file", "opset", "feature map", "head", "attribution", "outputs differ by", "adds up to", "verdict"]
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
    missing = {key: row for key, row in results.items() if "not_written" in row}
    results = {key: row for key, row in results.items() if key not in missing}
    groups: dict[str, dict[str, Row]] = {}
    for key, row in sorted(results.items(), key=lambda entry: (not entry[0].startswith("trained/"), entry[0])):
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = row
    parts = [INTRODUCTION, _states(results)]
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
    if missing:
        words = "".join(f"- `{key}`: {row['not_written']}\n" for key, row in sorted(missing.items()))
        parts.append(f"## Networks that the exporter did not write\n\n{words}")
    return "\n".join(parts)


def _states(results: Mapping[str, Row]) -> str:
    states = Counter(
        ", ".join(f"{name} {value}" for name, value in row["state"].items()) + f"; {row['date']}"
        for row in results.values()
    )
    return "".join(f"{count} files at {state}.\n" for state, count in states.most_common())
