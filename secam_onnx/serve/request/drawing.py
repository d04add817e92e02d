"""The pictures that a request may ask for, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from secam_onnx.explanation import Explanation

__all__ = ["PICTURE_KINDS", "drawn", "png_bytes"]

_DRAW: dict[str, Callable[[Explanation, int], Image.Image]] = {
    "overlay": lambda explanation, index: explanation.overlay(index),
    "heatmap": lambda explanation, index: explanation.overlay(index, kind="heatmap"),
    "panel": lambda explanation, index: explanation.panel(index),
}
PICTURE_KINDS = tuple(_DRAW)


def drawn(explanation: Explanation, index: int, kind: str) -> bytes:
    """One picture of a class as a PNG file; `kind` is one of `PICTURE_KINDS`."""
    return png_bytes(_DRAW[kind](explanation, index))


def png_bytes(picture: Image.Image) -> bytes:
    """A PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a third of the time of the default, for a tenth more bytes
    return buffer.getvalue()
