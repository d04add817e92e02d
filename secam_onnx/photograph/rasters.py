"""Images in their own numbers, any number of channels and bits: files, Pillow's images and arrays.

What stands for black and for white is what the caller says, or the type (8 bits, fractions in 0..1), or the file's
tags. Of 16 bits it is assumed to be 0 and 65535, and where that leaves the upper half unused, the result says so.
"""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from secam_onnx.errors import ImageError
from secam_onnx.files import printable
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS
from secam_onnx.photograph.tiff import MAGIC, PHOTOMETRIC, WHITE_IS_ZERO, nominal_range, read_tiff, tiff_pixels

__all__ = [
    "FORMATS",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "MIN_SIDE",
    "UNDECODABLE",
    "EncodedImage",
    "Raster",
    "announced_size",
    "raster_of",
    "read_raster",
]

MAX_PIXELS = 100_000_000
"""Largest image that is decoded, in pixels (about 300 MB as RGB); of more than three channels, fewer."""

MIN_SIDE = 4
"""Shortest side, in pixels, of which superpixels can be made."""

MAX_ASPECT = 50
"""Longest side over shortest side; a thinner strip would be blown up to gigabytes by the resize step."""

# Pillow's rarer decoders are old, little used and a target; none of them holds photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Pillow's names of the formats that are read."""

UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError)
"""What Pillow's decoders raise on damaged files."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what matters is raised

_NPY = b"\x93NUMPY"
_BITS, _SAMPLE_FORMAT = 258, 339
_OWN_TYPES = {("L", 2, 8): np.int8, ("I", 2, 16): np.int16, ("I", 1, 32): np.uint32}
_SIXTEEN = 0xFFFF
_HALF = 128
_DIM = 1 / 16  # of the range; reflectances of dark scenes use as little as a tenth of theirs
_DARK = (
    "Pixels of more than 8 bits use less than half of 0..65535, the range that was assumed, so that they are dark. "
    "Give the values of black and white, as --value-range 0,4095 (value_range in Python)."
)
_SAY_RANGE = "Give the values of black and white, as --value-range LOW,HIGH (value_range in Python)."


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


@dataclass(frozen=True)
class Raster:
    """An image in its own numbers.

    Attributes
    ----------
    pixels : ndarray
        `(H, W, C)`, upright.
    black, white : float
        The values that stand for 0 and 255.
    alpha : bool
        Whether the last channel is transparency.
    doubt : str
        What speaks against the range that was assumed or given; empty where nothing does.
    """

    pixels: np.ndarray
    black: float
    white: float
    alpha: bool = False
    doubt: str = ""

    @property
    def channels(self) -> int:
        """How many there are, transparency included."""
        return int(self.pixels.shape[2])

    def picked(self, numbers: tuple[int, ...]) -> Raster:
        """Only some of the channels, counted from 1.

        Raises
        ------
        ImageError
            There are fewer.
        """
        if max(numbers) > self.channels:
            raise ImageError(f"Channel {max(numbers)} was asked for, and the image has {self.channels}.")
        return replace(self, pixels=self.pixels[..., [number - 1 for number in numbers]], alpha=False)

    def values(self) -> np.ndarray:
        """Float32, with black at 0 and white at 255; not rounded, and beyond that where the image is."""
        scale = np.float32(255 / (self.white - self.black))
        # Whole numbers beyond 2^24 would lose their last bits before the subtraction.
        wide = self.pixels.dtype.itemsize > 2 and self.pixels.dtype.kind in "iuf" and self.pixels.dtype != np.float32
        values: np.ndarray = self.pixels.astype(np.float64 if wide else np.float32)
        return np.asarray((values - self.black) * scale, dtype=np.float32)

    def bytes(self) -> np.ndarray:
        """The same as uint8, rounded and cut off at 0 and 255."""
        if self.pixels.dtype == np.uint8 and (self.black, self.white) == (0, 255):
            return self.pixels
        return np.clip(np.rint(self.values()), 0, 255).astype(np.uint8)


def read_raster(
    source: str | os.PathLike[str] | EncodedImage,
    *,
    max_pixels: int = MAX_PIXELS,
    value_range: tuple[float, float] | None = None,
    stack: bool = False,
) -> Raster:
    """Read a file, upright: Pillow's formats, NPY, and TIFF of any number of channels.

    Parameters
    ----------
    source : path or EncodedImage
        The file, or what is in it.
    max_pixels : int
        Larger images are refused before they are decoded, and those of more than three channels if they hold more
        values than an RGB image of that size.
    value_range : (float, float), optional
        The values of black and white.
    stack : bool
        Whether the pages of a TIFF of one channel each are the channels of one image; else the first page counts.

    Raises
    ------
    ImageError
        The file is missing, empty, cut off, no image, or too large, or it is not clear what black and white are.
    """
    with _file(source) as (file, name):
        head = file.read(len(_NPY))
        file.seek(0)
        try:
            if head == _NPY:
                pixels = _npy(file, name, max_pixels)
                return _raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
                with Image.open(file, formats=FORMATS) as image:
                    if stack and image.format == "TIFF" and (pages := _pages(image, name, max_pixels, value_range)):
                        return pages
                    deep = _has_deep_colours(image)
                    if not deep or (value_range is None and _upper_bits_do(image)):
                        check_size((image.height, image.width, 3), name, max_pixels)
                        found = raster_of(image, name=name, value_range=value_range)
                        return replace(found, doubt=_DARK) if deep and found.pixels.max() < _HALF else found
        except UnidentifiedImageError:
            if head[:4] not in MAGIC:
                raise ImageError(
                    f"{name} is not an image that can be read; JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF and NPY are."
                ) from None
        except Image.DecompressionBombError:
            raise ImageError(f"{name} is over the limit of {max_pixels:,} pixels; make it smaller.") from None
        except ImageError:
            raise
        except Exception as error:  # of damaged files, of any kind
            raise undecodable(name, error) from error
        pixels, alpha, known = read_tiff(file, name, lambda *size: check_size(size, name, max_pixels), stack=stack)
        return _raster(pixels, alpha, known, value_range, name, file=True)


def announced_size(image: EncodedImage) -> int:
    """How many pixels an NPY file, or a TIFF that Pillow does not read, says that it has; 0 where it does not say."""
    file = io.BytesIO(image.data)
    try:
        if image.data.startswith(_NPY):
            height, width, _ = _npy_header(file, image.name)
            return height * width
        return tiff_pixels(file, image.name) if image.data.startswith(MAGIC) else 0
    except Exception:  # what is wrong with it is said when it is read
        return 0


def raster_of(
    image: Image.Image | np.ndarray, *, name: str = "the image", value_range: tuple[float, float] | None = None
) -> Raster:
    """Take an image that is in memory; EXIF orientation of a Pillow image is applied.

    Parameters
    ----------
    image : Image or ndarray
        A Pillow image of any mode, or `(H, W)` or `(H, W, C)`: bool, whole numbers, or floating point.
    name : str
        How error messages call the image.
    value_range : (float, float), optional
        The values of black and white; needed but for bool, uint8, uint16 and fractions in [0, 1].

    Raises
    ------
    ImageError
        Wrong shape or dtype, values outside the range, NaN, too small or too thin.
    """
    if isinstance(image, Image.Image):
        return _of_pillow(image, name, value_range)
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"{name} is of type {type(image).__name__}; a path, the bytes of a file, an open file, a Pillow "
            "image or an array was expected."
        )
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] > MAX_CHANNELS:
        raise ImageError(
            f"{name} has shape {image.shape}; (H, W) or (H, W, C) was expected, without empty axes and with at most "
            f"{MAX_CHANNELS} channels. Give one image, channels last (transpose (C, H, W))."
        )
    return _raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)


def undecodable(name: str, error: Exception) -> ImageError:
    """What is said of a damaged file."""
    return ImageError(f"{name} cannot be decoded ({error}); it may be cut off. Get the file again.")


def check_size(size: tuple[int, ...], name: str, max_pixels: int) -> None:
    """Refuse images, of height, width and channels, that are too large, too small or too thin.

    Raises
    ------
    ImageError
        With the reason.
    """
    height, width, channels = size
    pixels = height * width * max(1, math.ceil(channels / 3))
    if pixels > max_pixels:
        more = f" x {channels} channels" if channels > 3 else ""
        raise ImageError(
            f"{name} has {height * width:,} pixels ({width} x {height}{more}), over the limit of {max_pixels:,}; "
            "make it smaller."
        )
    _check_sides(height, width, name)


def _check_sides(height: int, width: int, name: str) -> None:
    short, long = sorted((height, width))
    if short < MIN_SIDE or long > MAX_ASPECT * short:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE} on each side and at most {MAX_ASPECT} : 1 was "
            "expected. Give a photograph."
        )


@contextmanager
def _file(source: str | os.PathLike[str] | EncodedImage) -> Iterator[tuple[BinaryIO, str]]:
    """The opened file and its name."""
    if isinstance(source, EncodedImage):
        if not source.data:
            raise ImageError(f"{source.name} is empty; an image file was expected.")
        yield io.BytesIO(source.data), source.name
        return
    name, path = printable(str(Path(source))), Path(source)
    try:
        if path.is_dir():
            raise ImageError(f"{name} is a folder; give the path of an image file.")
        if path.stat().st_size == 0:
            raise ImageError(f"{name} is empty; an image file was expected.")
        opened = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; give the path of an image file.") from None
    except (OSError, ValueError) as error:
        raise undecodable(name, error) from error
    with opened:
        yield opened, name


def _npy(file: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    """An array of NumPy's, once its header has said that it is an image of bounded size."""
    height, width, channels = _npy_header(file, name)
    check_size((height, width, channels), name, max_pixels)
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False)).reshape(height, width, channels)


