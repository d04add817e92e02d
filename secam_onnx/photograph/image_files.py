"""Image files as rasters: Pillow's formats, NPY, and TIFF of any number of channels, each read within limits."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from secam_onnx.errors import ImageError
from secam_onnx.files import printable
from secam_onnx.photograph.memory_images import has_deep_colours, raster_of, stacked_pages, upper_bits_do
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS
from secam_onnx.photograph.raster import DARK, MAX_PIXELS, Raster, check_size, make_raster, undecodable
from secam_onnx.photograph.tiff import MAGIC, read_tiff, tiff_pixels

__all__ = ["FORMATS", "EncodedImage", "announced_size", "read_raster"]

# Pillow's rarer decoders are old, little used and a target for attacks, and read no photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""The formats that are read, by Pillow's names."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # all that matters is raised

_NPY = b"\x93NUMPY"
_HALF = 128  # of 256: pixels that Pillow took the upper 8 bits of


@dataclass(frozen=True)
class EncodedImage:
    """An image file in memory, such as a member of an archive.

    Attributes
    ----------
    name : str
        Its name in error messages.
    data : bytes
        The file's content.
    """

    name: str
    data: bytes


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
        The file, or its content.
    max_pixels : int
        Larger images are refused before they are decoded. With more than three channels, what counts is the number of
        values, as in an RGB image of that size.
    value_range : (float, float), optional
        The values of black and white.
    stack : bool
        Whether the pages of a grey TIFF are the channels of one image; otherwise the first page is read.

    Raises
    ------
    ImageError
        The file is missing, empty, cut off, too large, or not an image, or its black and white are not known.
    """
    with _file(source) as (file, name):
        head = file.read(len(_NPY))
        file.seek(0)
        try:
            if head == _NPY:
                pixels = _npy(file, name, max_pixels)
                return make_raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
                with Image.open(file, formats=FORMATS) as image:
                    if (
                        stack
                        and image.format == "TIFF"
                        and (pages := stacked_pages(image, name, max_pixels, value_range))
                    ):
                        return pages
                    deep = has_deep_colours(image)
                    if not deep or (value_range is None and upper_bits_do(image)):
                        check_size((image.height, image.width, 3), name, max_pixels)
                        found = raster_of(image, name=name, value_range=value_range)
                        return replace(found, doubt=DARK) if deep and found.pixels.max() < _HALF else found
        except UnidentifiedImageError:
            if head[:4] not in MAGIC:
                raise ImageError(
                    f"{name} is not an image that can be read; JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF and NPY can be."
                ) from None
        except Image.DecompressionBombError:
            raise ImageError(f"{name} is over the limit of {max_pixels:,} pixels; make it smaller.") from None
        except ImageError:
            raise
        except Exception as error:  # decoders of damaged files raise anything
            raise undecodable(name, error) from error
        pixels, alpha, known = read_tiff(file, name, lambda *size: check_size(size, name, max_pixels), stack=stack)
        return make_raster(pixels, alpha, known, value_range, name, file=True)


def announced_size(image: EncodedImage) -> int:
    """How many pixels an NPY file, or a TIFF that Pillow does not read, declares; 0 if it does not say."""
    file = io.BytesIO(image.data)
    try:
        if image.data.startswith(_NPY):
            height, width, _ = _npy_header(file, image.name)
            return height * width
        return tiff_pixels(file, image.name) if image.data.startswith(MAGIC) else 0
    except Exception:  # the reason is given when the file is read
        return 0


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
    """The array of an NPY file, after its header declared an image of bounded size."""
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
