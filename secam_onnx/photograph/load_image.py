"""Loading any image in the two forms that are needed: 8-bit RGB for people, and the channels that the model gets.

Superpixels are made of the first, and pictures show it. For a model of one or three channels an 8-bit photograph is
both; a model of one channel gets the luma (`Preprocessing.normalise`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secam_onnx.errors import ImageError
from secam_onnx.files import printable
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS
from secam_onnx.photograph.image_files import EncodedImage, read_raster
from secam_onnx.photograph.images import LUMA, Photograph, in_memory, other_channels, rgb_of
from secam_onnx.photograph.memory_images import raster_of
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.raster import MAX_PIXELS, Raster

__all__ = ["LoadedImage", "load_image"]


@dataclass(frozen=True)
class LoadedImage:
    """An image for people and for a model.

    Attributes
    ----------
    shown : ndarray
        `(H, W, 3)` uint8, RGB.
    values : ndarray or None
        `(H, W, C)` float32, 0 for black and 255 for white; None if the model gets what is shown.
    source : dict
        What the image was, in JSON's types: `dtype`, `channels`, `black`, `white`, and `doubt` if there is one.
    """

    shown: np.ndarray
    values: np.ndarray | None
    source: dict[str, object]


def load_image(
    image: Photograph,
    preprocessing: Preprocessing,
    *,
    max_pixels: int = MAX_PIXELS,
    eight_bit: bool = False,
    formats: tuple[str, ...] = DEFAULT_FORMATS,
) -> LoadedImage:
    """Load an image for people and for a model.

    Parameters
    ----------
    image : path, bytes, open file, EncodedImage, Image or ndarray
        See `Explainer.explain`.
    preprocessing : Preprocessing
        Says which channels the model gets, which are shown, and what black and white are.
    max_pixels : int
        Larger images are refused before they are decoded.
    eight_bit : bool
        The model gets what is shown, whatever the image was.
    formats : tuple of str
        The formats of files that are read, of `FORMATS`.

    Raises
    ------
    ImageError
        The image cannot be read, or lacks channels that are asked for.
    """
    photographs = preprocessing.takes_rgb
    given = preprocessing.value_range
    image = in_memory(image)
    if isinstance(image, str | os.PathLike | EncodedImage):
        name = image.name if isinstance(image, EncodedImage) else printable(str(Path(image)))
        stack = preprocessing.n_channels not in (1, 3) or preprocessing.channels is not None
        raster = read_raster(image, max_pixels=max_pixels, value_range=given, stack=stack, formats=formats)
    else:
        name = "the image"
        raster = raster_of(image, name=name, value_range=given)
    source: dict[str, object] = {
        "dtype": str(raster.pixels.dtype),
        "channels": raster.channels,
        "black": raster.black,
        "white": raster.white,
        **({"doubt": raster.doubt} if raster.doubt else {}),
    }
    try:
        if not photographs:
            values = _for_model(raster, preprocessing, name)
            return LoadedImage(_shown(raster, preprocessing, name), values, source)
        shown = rgb_of(raster, name, preprocessing.n_channels)
        whole = preprocessing.n_channels == 3 or eight_bit or raster.pixels.dtype in (np.uint8, bool)
        return LoadedImage(shown, None if whole else _converted(raster, 1), source)
    except ImageError as error:
        raise ImageError(f"{name}: {error}" if name not in str(error) else str(error)) from error


def _for_model(raster: Raster, preprocessing: Preprocessing, name: str) -> np.ndarray:
    """The channels that the model gets, `(H, W, C)` float32."""
    wanted = preprocessing.n_channels
    if preprocessing.channels is not None:
        return raster.picked(preprocessing.channels).values()
    if raster.channels == wanted:
        return raster.values()
    if wanted in (1, 3) and raster.channels - raster.alpha in (1, 3):
        return _converted(raster, wanted)
    raise ImageError(other_channels(raster, wanted, name))


def _converted(raster: Raster, wanted: int) -> np.ndarray:
    """Grey as colour or colour as grey, over white, as `rgb_of` and `luma` do with 8 bits."""
    values = raster.values()
    if raster.alpha:
        alpha = values[..., -1:] / 255
        values = values[..., :-1] * alpha + 255 * (1 - alpha)
    if values.shape[2] == wanted:
        return values
    if wanted == 3:
        return np.repeat(values, 3, axis=2)
    return values @ (LUMA.astype(np.float32)[:, None] / 65536)


def _shown(raster: Raster, preprocessing: Preprocessing, name: str) -> np.ndarray:
    """Three channels as red, green and blue, or one as grey."""
    numbers = preprocessing.display_channels
    if numbers is None:
        own = preprocessing.channels or tuple(range(1, preprocessing.n_channels + 1))
        if preprocessing.channels is None and raster.channels != preprocessing.n_channels:
            return rgb_of(raster, name)  # it is converted for the model as well
        numbers = own[:3] if len(own) >= 3 else own[:1]
    pixels = raster.picked(numbers).bytes()
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")
