"""Signed maps laid over the photograph. All is float in [0, 1] until the last line of each picture."""

from __future__ import annotations

import numpy as np

from secam_onnx.preprocess import Geometry
from secam_onnx.superpixels import bilinear_axis

__all__ = ["colour", "heat_overlay", "kept_overlay", "map_on_image", "segments_on_image"]

# ColorBrewer's RdBu (11 classes, Apache-2.0), from blue (against the class) over white (nothing) to red (for it).
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
_DARK = 0.16  # brightness left of a superpixel that is not kept
_UNSEEN_GREY = 0.8
_FRAME_GREY = 0.35
_HATCH_PERIOD = 14  # pixels of the smaller pictures; larger ones scale it


def colour(values: np.ndarray, limit: float) -> np.ndarray:
    """Colours of signed values: red for positive, blue for negative, white at zero.

    Parameters
    ----------
    values : ndarray
        Any shape, floating point.
    limit : float
        The value of the strongest red; its negative is the strongest blue.

    Returns
    -------
    ndarray
        `(*values.shape, 3)` float64 in [0, 1].
    """
    position = np.clip(values / limit, -1, 1) if limit > 0 else np.zeros_like(values)
    anchors = np.linspace(-1, 1, len(_RD_BU))
    return np.stack([np.interp(position, anchors, channel) for channel in _RD_BU.T], axis=-1)


def segments_on_image(segments: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A label map carried to the photograph: `(H, W)` int32, -1 where the model saw nothing."""
    return geometry.to_image(segments, fill=-1)


def map_on_image(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A map of feature cells, bilinearly interpolated in place on the photograph.

    Parameters
    ----------
    values : ndarray
        `(h, w)` floating point.
    geometry : Geometry
        Where the model's input lies.

    Returns
    -------
    ndarray
        `(H, W)` float32; NaN where the model saw nothing.
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
    """The photograph where superpixels are kept, dark elsewhere, hatched grey where the model saw nothing.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8.
    segments : ndarray
        `(H, W)` integers, -1 where the model saw nothing.
    keep : ndarray
        `(S,)` bool.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8.
    """
    # One more entry, which label -1 picks: what was not seen.
    brightness = np.append(np.where(keep, 1.0, _DARK), 1.0).astype(np.float32)[segments]
    return _finish(image / np.float32(255) * brightness[..., None], segments >= 0)


def heat_overlay(image: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Signed values as colours over the greyed photograph; the stronger the value, the less of the photograph shows.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8.
    values : ndarray
        `(H, W)` floating point, NaN where the model saw nothing.
    limit : float
        The value of the strongest colour.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8.
    """
    seen = np.isfinite(values)
    values = np.where(seen, values, 0)
    strength = np.clip(np.abs(values) / limit, 0, 1) if limit > 0 else np.zeros_like(values)
    opacity = (0.2 + 0.65 * np.sqrt(strength)).astype(np.float32)[..., None]
    grey = (image.mean(axis=2, keepdims=True, dtype=np.float32) / 255) * 0.8 + 0.1
    blended = grey * (1 - opacity) + colour(values, limit).astype(np.float32) * opacity
    return _finish(np.where(seen[..., None], blended, image / np.float32(255)), seen)


def _frame(seen: np.ndarray, thickness: int) -> np.ndarray:
    """A line around the rectangle that was seen, on its outside."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    frame = np.zeros_like(seen)
    top, left = max(0, rows[0] - thickness), max(0, columns[0] - thickness)
    frame[top : rows[-1] + 1 + thickness, left : columns[-1] + 1 + thickness] = True
    return frame & ~seen


def _finish(picture: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Grey out and hatch what the model did not see, then go to 8 bits, as the last step."""
    if not seen.all():
        height, width = seen.shape
        period = max(_HATCH_PERIOD, max(height, width) // 40)
        stripe = (np.add.outer(np.arange(height), np.arange(width)) % period) < max(1, period // 7)
        pale = picture.mean(axis=2, keepdims=True) * 0.3 + _UNSEEN_GREY * 0.7
        pale = np.where(stripe[..., None], pale * 0.88, pale)
        picture = np.where(seen[..., None], picture, pale)
        picture[_frame(seen, max(1, max(height, width) // 300))] = _FRAME_GREY
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
