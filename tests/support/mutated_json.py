"""Valid JSON with a few places changed: other types, other ranges, missing, twice, nested, huge."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

__all__ = ["mutated"]

_LONG = "x" * 20_000
_PLAIN = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 255, 8192, 8193, 65_536, 30_000_000),
    *(2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 10**5000),
    *(0.0, 0.5, 1.0, -0.5, 1e-320, 1e-30, 1e30, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "x", "0", "none", "softmax", "NCHW", "NHWC", "NLC", "\ud800", "\x1b[31m\u202e", "\0", _LONG),
]
_NESTED: list[Any] = [[], {}, [[]], {"": {}}, [None], [1, 2, 3], ["a", "b"], [[0, 1], [0, 1]], [[1] * 2] * 500]
_DEEP = "@deep@"  # replaced in the text, as Python would not write it


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values, to the first ones of long lists."""
    yield way
    entries = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _places(entry, (*way, key))


def _at(data: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        data = data[key]
    return data


@st.composite
def mutated(draw: st.DrawFn, valid: Any) -> str:
    """The text of `valid` with one to three changes."""
    data = [copy.deepcopy(valid)]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        ways = [(0, *way) for way in _places(data[0])]
        first = draw(st.sampled_from(sorted({str(way[1:2]) for way in ways})))  # else, what is long gets most
        way = draw(st.sampled_from([way for way in ways if str(way[1:2]) == first]))
        parent, key = _at(data, way[:-1]), way[-1]
        kind = draw(st.sampled_from(["plain", "plain", "plain", "nested", "other", "delete", "add", "repeat", "deep"]))
        if kind == "plain":
            parent[key] = draw(st.sampled_from(_PLAIN))
        elif kind == "nested":
            parent[key] = copy.deepcopy(draw(st.sampled_from(_NESTED)))
        elif kind == "other":
            parent[key] = copy.deepcopy(_at(data, draw(st.sampled_from(ways))))
        elif kind == "deep":
            parent[key] = _DEEP
        elif kind == "delete" and len(way) > 1:
            del parent[key]
        elif kind == "add" and isinstance(parent[key], dict):
            parent[key][draw(st.sampled_from(["surprise", "schema", "__class__", "\ud800", "size"]))] = 1
        elif isinstance(parent[key], list):
            parent[key] = parent[key] * draw(st.sampled_from([2, 1000]))
    text = _dumped(data[0])
    depth = draw(st.sampled_from([20, 100, 5000]))
    return text.replace(f'"{_DEEP}"', "[" * depth + "]" * depth)


def _dumped(data: Any) -> str:
    huge = 10**5000  # which Python does not write by itself
    text = json.dumps(data, default=str) if not _has(data, huge) else json.dumps(_with(data, huge, "@huge@"))
    return text.replace('"@huge@"', "1" + "0" * 5000)


def _has(data: Any, value: int) -> bool:
    entries = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return (type(data) is int and data == value) or any(_has(entry, value) for entry in entries)


def _with(data: Any, value: int, other: str) -> Any:
    if isinstance(data, dict):
        return {key: _with(entry, value, other) for key, entry in data.items()}
    if isinstance(data, list):
        return [_with(entry, value, other) for entry in data]
    return other if type(data) is int and data == value else data
