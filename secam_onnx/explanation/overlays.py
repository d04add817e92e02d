"""Signed maps drawn over the photograph, in floating point in [0, 1]; rounding to 8 bits is the last step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secam_onnx.photograph.preprocessing import Geometry
from secam_onnx.superpixels import bilinear_axis

__all__ = ["DARK", "KINDS", "colour", "heat_overlay", "kept_overlay", "map_on_image", "segments_on_image"]

KINDS = ("superpixels", "heatmap", "cam")
"""The kinds of pictures of a class."""

# ColorBrewer's RdBu (11 classes, Apache-2.0), from blue (against the class) over white (zero) to red (for the class).
_RD_BU = (
    np.array(
        [
            (5, 48, 97),
            (33, 102, 172),
            (67, 147, 195),
            (146, 197, 222),
            (209, 229, 240),
            (247, 247, 247),
            (253, 219, 199),
            (244, 165, 130),
            (214, 96, 77),
            (178, 24, 43),
            (103, 0, 31),
        ]
    )
    / 255
)
# Even, symmetrical steps, one of which is exactly zero.
_COLOURS = np.stack(
    [np.interp(np.linspace(-1, 1, 2049), np.linspace(-1, 1, len(_RD_BU)), channel) for channel in _RD_BU.T], axis=-1
).astype(np.float32)
_STRIP = 128  # rows drawn at once, which bounds the memory for large photographs
DARK = 0.16
"""Brightness of a superpixel that is not kept."""
_UNSEEN_GREY = 0.8
_FRAME_GREY = 0.35
_HATCH_PERIOD = 14  # pixels; more on large pictures


def colour(values: np.ndarray, limit: float) -> np.ndarray:
    """Colour signed values: red for positive, blue for negative, white for zero.

    Parameters
    ----------
    values : ndarray
        Any shape, floating point.
    limit : float
        The value of the strongest red; its negative is the strongest blue.

    Returns
    -------
    ndarray
        `(*values.shape, 3)` float32 in [0, 1].
    """
    position = np.clip(values / limit, -1, 1) if limit > 0 else np.zeros_like(values)
    return _COLOURS[np.rint((position + 1) * (len(_COLOURS) // 2)).astype(np.intp)]


def segments_on_image(segments: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Carry a label map to the photograph: `(H, W)` int32, -1 where the model did not see it."""
    return geometry.to_image(segments, fill=-1)


def map_on_image(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Interpolate a map of feature cells bilinearly, at its place on the photograph.

    Parameters
    ----------
    values : ndarray
        `(h, w)` floating point.
    geometry : Geometry
        Where the model's input lies on the photograph.

    Returns
    -------
    ndarray
        `(H, W)` float32; NaN where the model did not see the photograph.
    """
    (rows, y), (columns, x) = geometry.positions()
    out = np.full(geometry.image_size, np.nan, dtype=np.float32)
    out[np.ix_(rows, columns)] = _interpolate(_interpolate(values.astype(np.float32), y).T, x).T
    return out


def _interpolate(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    lower, upper, weight = bilinear_axis(len(values), position)
    share = weight.astype(np.float32)[:, None]
    return values[lower] * (1 - share) + values[upper] * share


def kept_overlay(image: np.ndarray, segments: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Draw the photograph bright where superpixels are kept, dark elsewhere, hatched where the model did not see it.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8.
    segments : ndarray
        `(H, W)` integers, -1 where the model did not see the photograph.
    keep : ndarray
        `(S,)` bool.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8.
    """
    # The last entry is for label -1, what the model did not see.
    brightness = np.append(np.where(keep, 1.0, DARK), 1.0).astype(np.float32)

    def draw(rows: slice) -> np.ndarray:
        return image[rows] / np.float32(255) * brightness[segments[rows]][..., None]

    return _drawn(image, segments >= 0, draw)


def heat_overlay(image: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Draw signed values as colours over the grey photograph, the more opaque the stronger they are.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8.
    values : ndarray
        `(H, W)` floating point, NaN where the model did not see the photograph.
    limit : float
        The value of the strongest colour.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8.
    """
    seen = np.isfinite(values)

    def draw(rows: slice) -> np.ndarray:
        strip = np.where(seen[rows], values[rows], 0).astype(np.float32)
        strength = np.clip(np.abs(strip) / limit, 0, 1) if limit > 0 else np.zeros_like(strip)
        opacity = (0.2 + 0.65 * np.sqrt(strength))[..., None]
        grey = image[rows].mean(axis=2, keepdims=True, dtype=np.float32) / 255 * 0.8 + 0.1
        return np.asarray(grey * (1 - opacity) + colour(strip, limit) * opacity)

    return _drawn(image, seen, draw)


def _drawn(image: np.ndarray, seen: np.ndarray, draw: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Draw what the model saw strip by strip, hatch the rest, and frame the border.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8.
    seen : ndarray
        `(H, W)` bool, what the model saw.
    draw : callable
        Draws some rows, `(rows, W, 3)` float32 in [0, 1].
    """
    height, width = seen.shape
    picture = np.empty_like(image)
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height))
        strip = draw(rows)
        if not seen[rows].all():
            strip = np.where(seen[rows][..., None], strip, _unseen(image[rows], top, max(height, width)))
        picture[rows] = np.rint(np.clip(strip, 0, 1) * 255).astype(np.uint8)
    if not seen.all():
        picture[_frame(seen, max(1, max(height, width) // 300))] = round(_FRAME_GREY * 255)
    return picture


def _unseen(image: np.ndarray, top: int, longest: int) -> np.ndarray:
    """Draw rows from `top` on, of a photograph with this longest side, pale grey and hatched."""
    period = max(_HATCH_PERIOD, longest // 40)
    row, column = np.arange(top, top + len(image)), np.arange(image.shape[1])
    stripe = (np.add.outer(row, column) % period) < max(1, period // 7)
    pale = image.mean(axis=2, dtype=np.float32) / 255 * 0.3 + _UNSEEN_GREY * 0.7
    return np.where(stripe, pale * 0.88, pale).astype(np.float32)[..., None]


def _frame(seen: np.ndarray, thickness: int) -> np.ndarray:
    """A line around the rectangle that the model saw, on its outside."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    frame = np.zeros_like(seen)
    top, left = max(0, rows[0] - thickness), max(0, columns[0] - thickness)
    frame[top : rows[-1] + 1 + thickness, left : columns[-1] + 1 + thickness] = True
    return frame & ~seen
