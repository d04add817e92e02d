"""Values of JSON with checked types; a wrong one is a ValueError that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS
from secam_onnx.shown_text import quoted

__all__ = ["by_channel", "flag", "number"]

_LEAST, _MOST = 1e-9, 1e9


def flag(data: Mapping[str, Any], key: str) -> bool:
    """True or false."""
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {quoted(value)} where true or false was expected")  # noqa: TRY004
    return value


def number(data: Mapping[str, Any], key: str) -> float:
    """A positive number that float32 can hold, and its reciprocal, too."""
    value: Any = data.get(key)
    if type(value) not in (float, int) or not _LEAST <= value <= _MOST:
        raise ValueError(f"{key} is {quoted(value)} where a positive number was expected")
    return float(value)


def by_channel(data: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """A finite number for each channel, or one for all."""
    value = data.get(key)
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{key} is empty where a number for each channel was expected")
    if len(values) > MAX_CHANNELS or not all(type(entry) in (float, int) and abs(entry) <= _MOST for entry in values):
        raise ValueError(f"{key} is {quoted(value)} where a number for each channel was expected")
    return tuple(map(float, values))
