"""Values in JSON or Python syntax, read from text that is never run."""

from __future__ import annotations

import ast
import json
from typing import Any

__all__ = ["LARGEST", "literal"]

LARGEST = 2_000_000
"""Most characters of such a text; Python's parser takes a hundred times as much memory."""


def literal(text: str) -> Any:
    """The value of a text in JSON, or in Python's syntax with nothing but values.

    Raises
    ------
    ValueError
        The text is neither; the message is the reason alone.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text):,} characters; at most {LARGEST:,} were expected")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"it is neither JSON nor a list or dict in Python's syntax: {reason}") from None
