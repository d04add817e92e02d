"""Objects read by the annotations of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest

from secam_onnx.errors import OptionError
from secam_onnx.schema import OneOf, Within, from_json


class Report(TypedDict, total=False):
    error: float
    images: list[str]


@dataclass(frozen=True)
class Inner:
    count: Annotated[int, Within(1, 5)] = 1

    def __post_init__(self) -> None:
        if self.count == 4:
            raise OptionError("count is 4; not that one.")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    pair: tuple[int, float]
    several: tuple[Inner, ...]
    either: int | tuple[int, int] | Literal["auto"] | None
    kind: Annotated[str, OneOf("a", "b")]
    notes: Mapping[str, str]
    report: Report
    flag: bool


VALID: dict[str, Any] = {
    "name": "x",
    "inner": {"count": 2},
    "pair": [1, 2],
    "several": [{"count": 1}, {"count": 5}],
    "either": [1, 2],
    "kind": "b",
    "notes": {"any": "text"},
    "report": {"error": 0},
    "flag": True,
}


def test_what_is_valid_is_read() -> None:
    found = from_json(Outer, VALID)
    inner = (Inner(1), Inner(5))
    assert found == Outer("x", Inner(2), (1, 2.0), inner, (1, 2), "b", {"any": "text"}, {"error": 0.0}, True)
    for either in (7, "auto", None):
        assert from_json(Outer, VALID | {"either": either}).either == either


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("name", 5, "name is 5; text was expected"),
        ("inner", 5, "inner is 5; an object was expected"),
        ("inner", {}, "inner has no count"),
        ("inner", {"count": 6}, "inner.count is 6; a whole number of 1 to 5 was expected"),
        ("inner", {"count": True}, "inner.count is true; a whole number of 1 to 5 was expected"),
        ("inner", {"count": 1.0}, "inner.count is 1.0; a whole number"),
        ("inner", {"count": 4}, "inner: count is 4; not that one."),
        ("inner", {"count": 1, "size": 1}, "inner has 'size', which is not known; known are count"),
        ("pair", [1], r"pair is a list of 1; a list \(a whole number, a finite number\) was expected"),
        ("pair", [1, float("nan")], r"pair\[1\] is nan; a finite number"),
        ("pair", "12", "pair is '12'; a list"),
        ("several", [{"count": 1}, {"count": 0}], r"several\[1\].count is 0"),
        ("either", False, r"either is false; a whole number or a list .* or 'auto' or null was expected"),
        ("either", "other", "either is 'other'"),
        ("kind", "c", "kind is 'c'; one of a, b was expected"),
        ("kind", ["a"], "kind is a list of 1; one of a, b"),
        ("notes", {"any": 1}, r"notes\['any'\] is 1; text"),
        ("report", {"errors": 1}, "report has 'errors', which is not known"),
        ("report", {"images": ["a", None]}, r"report.images\[1\] is null; text"),
        ("flag", 1, "flag is 1; true or false was expected"),
        ("flag", "\x1b[31m" + "x" * 1000, r"flag is '\\x1b\[31mx+\.\.\.x*"),
    ],
)
def test_what_is_not_says_where_and_what(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        from_json(Outer, VALID | {name: value})
    assert len(str(raised.value)) < 300
