"""JSON of unknown origin, refused before it takes memory, and where a program could not go on with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from secam_onnx.schema.text_size import measure
from secam_onnx.shown_text import quoted

__all__ = ["LIMITS", "LimitError", "Limits", "NotJsonError", "parse_json"]

_DIGITS = 19  # of the largest int64
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class NotJsonError(ValueError):
    """The text is something else than JSON."""


class LimitError(ValueError):
    """The text is larger than is read."""


@dataclass(frozen=True)
class Limits:
    """What a text may hold.

    Attributes
    ----------
    size : int
        Characters.
    entries : int
        Entries of all lists and objects together.
    depth : int
        Lists and objects inside each other.
    """

    size: int = 16_000_000
    entries: int = 1_000_000
    depth: int = 64

    def check_size(self, size: int, unit: str = "bytes") -> None:
        """Refuse a text, or a file, by its size.

        Raises
        ------
        LimitError
            It is too large.
        """
        if size > self.size:
            raise LimitError(f"it has {size:,} {unit}; at most {self.size:,} were expected")

    def check(self, entries: int, depth: int) -> None:
        """Refuse a text by what `measure` found.

        Raises
        ------
        LimitError
            It has too many entries, or they are nested too deep.
        """
        if entries > self.entries:
            raise LimitError(f"it has more than {self.entries:,} entries; so many are not read")
        if depth > self.depth:
            raise LimitError(f"its lists and objects are nested {depth:,} deep; at most {self.depth} were expected")


LIMITS = Limits()
"""21,000 class names take 2 million characters."""


def parse_json(text: str, limits: Limits = LIMITS, *, strict: bool = False) -> Any:
    """Parse JSON under limits.

    Parameters
    ----------
    text : str
        The text.
    limits : Limits
        What it may hold.
    strict : bool
        Refuse numbers beyond int64 and float64, NaN and infinities. Otherwise, as other programs write them, these are
        floats.

    Returns
    -------
    object
        Dicts, lists, text, int64, float, bool and None. No text holds half of a surrogate pair, which cannot be
        written.

    Raises
    ------
    NotJsonError, LimitError, ValueError
        It is not JSON, exceeds a limit, or has a key twice or half of a pair; the message is the reason alone.
    """
    limits.check_size(len(text), "characters")
    try:
        limits.check(*measure(text.encode()))
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_strict_int if strict else _lenient_int,
            parse_float=_strict_float if strict else None,
            parse_constant=_strict_constant if strict else None,
        )
        if _HALF_PAIR.search(text):
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is no character") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotJsonError(f"it is not JSON ({error})") from error
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quoted(twice)} occurs twice")
    return found


def _whole(digits: str) -> int | None:
    value = int(digits) if len(digits) <= _DIGITS + 1 else None
    return value if value is not None and -(1 << 63) <= value < 1 << 63 else None


def _strict_int(digits: str) -> int:
    value = _whole(digits)
    if value is None:
        raise ValueError(f"the number {digits[:40]} is larger than int64")
    return value


def _lenient_int(digits: str) -> int | float:
    value = _whole(digits)
    return float(digits) if value is None else value


def _strict_float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:40]} is larger than float64")
    return value


def _strict_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number of JSON")
