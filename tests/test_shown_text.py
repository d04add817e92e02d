"""What is shown of strangers' text, and that nothing is written to a terminal past it."""

from __future__ import annotations

import ast
import json
import pickle
import traceback
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import secam_onnx
from secam_onnx.errors import (
    ClassError,
    MissingDependencyError,
    OptionError,
    OutputError,
    PreprocessingWarning,
    SecamError,
)
from secam_onnx.shown_text import quoted, shown, shown_json, shown_json_bytes, shown_lines, shown_name

TEXT = st.text(st.characters(), max_size=300)  # with lone surrogates

ORDINARY = [
    "tiger cat",
    "écureuil, Bär, Ærø",
    "猫　ネコ",
    "고양이",
    "кошка",
    "قطة",
    "می\u200cخواهم",  # noqa: RUF001
    "חתול",
    "क्\u200dष",
    "👨\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3",
    "葛\U000e0100城",
    "e\u0301 10\xa0%",
    r"C:\Users\x",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert shown(text) == text
    assert shown_name(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[2Jb\x07", r"a\x1b[2Jb\x07"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202ecod.exe\u2066\u200f\u061c", r"\u202ecod.exe\u2066\u200f\u061c"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("\U000e0041\ue000\u0378\uffff", r"\U000e0041\ue000\u0378\uffff"),
        ("\ufeff\u200b\u2060\xad\u3164\u034f", r"\ufeff\u200b\u2060\xad\u3164\u034f"),
        ("c\u200da\u200ct", r"c\u200da\u200ct"),  # joins nothing, and makes two names look alike
        ("❤\ufe0f\ufe0f\U000e0101", "❤\ufe0f" + r"\ufe0f\U000e0101"),
        ("a" + "\u0316" * 12, "a" + "\u0316" * 10 + r"\u0316\u0316"),
    ],
)
def test_what_must_not_be_shown_is_an_escape(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(TEXT, st.integers(60, 400))
def test_what_is_shown_is_one_line_of_printable_characters(text: str, most: int) -> None:
    result = shown(text, most)
    assert len(result) <= most
    result.encode()
    assert all(char.isprintable() or char in "\u200c\u200d" or unicodedata.category(char) == "Zs" for char in result), (
        ascii(result)
    )
    assert shown(result, most) == result


@pytest.mark.parametrize("name", ["a" * 100_000, "\x1b" * 100_000, "a\u0301\u0316" * 100_000, "\x1b" * 190])
def test_long_text_loses_its_middle(name: str) -> None:
    result = shown_name(name)
    assert len(result) <= 200
    assert f" ... ({len(name):,} characters) ... " in result


@given(st.recursive(TEXT | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_json_that_can_be_shown_says_the_same(value: object) -> None:
    for indent in (None, 1):
        text = shown_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == json.loads(json.dumps(value))
        text.encode()
        assert all(char.isprintable() or char == "\n" or unicodedata.category(char) == "Zs" for char in text)


@given(TEXT)
def test_bytes_of_json_are_treated_alike(text: str) -> None:
    given_ = json.dumps(text.encode(errors="ignore").decode(), ensure_ascii=False)
    assert shown_json_bytes(given_.encode()) == shown_json(given_).encode()


def test_only_lines_of_ours_are_lines() -> None:
    assert shown_lines("one\n\x1b two\n") == "one\n\\x1b two\n"


@pytest.mark.parametrize("value", ["\x1b\u202e", ["\x1b"] * 50, {"\x9b": "\n"}, "x" * 10**6, 10**4000, None, True])
def test_quoted_values_are_short(value: object) -> None:
    assert len(quoted(value)) <= 80
    assert shown(quoted(value)) == quoted(value)


@pytest.mark.parametrize("kind", [SecamError, ClassError, OptionError, OutputError, MissingDependencyError])
def test_errors_are_fit_for_a_terminal(kind: type[SecamError]) -> None:
    error = kind("No class \x1b[2J\n\u202e; the classes are ...")
    expected = r"No class \x1b[2J\n\u202e; the classes are ..."
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == expected
    assert error.args == ("No class \x1b[2J\n\u202e; the classes are ...",)
    assert "".join(traceback.format_exception(error)).rstrip("\n").endswith(expected)


def test_warnings_are_fit_for_a_terminal() -> None:
    text = warnings.formatwarning(PreprocessingWarning("\x1b[2J\u202e"), PreprocessingWarning, "its.py", 1, "")
    assert r"PreprocessingWarning: \x1b[2J\u202e" in text


def test_commands_write_only_through_the_console() -> None:
    """So that no message can forget it."""
    package = Path(secam_onnx.__file__).parent
    forbidden = {"echo", "secho", "print", "write"}  # console shows what streams writes; `tqdm.write` has its own case
    found = []
    for file in package.joinpath("cli").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and file.name not in ("console.py", "streams.py"):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in forbidden:
                    found.append(f"{file.name}: {ast.unparse(node)}")
    assert found == ["explain_messages.py: tqdm.write(shown(text), file=sys.stderr)"]
