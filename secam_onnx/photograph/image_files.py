"""Image files as rasters: Pillow's formats, NPY, and TIFF of any number of channels, each read within limits."""

from __future__ import annotations

import io
import logging
import math
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
from secam_onnx.files import NotRegularError, open_regular, printable
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS, FORMATS
from secam_onnx.photograph.file_structure.image_structure import ImageStructure
from secam_onnx.photograph.file_structure.read_structure import read_structure
from secam_onnx.photograph.memory_images import has_deep_colours, raster_of, stacked_pages, upper_bits_do
from secam_onnx.photograph.raster import DARK, MAX_PIXELS, Raster, check_size, make_raster, undecodable
from secam_onnx.photograph.tiff import read_tiff

__all__ = ["EncodedImage", "announced_pixels", "encoded_image", "read_raster"]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # all that matters is raised

_HALF = 128  # of 256: pixels that Pillow took the upper 8 bits of
_MOST_BYTES = 1 << 30  # of a file that is read at once
_BYTES_A_PIXEL = 12  # three channels of 32 bits


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
    formats: tuple[str, ...] = DEFAULT_FORMATS,
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
    formats : tuple of str
        The formats that are read, of `FORMATS`.

    Raises
    ------
    ImageError
        The file is missing, empty, cut off, too large, or not an image, its black and white are not known, or it is
        built so that decoding it would take long or much memory, which is known before it begins.
    """
    with _file(source) as (file, name):
        structure = _structure(file, name, max_pixels, formats, stack)
        try:
            if structure.format == "NPY":
                pixels = _npy(file, name, structure)
                return make_raster(pixels, pixels.shape[2] in (2, 4), None, value_range, name)
            if not structure.by_pillow:
                raise UnidentifiedImageError
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked
                with Image.open(file, formats=(structure.format,)) as image:
                    if stack and (pages := stacked_pages(image, name, max_pixels, value_range)):
                        return pages
                    deep = has_deep_colours(image)
                    if not deep or (value_range is None and upper_bits_do(image)):
                        check_size((image.height, image.width, 3), name, max_pixels)
                        found = raster_of(image, name=name, value_range=value_range)
                        return replace(found, doubt=DARK) if deep and found.pixels.max() < _HALF else found
        except UnidentifiedImageError as error:
            if structure.format != "TIFF":
                raise ImageError(f"{name} cannot be decoded; it is damaged. Get the file again.") from error
        except Image.DecompressionBombError:
            raise ImageError(f"{name} is over the limit of {max_pixels:,} pixels; make it smaller.") from None
        except ImageError:
            raise
        except Exception as error:  # decoders of damaged files raise anything
            raise undecodable(name, error) from error
        pixels, alpha, known = read_tiff(file, name, lambda *size: check_size(size, name, max_pixels), stack=stack)
        return make_raster(pixels, alpha, known, value_range, name, file=True)


def encoded_image(path: str | os.PathLike[str]) -> EncodedImage:
    """The content of an image file, not decoded; errors as of `read_raster`."""
    with _file(path) as (file, name):
        try:
            if (size := os.fstat(file.fileno()).st_size) > _MOST_BYTES:
                raise ImageError(f"{name} has {size:,} bytes; at most {_MOST_BYTES:,} are read. Save it compressed.")
            return EncodedImage(name, file.read(_MOST_BYTES))
        except OSError as error:
            raise undecodable(name, error) from error


def announced_pixels(image: EncodedImage) -> int:
    """How many pixels an image file declares, by its structure alone; 0 if it does not say, or would not be read."""
    try:
        return read_structure(io.BytesIO(image.data), image.name, formats=FORMATS).pixels
    except ImageError:  # the reason is given when the file is read
        return 0


def _structure(file: BinaryIO, name: str, max_pixels: int, formats: tuple[str, ...], stack: bool) -> ImageStructure:
    """What the file is made of, within limits."""
    try:
        found = read_structure(file, name, formats=formats, stack=stack)
    except OSError as error:  # of the disk or the network
        raise undecodable(name, error) from error
    kept = found.format == "NPY" or stack  # all channels as they are stored
    check_size((found.height, found.width, found.channels if kept else 3), name, max_pixels)
    values = found.pixels * found.channels * found.itemsize
    if values > _BYTES_A_PIXEL * max_pixels:
        raise ImageError(
            f"{name} has {values:,} bytes of values ({found.width} x {found.height} x {found.channels} channels of "
            f"{found.itemsize} bytes), over the limit of {_BYTES_A_PIXEL * max_pixels:,}; make it smaller."
        )
    file.seek(0)
    return found


@contextmanager
def _file(source: str | os.PathLike[str] | EncodedImage) -> Iterator[tuple[BinaryIO, str]]:
    """The opened file and its name."""
    if isinstance(source, EncodedImage):
        if not source.data:
            raise ImageError(f"{source.name} is empty; an image file was expected.")
        yield io.BytesIO(source.data), source.name
        return
    name = printable(str(Path(source)))
    try:
        opened = open_regular(Path(source))
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist; give the path of an image file.") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder; give the path of an image file.") from None
    except NotRegularError:
        raise ImageError(f"{name} is a pipe, a device or a socket; give the path of an image file.") from None
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f"{name} cannot be read: {reason}. Check its path and permissions.") from error
    with opened:
        if os.fstat(opened.fileno()).st_size == 0:
            raise ImageError(f"{name} is empty; an image file was expected.")
        yield opened, name


def _npy(file: BinaryIO, name: str, structure: ImageStructure) -> np.ndarray:
    """The array of an NPY file of bounded size, if all of it is there."""
    shape = structure.height, structure.width, structure.channels
    if file.seek(0, os.SEEK_END) < math.prod(shape) * structure.itemsize:
        raise undecodable(name, EOFError("it is shorter than its header says"))
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False)).reshape(shape)
