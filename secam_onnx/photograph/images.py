"""Any photograph as 8-bit RGB, upright and of bounded size, however it is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from secam_onnx.errors import ImageError
from secam_onnx.files import printable
from secam_onnx.photograph.image_files import EncodedImage, announced_pixels, read_raster
from secam_onnx.photograph.memory_images import raster_of
from secam_onnx.photograph.raster import MAX_ASPECT, MAX_PIXELS, MIN_SIDE, Raster

__all__ = [
    "ENDINGS",
    "LUMA",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "MIN_SIDE",
    "NPY",
    "EncodedImage",
    "Photograph",
    "announced_pixels",
    "as_rgb",
    "in_memory",
    "luma",
    "other_channels",
    "read_image",
    "rgb_of",
]

LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)
"""The weights of red, green and blue in grey, of 65536."""

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".heic", ".heif"),
)
"""The endings of image files' names, in lower case; some are of formats that are refused, as silence would be worse."""

NPY = ".npy"
"""The ending of arrays, which need not be images."""


Photograph = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | EncodedImage | Image.Image | np.ndarray
)
"""What counts as an image: a path, the bytes of a file, an open file, a Pillow image, or an array `(H, W)` or
`(H, W, C)`."""


def read_image(source: str | os.PathLike[str] | EncodedImage, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photograph as a viewer would show it.

    EXIF orientation is applied, transparency is laid over white, the first frame of an animation is taken, and 16-bit
    channels are scaled to 8 bits.

    Parameters
    ----------
    source : path or EncodedImage
        A file in one of Pillow's formats for photographs, or its content.
    max_pixels : int
        Larger images are refused before they are decoded.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8, RGB.

    Raises
    ------
    ImageError
        The file is missing, empty, cut off, too large, or not an image.
    """
    name = source.name if isinstance(source, EncodedImage) else printable(str(Path(source)))
    return rgb_of(read_raster(source, max_pixels=max_pixels), name)


def in_memory(image: Photograph) -> str | os.PathLike[str] | EncodedImage | Image.Image | np.ndarray:
    """The same image; bytes and open files become an `EncodedImage`. A file that can seek is read from its beginning.

    Raises
    ------
    ImageError
        The file is closed, was opened for text, or cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return EncodedImage("the image", bytes(image))
    read = getattr(image, "read", None)
    if read is None or isinstance(image, os.PathLike | EncodedImage | Image.Image | np.ndarray | str):
        return image  # type: ignore[return-value]
    found = getattr(image, "name", None)
    name = printable(found) if isinstance(found, str) else "the image"
    try:
        if image.seekable():
            image.seek(0)
        data = read()
    except (OSError, ValueError, AttributeError) as error:
        raise ImageError(f"{name} cannot be read ({error}); give an open file, or its path.") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} is open in text mode; open it in binary mode, as in open(path, 'rb').")
    return EncodedImage(name, data)


def as_rgb(image: Image.Image | np.ndarray, *, name: str = "the image") -> np.ndarray:
    """Bring an image into the form that all later steps take; a Pillow image's EXIF orientation is applied.

    Parameters
    ----------
    image : Image or ndarray
        A Pillow image of any mode, or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`: uint8, uint16, bool,
        or floating point in [0, 1].
    name : str
        How error messages call the image.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8, RGB, C-contiguous, a copy.

    Raises
    ------
    ImageError
        The shape, dtype or value range is wrong, there are NaNs, or the image is too small or too thin.
    """
    if isinstance(image, np.ndarray) and (image.ndim not in (2, 3) or (*image.shape, 1)[2] not in (1, 2, 3, 4)):
        raise ImageError(
            f"{name} has shape {image.shape}; (H, W), (H, W, 3) or (H, W, 4) was expected, without empty axes. "
            "Give one image, channels last (transpose (C, H, W))."
        )
    return rgb_of(raster_of(image, name=name), name)


def rgb_of(raster: Raster, name: str = "the image", wanted: int = 3) -> np.ndarray:
    """8-bit RGB of an image with one or three channels; transparency is laid over white.

    Parameters
    ----------
    raster : Raster
        The image.
    name : str
        How error messages call it.
    wanted : int
        How many channels the model takes, for the error message.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8, RGB, C-contiguous, a copy.

    Raises
    ------
    ImageError
        It has another number of channels.
    """
    if raster.channels - raster.alpha not in (1, 3):
        raise ImageError(other_channels(raster, wanted, name))
    pixels = raster.bytes()
    if raster.alpha:
        pixels = _over_white(pixels)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def other_channels(raster: Raster, wanted: int, name: str) -> str:
    """The error message for an image whose channels are not those that a model takes."""
    example = ",".join(map(str, range(1, min(wanted, 4) + 1))) + (",..." if wanted > 4 else "")
    has = f"{raster.channels} channel{'s' * (raster.channels > 1)}"
    shape = raster.pixels.shape
    turned = " Channels are the last axis." if shape[0] in (wanted, 1, 3) and shape[2] > 4 else ""
    return (
        f"{name} has {has}, and the model takes {wanted}. Give an image with as many, or name those that it gets, as "
        f"--channels {example} (channels in Python, counted from 1).{turned}"
    )


def luma(rgb: np.ndarray) -> np.ndarray:
    """The grey of a colour picture by ITU-R 601, as in Pillow's mode L.

    Parameters
    ----------
    rgb : ndarray
        `(..., 3)` uint8.

    Returns
    -------
    ndarray
        `(..., 1)` uint8.
    """
    return ((rgb.astype(np.uint32) @ LUMA + np.uint32(0x8000)) >> 16).astype(np.uint8)[..., None]


def _over_white(pixels: np.ndarray) -> np.ndarray:
    colour, alpha = pixels[..., :-1].astype(np.float32), pixels[..., -1:].astype(np.float32) / 255
    return np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)
