"""Class names in the YAML of data sets, as Ultralytics and others write it; other YAML is refused, not guessed at.

Every error here is a ValueError whose message is the reason alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from secam_onnx.labels.literals import LARGEST, literal
from secam_onnx.labels.objects import MAX_NAME_LENGTH, names_in
from secam_onnx.shown_text import quoted

__all__ = ["is_yaml", "names_in_yaml"]

_NAMES = re.compile(r"^([\"']?)names\1[ \t]*:(?=\s|$)(?P<value>.*)$", re.MULTILINE)
_PAIR = re.compile(r"(?P<key>\"[^\"]*\"|'[^']*'|[^:\"'\s][^:]*?)\s*:\s+(?P<value>\S.*)")
_ENDS = {"[": "]", "{": "}"}
_OTHER_FORM = "this form of YAML is not read, only names as lines `- cat` or `0: cat`, or in one [...] or {...}"


def is_yaml(text: str) -> bool:
    """Whether a text has the key `names` in YAML's syntax."""
    return any(match["value"].strip()[:1] in ("", "[", "{", "#") for match in _NAMES.finditer(text))


def names_in_yaml(text: str) -> tuple[str, ...]:
    """The names under `names`, or in a document that is itself a list or a mapping of indices to names."""
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text):,} characters; at most {LARGEST:,} are read of YAML")
    match = _NAMES.search(text)
    value, rest = (match["value"], text[match.end() :]) if match else ("", text)
    lines = [_without_comment(line) for line in (value, *rest.splitlines())]
    if not match:
        lines = [line for line in lines if line != "---"]
    whole = "\n".join(lines).strip()
    if whole[:1] in _ENDS and (not match or lines[0].strip()):
        return _flow(whole)
    if lines[0].strip():
        raise ValueError(f"its names are {quoted(lines[0].strip())}; a list, or indices with names, was expected")
    block = list(_block(lines[1:], nested=match is not None))
    if not block:
        raise ValueError("it has no names")
    return names_in([_scalar(line[2:]) for line in block]) if _items(block) else _indexed(block)


def _items(lines: Sequence[str]) -> bool:
    return all(line.startswith("- ") for line in lines)


def _outside(text: str) -> Iterator[tuple[int, str]]:
    """The characters outside of quotation marks, with their positions."""
    mark, closed = "", -1
    for at, char in enumerate(text):
        if mark:
            if char == mark and not (mark == '"' and text[at - 1] == "\\"):
                mark, closed = "", at + 1
        elif char in "\"'" and (at in (0, closed) or text[at - 1] in " \t\n[{,:"):  # not that of "it's"
            mark = char
        else:
            yield at, char


def _without_comment(line: str) -> str:
    for at, char in _outside(line) if "#" in line else ():
        if char == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].rstrip()
    return line.rstrip()


def _block(lines: Sequence[str], *, nested: bool) -> Iterator[str]:
    """The lines that belong to a key at the left edge, or those of a whole document."""
    edge = None
    for line in lines:
        text = line.lstrip()
        indent = len(line) - len(text)
        if not text:
            continue
        if edge is None:
            edge = indent
        if indent < edge or (nested and indent == 0 and not text.startswith("- ")):
            return  # the next key
        if indent > edge:
            raise ValueError(f"{_OTHER_FORM}: {quoted(text)} continues the line before")
        yield text


def _flow(text: str) -> tuple[str, ...]:
    """Names in `[a, 'b', "c"]` or `{0: a, 1: b}`, over one line or several; the rest is ignored."""
    cuts = [0]
    for at, char in _outside(text):
        if at and char in _ENDS:
            raise ValueError(f"{_OTHER_FORM}: a list or mapping inside another, near {quoted(text[at : at + 40])}")
        if char == "," or char in _ENDS.values():
            cuts.append(at)
        if char == _ENDS[text[0]]:
            break
    else:
        raise ValueError(f"its names begin with {text[0]!r}, which is never closed")
    parts = [text[start + 1 : end].strip() for start, end in itertools.pairwise(cuts)]
    if parts and not parts[-1]:
        parts.pop()
    if text[0] == "[":
        return names_in([_scalar(part) for part in parts])
    try:
        return names_in(literal(text[: cuts[-1] + 1]))  # {"0":"cat"} may do without a space
    except ValueError:
        return _indexed(parts)


def _indexed(pairs: Iterable[str]) -> tuple[str, ...]:
    names: dict[int | str, str] = {}
    for line in pairs:
        if len(line) > 2 * MAX_NAME_LENGTH:
            raise ValueError(f"it has an entry of {len(line):,} characters, too many for a name")
        found = _PAIR.fullmatch(line.replace("\n", " "))
        if found is None:
            raise ValueError(f"it is YAML of another form: {quoted(line)} is neither '- name' nor 'index: name'")
        key = _scalar(found["key"])
        index = int(key) if re.fullmatch(r"[0-9]{1,9}", key) else key
        if index in names:
            raise ValueError(f"{quoted(key)} occurs twice")
        names[index] = _scalar(found["value"])
    return names_in(names)


def _scalar(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] == '"':
        return str(literal(text))
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if text.startswith((*"\"'&*!|>%@`[{", "- ")):
        raise ValueError(f"{_OTHER_FORM}: {quoted(text)}")
    return text
