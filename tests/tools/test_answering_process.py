"""What the fuzzers ask of a process of their own: an answer, or how it ended."""

from __future__ import annotations

import sys

import pytest
from fuzzing.answering_process import AnsweringProcess

CHILD = """
import os, sys, time
sys.path[:] = {path!r}
from fuzzing.answering_process import answer_lines

def answer(line):
    print("noise")
    if line == "ends":
        os._exit(7)
    if line == "hangs":
        time.sleep(3600)
    if line == "raises":
        raise KeyError("two\\nlines")
    return line.upper()

answer_lines(answer)
"""


def asked(lines: list[str], limit: float) -> list[str]:
    process = AnsweringProcess([sys.executable, "-c", CHILD.format(path=sys.path)], limit)
    try:
        return [process.ask(line) for line in lines]
    finally:
        process.close()


def test_answers_and_ends() -> None:
    said = asked(["a file", "raises", "ends", "again"], 600)
    assert said == ["A FILE", r"FOUND KeyError: 'two\nlines'", "FOUND exit 7", "AGAIN"]


def test_a_hang() -> None:
    assert asked(["hangs"], 0.1) == ["FOUND a hang"]


def test_a_process_that_does_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    process = AnsweringProcess([sys.executable, "-c", "raise SystemExit('no such library')"], 600)
    with pytest.raises(RuntimeError, match="does not start"):
        process.ask("a file")
    assert "no such library" in capfd.readouterr().err
    process.close()
