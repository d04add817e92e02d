"""The panel: kept superpixels, heat map and class activation map side by side, with a title and a colour bar."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from secam_onnx.explanation.overlays import colour
from secam_onnx.shown_text import LONGEST_NAME, shown_name

__all__ = ["TILE", "compose"]

TILE = 420  # pixels along the longest side of a tile
_MARGIN = 16
_TITLE, _TEXT = 22, 15  # font sizes
_BAR = 14  # pixels, width of the colour bar
_NARROWEST = 250  # pixels, room for a caption
_SHORTEST_BAR = 110  # pixels, room for its words
_INK, _PAPER = (25, 25, 25), (255, 255, 255)


def compose(
    title: str,
    subtitle: str,
    tiles: Sequence[tuple[str, np.ndarray]],
    limit: float,
    unit: str,
    notes: Iterable[str] = (),
) -> Image.Image:
    """Lay out the panel of one class.

    Parameters
    ----------
    title, subtitle : str
        The class name, and its numbers.
    tiles : sequence of (str, ndarray)
        Captions and `(H, W, 3)` uint8 pictures, all of one size.
    limit : float
        The value of the strongest colour, for the colour bar.
    unit : str
        What the colour bar measures.
    notes : iterable of str
        Sentences below the numbers, in as many lines as they need.

    Returns
    -------
    Image
        The panel, RGB.
    """
    title = drawable(title)
    height, width = tiles[0][1].shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    numbers = [f"{value:+.2g}" if value else "0" for value in (limit, 0.0, -limit)]
    font, small = ImageFont.load_default(_TITLE), ImageFont.load_default(_TEXT)
    bar_width = _BAR + 8 + max(int(small.getlength(text)) for text in [*numbers, "against"])
    slot = max(size[0], _NARROWEST)
    inner = len(tiles) * (slot + _MARGIN) + bar_width
    inner = max(inner, int(small.getlength(subtitle)))
    lines = [subtitle, *(line for note in notes for line in _lines(note, small, inner))]
    top = _MARGIN + _TITLE + 8 + len(lines) * (_TEXT + 4) + 8
    row = max(size[1], _SHORTEST_BAR)
    canvas = Image.new("RGB", (inner + 2 * _MARGIN, top + row + _TEXT + 8 + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), _fit(title, font, inner), _INK, font=font)
    for place, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + _TITLE + 8 + place * (_TEXT + 4)), line, _INK, font=small)
    left = _MARGIN
    for caption, picture in tiles:
        # The pixels of tiny pictures stay visible.
        scaled = Image.fromarray(picture).resize(
            size, Image.Resampling.NEAREST if scale > 4 else Image.Resampling.LANCZOS
        )
        canvas.paste(scaled, (left, top))
        draw.text((left, top + size[1] + 6), _fit(caption, small, slot), _INK, font=small)
        left += slot + _MARGIN
    _draw_bar(canvas, draw, (left, top), row, limit, numbers, small)
    unit_left = max(left - _MARGIN - 2, canvas.width - _MARGIN - int(small.getlength(unit)))
    draw.text((unit_left, top + row + 6), unit, _INK, font=small)
    return canvas


def _draw_bar(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    height: int,
    limit: float,
    numbers: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top = corner
    ramp = colour(np.linspace(limit, -limit, height), limit)
    pixels = np.rint(np.repeat(ramp[:, None], _BAR, axis=1) * 255).astype(np.uint8)
    canvas.paste(Image.fromarray(pixels), (left, top))
    draw.rectangle((left, top, left + _BAR - 1, top + height - 1), outline=_INK)
    places = (top, top + height // 2 - _TEXT // 2, top + height - _TEXT - 3)
    for text, y in zip(numbers, places, strict=True):
        draw.text((left + _BAR + 6, y), text, _INK, font=font)
    draw.text((left + _BAR + 6, top + _TEXT + 3), "for", _INK, font=font)
    draw.text((left + _BAR + 6, top + height - 2 * _TEXT - 6), "against", _INK, font=font)


def drawable(text: str) -> str:
    """Spell a name in the letters of Pillow's font: accents are dropped, other scripts become question marks."""
    plain = unicodedata.normalize("NFKD", shown_name(text).replace("ß", "ss"))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return letters[:LONGEST_NAME].encode("ascii", "replace").decode()  # some became many


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """A sentence in lines of at most this many pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
