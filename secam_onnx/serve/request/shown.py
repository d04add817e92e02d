"""Values that a client sent, as messages show them."""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["shown"]

_SHORT = reprlib.Repr()  # it looks neither to the bottom of what is nested nor to the end of what is long
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 4, 60, 60, 40
_SHORT.maxdict = _SHORT.maxlist = 6


def shown(value: Any) -> str:
    """A value that a client sent, for a message: short, whatever it is."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else _SHORT.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
