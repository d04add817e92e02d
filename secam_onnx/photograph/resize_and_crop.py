"""Resizing, cropping and padding a photograph to the size of a model's input, with Pillow's filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

from secam_onnx.photograph.geometry import Geometry
from secam_onnx.photograph.images import LUMA
from secam_onnx.photograph.preprocessing_settings import INTERPOLATIONS

__all__ = ["pad", "resize_and_crop"]

_FILTERS = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}


def resize_and_crop(
    image: np.ndarray,
    size: tuple[int, int],
    resize_to: int | tuple[int, int] | Literal["letterbox"] | None,
    interpolation: str,
    *,
    round_to_even: bool,
) -> tuple[np.ndarray, Geometry]:
    """Resize an image, then cut out the middle; what lies beyond the image stays black.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8, RGB; or `(H, W, C)` of any type.
    size, resize_to, interpolation
        See `Preprocessing`.
    round_to_even : bool
        Which way half a pixel goes where the crop cannot lie in the middle; otherwise down.

    Returns
    -------
    seen : ndarray
        `(h, w, 3)` uint8, RGB; or `(h, w, C)` float32, not rounded.
    geometry : Geometry
        Where it lies on the image.
    """
    height, width = image.shape[:2]
    rows, columns = size
    resample = _FILTERS[interpolation]
    if resize_to is None:
        seen = _each_channel(image, lambda picture: picture.resize((columns, rows), resample))
        return seen, Geometry((height, width), size, (0.0, 0.0, float(width), float(height)))
    if isinstance(resize_to, int):
        # torchvision's rounding, so that the tensors are equal: the longer side is cut to an integer.
        short = min(height, width)
        new_height, new_width = (
            resize_to if side == short else int(resize_to * side / short) for side in (height, width)
        )
    elif resize_to == "letterbox":
        share = min(rows / height, columns / width)
        new_height, new_width = (max(1, round(side * share)) for side in (height, width))
    else:
        new_height, new_width = resize_to
    middle = round if round_to_even else int
    top, left = middle((new_height - rows) / 2), middle((new_width - columns) / 2)
    # As a whole: a box would be rounded, and which way is resized along first differs between versions of Pillow.
    cut = (left, top, left + columns, top + rows)
    seen = _each_channel(image, lambda picture: picture.resize((new_width, new_height), resample).crop(cut))
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
    return seen, Geometry((height, width), size, box)


def pad(seen: np.ndarray, geometry: Geometry, color: tuple[float, ...]) -> np.ndarray:
    """Give the pixels beyond the image their colour, which Pillow leaves black.

    Parameters
    ----------
    seen : ndarray
        `(h, w, C)`, as `resize_and_crop` returns it.
    geometry : Geometry
        Where it lies on the image.
    color : tuple of float
        One value, or one for each channel; red, green and blue become luma where there is one channel.
    """
    if not any(color):
        return seen
    values = np.asarray(color)
    if len(values) == 3 and seen.shape[2] == 1:
        values = values @ LUMA[:, None] / 65536
    if len(values) not in (1, seen.shape[2]):
        return seen  # the picture that people see, of a model with another number of channels
    return np.where(geometry.on_image()[..., None], seen, values.astype(seen.dtype))


def _each_channel(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Change 8-bit RGB as it is, and anything else channel by channel, as floats."""
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(change(Image.fromarray(image)))
    planes = image.astype(np.float32, copy=False).transpose(2, 0, 1)
    return np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(plane)))) for plane in planes], axis=-1)
