"""JSON under limits: what is refused before it takes memory, and what is read."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secam_onnx.schema import LimitError, Limits, NotJsonError, measure, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inside),
)  # fmt: skip


def size(value: Any) -> tuple[int, int]:
    """Lists and objects with their entries, and how deep they are nested, counted in the value."""
    if not isinstance(value, dict | list):
        return 0, 0
    inside = [size(entry) for entry in (value.values() if isinstance(value, dict) else value)]
    commas = max(0, len(inside) - 1)
    return 1 + commas + sum(found for found, _ in inside), 1 + max((depth for _, depth in inside), default=0)


@given(VALUES, st.booleans())
def test_what_is_measured_is_what_is_read(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert measure(text.encode()) == size(value)
    for strict in (True, False):
        assert parse_json(text, strict=strict) == value


@given(st.text(st.sampled_from('[]{}",:\\ 1ae\n'), max_size=60))
def test_no_text_has_more_than_was_measured(text: str) -> None:
    entries, depth = measure(text.encode())
    try:
        found = size(json.loads(text))
    except ValueError:
        return
    assert (entries, depth) == found


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("[[[1]]]", LimitError, "nested 3 deep; at most 2"),
        ("[1, 2, 3, 4, 5, 6]", LimitError, "more than 5 entries"),
        ('"' + "x" * 40 + '"', LimitError, "42 characters; at most 40"),
        ("[1,", NotJsonError, "it is not JSON"),
        ("", NotJsonError, "it is not JSON"),
        ('{"a": 1, "a": 2}', ValueError, "the key 'a' occurs twice"),
        (r'["\uDC00"]', ValueError, "half of a surrogate pair"),
        (r'{"\ud800": 1}', ValueError, "half of a surrogate pair"),
        ('"\ud800"', ValueError, "half of a surrogate pair"),
    ],
)
def test_what_is_refused(text: str, error: type[ValueError], reason: str) -> None:
    with pytest.raises(error, match=reason):
        parse_json(text, Limits(size=40, entries=5, depth=2))


def test_a_whole_pair_is_a_character() -> None:
    assert parse_json(r'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize("text", ["1e400", "-1e400", "NaN", "Infinity", "9" * 5000, str(2**63)])
def test_numbers_that_json_has_not(text: str) -> None:
    assert isinstance(parse_json(text), float)
    with pytest.raises(ValueError, match=r"larger than|no number of JSON"):
        parse_json(text, strict=True)


@pytest.mark.parametrize("unit", ["[],", "{},", '"",', '{"a":[]},', "1,", r'"\"",'])
def test_memory_is_bounded_whatever_the_entries(unit: str) -> None:
    """Without the limit, 16 MB of empty objects take 500 MB."""
    text = "[" + unit * (15_900_000 // len(unit)) + "1]"
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            parse_json(text)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no processor time")
@pytest.mark.parametrize("unit", ['\\"', '"', "[", "{", '{"":', "\\", "'"])
def test_time_grows_with_the_text_alone(unit: str) -> None:
    """A search that looked at each quotation mark twice would take hours."""
    code = f"""
import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from secam_onnx.schema import parse_json
try: parse_json('["' + {unit!r} * 3_000_000)
except ValueError: print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr
