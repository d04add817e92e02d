r"""Text of strangers - class names, file names, messages of libraries - as a terminal, a log or a page may show it.

What a terminal would obey, what turns the direction of writing and what nobody can see becomes an escape such as
`\x1b`, `\n` or `\u202e`, and what is too long loses its middle. Ordinary text of every language stays as it is. Data
keep the true text, which `shown_json` spells so that a terminal can show it, too.
"""

from __future__ import annotations

import json
import re
import reprlib
import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["LONGEST_NAME", "quoted", "shown", "shown_json", "shown_json_bytes", "shown_lines", "shown_name"]

LONGEST_NAME = 200
"""The most characters that are shown of a name."""

_LONGEST = 4000  # characters of a message; `args` of an error has all of it
_MOST_MARKS = 10  # accents on one letter; Tibetan and Hebrew need eight
_PLAIN = bytes(range(0x7F))
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")  # letters and marks that nobody can see
_JOINERS = "\u200c\u200d"  # in Persian, in the scripts of India, in emoji

_SHORT = reprlib.Repr()  # it looks neither to the bottom of what is nested nor to the end of what is long
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 4, 60, 60, 40
_SHORT.maxdict = _SHORT.maxlist = 6


def shown(text: str, most: int = _LONGEST) -> str:
    """Escape what must not be shown, and cut what is too long in its middle; a second call changes nothing.

    Parameters
    ----------
    text : str
        Any text, lone surrogates included.
    most : int
        The most characters of the result, at least 60.

    Returns
    -------
    str
        One line of printable characters.
    """
    if len(text) <= most and len(whole := _escaped(text)) <= most:
        return whole
    note = f" ... ({len(text):,} characters) ... "
    room = (most - len(note)) // 2
    return f"{_escaped(text[:room])[:room]}{note}{_escaped(text[-room:])[-room:]}"


def shown_name(name: str) -> str:
    """A name among other words: as `shown`, at most `LONGEST_NAME` characters."""
    return shown(name, LONGEST_NAME)


def shown_lines(text: str) -> str:
    """Lines of our own making, such as a traceback's, each as `shown`."""
    return "\n".join(map(shown, text.split("\n")))


def quoted(value: Any) -> str:
    """A value of a stranger's JSON, with text in quotes: short, whatever it is."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else _SHORT.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def shown_json(text: str) -> str:
    r"""JSON that a terminal can show, and that still says the same: it has `\u001b` where `shown` has `\x1b`."""
    if text.isprintable() or (text.isascii() and "\x7f" not in text):
        return text
    return re.sub("[^\n -~]", lambda found: found[0] if _visible(found[0]) else _json_escape(found[0]), text)


def shown_json_bytes(data: bytes) -> bytes:
    """`shown_json` of JSON in UTF-8; what needs no escape costs next to nothing."""
    odd = b"" if data.isascii() and b"\x7f" not in data else data.translate(None, _PLAIN)
    return data if odd.decode().isprintable() else shown_json(data.decode()).encode()


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(_characters(text))


def _characters(text: str) -> Iterator[str]:
    before, marks = "", 0
    for char in text:
        marks = marks + 1 if _is_mark(char) else 0
        joins = char in _JOINERS and ("\u0600" <= before <= "\u1fff" or before >= "\u2100")
        again = _is_selector(char) and _is_selector(before)  # one chooses a form, a row of them hides a message
        yield char if (joins or _visible(char)) and not again and marks <= _MOST_MARKS else _escape(char)
        before = char


def _visible(char: str) -> bool:
    if char.isprintable():
        return char not in _BLANK
    return unicodedata.category(char) == "Zs"  # spaces of other widths


def _is_mark(char: str) -> bool:
    return char > "\u02ff" and unicodedata.category(char) in ("Mn", "Me")


def _is_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if char > "\x7f" else f"\\u{ord(char):04x}"
