"""Any photograph, read safely: 8-bit RGB, upright, of bounded size."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from secam_onnx.errors import ImageError
from secam_onnx.files import printable

__all__ = [
    "ENDINGS",
    "LUMA",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "MIN_SIDE",
    "EncodedImage",
    "Photograph",
    "announced_pixels",
    "as_rgb",
    "luma",
    "read_image",
]

MAX_PIXELS = 100_000_000
"""Largest image that is decoded, in pixels (about 300 MB as RGB)."""

MIN_SIDE = 4
"""Shortest side, in pixels, of which superpixels can be made."""

MAX_ASPECT = 50
"""Longest side over shortest side; a thinner strip would be blown up to gigabytes by the resize step."""

LUMA = (19595, 38470, 7471)
"""Parts of 65536 that red, green and blue have in it."""

# Pillow's rarer decoders are old, little used and a target; none of them holds photographs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k"),
)
"""How the names of such files end, in lower case."""


@dataclass(frozen=True)
class EncodedImage:
    """An image file that lies in memory, such as a member of an archive.

    Attributes
    ----------
    name : str
        How error messages call it.
    data : bytes
        What such a file holds.
    """

    name: str
    data: bytes


Photograph = str | os.PathLike[str] | EncodedImage | Image.Image | np.ndarray
"""What counts as an image: a path, the bytes of a file, a Pillow image, or an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)`
or `(H, W, 4)`."""

_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError)  # what Pillow's decoders raise on damaged files


def read_image(source: str | os.PathLike[str] | EncodedImage, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photograph as a viewer would show it.

    EXIF orientation is applied, transparency is laid over white, of an animation the first frame is taken, and 16-bit
    channels are scaled to 8 bits.

    Parameters
    ----------
    source : path or EncodedImage
        A file in a format of Pillow's that is used for photographs, or what is in it.
    max_pixels : int
        Larger images are refused before they are decoded.

    Returns
    -------
    ndarray
        `(H, W, 3)` uint8, RGB.

    Raises
    ------
    ImageError
        The file is missing, empty, cut off, no image, or too large.
    """
    file: io.BytesIO | Path
    if isinstance(source, EncodedImage):
        name, file, size = source.name, io.BytesIO(source.data), len(source.data)
    else:
        name, file, size = printable(str(Path(source))), Path(source), None
    try:
        if isinstance(file, Path):
            if file.is_dir():
                raise ImageError(f"{name} is a folder; give the path of an image file.")
            size = file.stat().st_size
        if size == 0:
            raise ImageError(f"{name} is empty; an image file was expected.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
            with Image.open(file, formats=_FORMATS) as image:
                return _decode(image, name, max_pixels)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; give the path of an image file.") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name} is not an image that can be read; JPEG, PNG, WebP, TIFF, GIF, BMP and AVIF are."
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name} is over the limit of {max_pixels:,} pixels; make it smaller.") from None
    except _UNDECODABLE as error:
        raise _undecodable(name, error) from error


def announced_pixels(image: EncodedImage) -> int:
    """How many pixels a file says that it has, before it is decoded; 0 where it does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image.data), formats=_FORMATS) as opened:
                return opened.width * opened.height
    except (*_UNDECODABLE, Image.DecompressionBombError):
        return 0


def _decode(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ImageError(
            f"{name} has {pixels:,} pixels ({image.width} x {image.height}), over the limit of {max_pixels:,}; "
            "make it smaller."
        )
    _check_sides(image.height, image.width, name)
    return as_rgb(image, name=name)


def as_rgb(image: Image.Image | np.ndarray, *, name: str = "the image") -> np.ndarray:
    """Bring an image into the one form that all later steps take; EXIF orientation of a Pillow image is applied.

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
        Wrong shape or dtype, values outside the range, NaN, too small or too thin.
    """
    if not isinstance(image, Image.Image | np.ndarray):
        raise ImageError(f"{name} is of type {type(image).__name__}; a path, a Pillow image or an array was expected.")
    pixels = _pixels_of(image, name) if isinstance(image, Image.Image) else image
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise ImageError(
            f"{name} has shape {pixels.shape}; (H, W), (H, W, 3) or (H, W, 4) was expected, without empty axes. "
            "Give one image, channels last (transpose (C, H, W))."
        )
    _check_sides(pixels.shape[0], pixels.shape[1], name)
    pixels = _as_uint8(pixels, name)
    channels = pixels.shape[2]
    if channels in (2, 4):
        pixels = _over_white(pixels)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def luma(rgb: np.ndarray) -> np.ndarray:
    """The grey of a colour picture by ITU-R 601, as Pillow's mode L has it.

    Parameters
    ----------
    rgb : ndarray
        `(..., 3)` uint8.

    Returns
    -------
    ndarray
        `(..., 1)` uint8.
    """
    return ((rgb.astype(np.uint32) @ np.array(LUMA, dtype=np.uint32) + 0x8000) >> 16).astype(np.uint8)[..., None]


def _undecodable(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} cannot be decoded ({error}); it may be cut off. Get the file again.")


def _check_sides(height: int, width: int, name: str) -> None:
    short, long = sorted((height, width))
    if short < MIN_SIDE or long > MAX_ASPECT * short:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE} on each side and at most {MAX_ASPECT} : 1 was "
            "expected. Give a photograph."
        )


def _pixels_of(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
    except _UNDECODABLE as error:
        raise _undecodable(name, error) from error
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # convert("RGB") would clip these at 255 instead of scaling them.
        values = np.asarray(image)
        if not _fits_uint16(values):
            return values
        clear = image.info.get("transparency")
        return np.where(values == clear, 0xFFFF, values).astype(np.uint16)
    if image.mode in ("RGBa", "La"):  # colours multiplied by alpha
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA", "1") else image.convert("RGB"))


def _fits_uint16(values: np.ndarray) -> bool:
    return values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 0xFFFF


def _as_uint8(pixels: np.ndarray, name: str) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        return np.rint(pixels / 257.0).astype(np.uint8)
    if pixels.dtype.kind == "f":
        low, high = float(pixels.min()), float(pixels.max())
        if np.isfinite(low) and np.isfinite(high) and low >= 0 and high <= 1:
            return np.rint(pixels * 255.0).astype(np.uint8)
        found = "NaN or infinity" if not np.isfinite(low + high) else f"values from {low:g} to {high:g}"
        raise ImageError(f"{name} holds {found}; floating-point pixels must lie in [0, 1]. Scale it, or give uint8.")
    raise ImageError(f"{name} has dtype {pixels.dtype}; uint8, uint16, bool or floating point in [0, 1] was expected.")


def _over_white(pixels: np.ndarray) -> np.ndarray:
    colour, alpha = pixels[..., :-1].astype(np.float32), pixels[..., -1:].astype(np.float32) / 255
    return np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)