def _npy_header(file: BinaryIO, name: str) -> tuple[int, int, int]:
    """Height, width and channels."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if len(shape) not in (2, 3) or dtype.hasobject or 0 in shape or (*shape, 1)[2] > MAX_CHANNELS:
        raise ImageError(
            f"{name} holds an array of shape {shape} and dtype {dtype}; an image (H, W) or (H, W, C) of numbers, with "
            f"at most {MAX_CHANNELS} channels, was expected. Store one image, channels last."
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether this is a TIFF of colours whose lower bits Pillow would drop."""
    bits = dict(getattr(image, "tag_v2", {})).get(_BITS, ())
    return isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8


def _upper_bits_do(image: Image.Image) -> bool:
    """Whether 16-bit colours are packed as only Pillow unpacks them, to their upper 8, and no tag speaks against."""
    known = nominal_range(np.dtype(np.uint16), dict(getattr(image, "tag_v2", {})))
    return image.mode == "RGB" and image.info.get("compression") in ("tiff_lzw", "packbits") and known is None


def _pages(image: Image.Image, name: str, max_pixels: int, value_range: tuple[float, float] | None) -> Raster | None:
    """The pages of a TIFF that are as the first one, as channels; None where they are no stack of one channel each."""
    count, size, mode = getattr(image, "n_frames", 1), image.size, image.mode
    if count == 1 or len(image.getbands()) > 1 or mode == "P":
        return None
    if count > MAX_CHANNELS:
        raise ImageError(f"{name} has {count:,} pages; at most {MAX_CHANNELS} were expected.")
    check_size((image.height, image.width, count), name, max_pixels)
    planes = []
    for page in range(count):
        image.seek(page)
        if (image.size, image.mode) == (size, mode):
            planes.append(_of_pillow(image, name, value_range))
    doubt = planes[0].doubt if all(plane.doubt for plane in planes) else ""
    return replace(planes[0], pixels=np.concatenate([plane.pixels for plane in planes], axis=2), doubt=doubt)


