"""The size of a text's structure, counted before any value is made of it."""

from __future__ import annotations

import numpy as np

__all__ = ["measure"]

_BLOCK = 1 << 20
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[*b"[{("]] = 1
_STEPS[[*b"]})"]] = -1


def measure(text: bytes) -> tuple[int, int]:
    """Count what a parser would make of a text, in constant memory.

    Parameters
    ----------
    text : bytes
        JSON in UTF-8. Of a damaged text the part before the damage is measured rightly, which is all that is parsed.

    Returns
    -------
    entries : int
        Those of all its lists and objects together, and they themselves.
    depth : int
        How deep they are nested.
    """
    if b"\\" in text:  # backslashes count in pairs, from the left, as they do here
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    entries = depth = deepest = quotes = 0
    for start in range(0, len(text), _BLOCK):
        block = np.frombuffer(text, np.uint8, min(_BLOCK, len(text) - start), start)
        inside = np.cumsum(block == ord('"'), dtype=np.uint8) + np.uint8(quotes & 1)  # its lowest bit: in a string
        bare = block[inside & 1 == 0]
        quotes = int(inside[-1])
        steps = _STEPS[bare]
        steps = steps[steps != 0]
        entries += int(np.count_nonzero(bare == ord(","))) + int(np.count_nonzero(steps > 0))
        levels = np.cumsum(steps, dtype=np.int32)
        deepest = max(deepest, depth + int(levels.max(initial=0)))
        depth += int(levels[-1]) if len(levels) else 0
    return entries, deepest
