"""What a stranger may put into any name, and what of a command's output a terminal would obey or hide."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["HOSTILE", "HOSTILE_NAME", "left_raw"]

HOSTILE = "\x1b]0;title\x07\x1b[2Jone\r\ntwo\t\x9b31m\x7f\u202eg\u2066\u200b\u2028\U000e0041"
"""A window's title, a cleared screen, a second line, red, right to left, and what nobody sees."""

HOSTILE_NAME = HOSTILE.replace("/", "_") + "\udcff"
"""The same as a part of a path, with a byte that is no UTF-8."""

_JOINERS = "\u200c\u200d"  # which words and emoji need
_OURS = re.compile(r"\r?\x1b\[K|\x1b\[1m|\x1b\[0m|\r(?=[ e])|\r\n|\n|\x1b\[A")  # lines, bold type, tqdm's bar


def left_raw(output: bytes) -> list[str]:
    """The characters of an output that are not to be shown, as escapes, without repeats."""
    text = _OURS.sub("", output.decode(errors="surrogateescape"))
    odd = (
        char for char in text if not char.isprintable() and unicodedata.category(char) != "Zs" and char not in _JOINERS
    )
    return list(dict.fromkeys(ascii(char) for char in odd))
