"""Class names in lines of text: bare, numbered, behind synsets, or as CSV.

Every error here is a ValueError or csv.Error whose message is the reason alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from secam_onnx.labels.objects import MAX_DIGITS, MAX_NAME_LENGTH, MAX_NAMES, in_order, split_names
from secam_onnx.shown_text import quoted

__all__ = ["names_in_csv", "names_in_lines"]

_HEADERS = ("name", "names", "label", "labels", "class", "class_name", "classname")  # of a CSV with a single column
_BETWEEN = r"(?:\s*[:,;=|]\s*|\s+-\s+|\s+)"
_NUMBER_FIRST = re.compile(rf"(?P<index>\d{{1,9}})(?:{_BETWEEN}|[.)]\s+)(?P<name>\S.*)")
_NUMBER_LAST = re.compile(rf"(?P<name>.*[^\s:,;=|-]){_BETWEEN}(?P<index>\d{{1,9}})")
_SYNSET = re.compile(r"n\d{8}[\s,:]+(\S.*)")  # of WordNet, as in ImageNet's synset_words.txt


def names_in_lines(text: str) -> tuple[str, ...]:
    """One name per line, without the indices and synsets that may stand before the names."""
    ends = text.rstrip().replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in split_names(ends, "\n")]
    for number, line in enumerate(lines, 1):
        if not line:
            raise ValueError(f"every class needs a name, but line {number} is empty")
        if len(line) > MAX_NAME_LENGTH:
            raise ValueError(f"line {number} has {len(line):,} characters, too many for a name")
    names = _without_numbers(lines)
    if synsets := _all_match(_SYNSET, names):
        names = _without_numbers([found[1] for found in synsets])
    return in_order(names)


def _all_match(pattern: re.Pattern[str], lines: Sequence[str]) -> list[re.Match[str]]:
    """The match of each line; none if one does not match, after which no other is looked at."""
    found = []
    for line in lines:
        match = pattern.fullmatch(line)
        if match is None:
            return []
        found.append(match)
    return found


def _without_numbers(lines: Sequence[str]) -> list[str]:
    """Sort the names by the numbers that all lines begin or end with, if these are the indices of all classes.

    Names may have numbers of their own: `2 euro`, or `0 fingers` to `5 fingers`, which differ in nothing else.
    """
    for pattern in (_NUMBER_FIRST, _NUMBER_LAST):
        found = _all_match(pattern, lines)
        names = {int(match["index"]): match["name"] for match in found}
        if len(names) < len(lines) or 2 * len(set(names.values())) <= len(lines):
            continue
        if set(names) == set(range(len(lines))):
            return [names[index] for index in range(len(lines))]
        if set(names) == set(range(1, len(lines) + 1)) and len(lines) > 1:
            raise ValueError(
                "its lines are numbered from 1, and classes count from 0: leave the numbers out if the lines are in "
                "order of the index, or begin with 0"
            )
    _check_gaps(lines)
    return list(lines)


def _check_gaps(lines: Sequence[str]) -> None:
    """Refuse numbered lines with a gap, `0 cat`, `2 dog`; `20 km/h`, `30 km/h` or `3 to 9` are names."""
    found = _all_match(_NUMBER_FIRST, lines)
    indices = {int(match["index"]) for match in found}
    names = {re.sub(r"\d+", "", match["name"]).casefold() for match in found}
    of_numbers = any(match["name"][0].isdigit() for match in found)  # `0 - 2`, `10, 20`
    if len(lines) > 1 and len(lines) == len(indices) == len(names) and not of_numbers:
        missing = next(index for index in range(len(lines)) if index not in indices)
        raise ValueError(
            f"its lines are numbered, and number {missing} is missing: classes count from 0 without a gap; if the "
            "numbers are part of the names, write a list in JSON"
        )


def names_in_csv(text: str) -> tuple[str, ...]:
    """A column of names, or one of indices and one of names, in any order, with or without a header."""
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # spreadsheets use the separator of the country
    if max(map(text.count, (delimiter, "\n", "\r"))) > MAX_NAMES + 1:
        raise ValueError(f"it has more than {MAX_NAMES:,} rows or cells; so many are not read")
    reader = csv.reader(io.StringIO(text.strip(), newline=""), delimiter=delimiter)
    rows = [[cell.strip() for cell in row] for row in reader]
    widths = {len(row) for row in rows}
    if widths == {1}:
        names = [row[0] for row in rows]
        return in_order(names[1:] if names[0].casefold() in _HEADERS else names)
    if widths != {2}:
        found = " or ".join(map(str, sorted(widths))) or "no"
        raise ValueError(f"its rows have {found} columns; one or two were expected")
    if not any(cell.isdecimal() for cell in rows[0]):
        rows = rows[1:]
    # Some files have the name first, and names can be numbers, too.
    turned = not _indices(rows, 0) if _indices(rows, 1) else not all(row[0].isdecimal() for row in rows)
    indexed = [(row[1], row[0]) if turned else (row[0], row[1]) for row in rows]
    odd = next((index for index, _ in indexed if not index.isdecimal() or len(index) > MAX_DIGITS), None)
    if odd is not None:
        raise ValueError(f"{quoted(odd)} is not an index; names with a comma need quotes")
    names_by_index: dict[int, str] = {}
    for index, name in indexed:
        if names_by_index.setdefault(int(index), name) != name:
            raise ValueError(f"the index {index} occurs twice")
    return in_order(names_by_index)


def _indices(rows: Sequence[Sequence[str]], column: int) -> bool:
    cells = {row[column] for row in rows}
    return cells == {str(index) for index in range(len(cells))}