def _of_pillow(image: Image.Image, name: str, value_range: tuple[float, float] | None) -> Raster:
    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    try:
        image.load()
    except UNDECODABLE as error:
        raise undecodable(name, error) from error
    clear = image.info.get("transparency")
    image = ImageOps.exif_transpose(image)
    own = _own_type(image.mode, tags)
    if own is not None or image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        return _deep_grey(pixels if own is None else pixels.astype(own), tags, clear, value_range, name)
    if image.mode in ("RGBa", "La"):  # colours multiplied by alpha
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA", "1") else image.convert("RGB"))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return _raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)


def _own_type(mode: str, tags: Mapping[int, Any]) -> type | None:
    """What the numbers of a TIFF of one channel are, where Pillow has no mode for them; the bits are the same."""
    kind, bits = tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_BITS, ())
    one = all(isinstance(entry, tuple) and len(entry) == 1 for entry in (kind, bits))
    return _OWN_TYPES.get((mode, kind[0], bits[0])) if one else None


def _deep_grey(
    pixels: np.ndarray, tags: Mapping[int, Any], clear: Any, value_range: tuple[float, float] | None, name: str
) -> Raster:
    """Of modes whose conversion to RGB would clip at 255 instead of scaling."""
    known = nominal_range(pixels.dtype, tags)
    found = _raster(pixels[..., None], False, known, value_range, name, file=True)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        turned = (found.black + found.white - pixels.astype(np.float64)).astype(pixels.dtype)
        found = replace(found, pixels=turned[..., None])
    if isinstance(clear, int):
        white = np.array(found.white).astype(pixels.dtype)
        found = replace(found, pixels=np.where(found.pixels == clear, white, found.pixels))
    return found


def _raster(
    pixels: np.ndarray,
    alpha: bool,
    known: tuple[float, float] | None,
    asked: tuple[float, float] | None,
    name: str,
    *,
    file: bool = False,
) -> Raster:
    """With the values of black and white: those that were asked for, those that are known, or what the type tells."""
    _check_sides(pixels.shape[0], pixels.shape[1], name)
    if pixels.dtype.kind not in "buif" or pixels.dtype.itemsize > 8:
        raise ImageError(f"{name} has dtype {pixels.dtype}; whole numbers or floating point were expected.")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ImageError(f"{name} holds NaN or infinity, which are no pixels. Replace them, by 0 for instance.")
    if asked is not None:
        return Raster(pixels, *asked, alpha, _misfit(pixels[..., :-1] if alpha else pixels, *asked))
    if pixels.dtype in (bool, np.uint8):
        return Raster(pixels, 0, 1 if pixels.dtype == bool else 255, alpha)
    if known is not None:
        return Raster(pixels, *known, alpha)
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind == "f":
        if low < 0 or high > 1:
            raise ImageError(
                f"{name} holds values from {low:g} to {high:g}; floating-point pixels must lie in [0, 1]. {_SAY_RANGE}"
            )
        return Raster(pixels, 0, 1, alpha)
    wide = pixels.dtype.itemsize > 1
    if pixels.dtype != np.uint16 and not (file and wide and low >= 0 and high <= _SIXTEEN):
        raise ImageError(
            f"{name} has dtype {pixels.dtype}; uint8, uint16, bool or floating point in [0, 1] was expected. Its "
            f"values are {low:g} to {high:g}. {_SAY_RANGE}"
        )
    return Raster(pixels, 0, _SIXTEEN, alpha, _DARK if 0 < high <= _SIXTEEN // 2 else "")


def _misfit(pixels: np.ndarray, black: float, white: float) -> str:
    """What speaks against a range that was given: almost all is black in it, or most lies outside."""
    if np.mean((pixels < black) | (pixels > white)) > 0.5:
        return (
            f"Most values lie outside {black:g}..{white:g}, the range that was given; pictures show those as black "
            f"or white. {_SAY_RANGE}"
        )
    if black < float(pixels.max()) <= black + (white - black) * _DIM:
        return (
            f"All values lie in the lowest sixteenth of {black:g}..{white:g}, the range that was given, so that pixels "
            f"are almost black. {_SAY_RANGE}"
        )
    return ""
