"""Values in JSON or Python syntax, read from text that is never run."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from secam_onnx.schema import LimitError, Limits, NotJsonError, measure, parse_json

__all__ = ["LARGEST", "literal"]

LARGEST = 2_000_000
"""Most characters of a text in Python's syntax or YAML; ImageNet-21k's names take a third of it."""

_PYTHON = Limits(entries=200_000, depth=64)  # Python's parser takes 1.5 kB for an entry

_STRING = r"""[rRuU]?(?:'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")"""
_NUMBER = r"[+-]?\d{1,400}+(?:\.\d{0,400}+)?(?:[eE][+-]?\d{1,4})?"
_VALUES = re.compile(rf"(?:[\s\[\](){{}},:]++|{_STRING}|{_NUMBER}|True|False|None|#[^\n]*+)*+", re.DOTALL)
_NO_STRUCTURE = re.compile(rf"{_STRING}|#[^\n]*+".encode(), re.DOTALL)


def literal(text: str) -> Any:
    """The value of a text in JSON, or in Python's syntax with nothing but values.

    Raises
    ------
    ValueError
        The text is neither, or exceeds a limit; the message is the reason alone.
    """
    try:
        return parse_json(text)
    except (NotJsonError, LimitError) as error:
        if isinstance(error, LimitError) and "'" not in text:  # which may quote brackets
            raise
        reason = error
    # Operators are no values, and Python's parser recurses into them.
    if len(text) > LARGEST or not _VALUES.fullmatch(text):
        raise ValueError(f"it is neither JSON nor a list or dict in Python's syntax: {reason}")
    entries, depth = measure(_NO_STRUCTURE.sub(b"", text.encode()))
    _PYTHON.check(entries + text.count("'") // 2, depth)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are none
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"it is neither JSON nor a list or dict in Python's syntax: {reason}") from None
