"""Values of JSON with checked types; a wrong one is a ValueError that names the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["by_channel", "flag", "number"]


def flag(data: Mapping[str, Any], key: str) -> bool:
    """True or false."""
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {value!r} where true or false was expected")  # noqa: TRY004
    return value


def number(data: Mapping[str, Any], key: str) -> float:
    """A positive finite number."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, float | int) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{key} is {value!r} where a positive number was expected")
    return float(value)


def by_channel(data: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """A finite number for each channel, or one for all."""
    value = data.get(key)
    values: list[Any] = value if isinstance(value, list) else [value]
    for entry in values:
        if isinstance(entry, bool) or not isinstance(entry, float | int) or not math.isfinite(entry):
            raise ValueError(f"{key} is {value!r} where a number for each channel was expected")
    if not values:
        raise ValueError(f"{key} is empty where a number for each channel was expected")
    return tuple(map(float, values))
