"""TIFF files beyond photographs: any number of channels, stacks of pages, more than 8 bits."""

from __future__ import annotations

import contextlib
import logging
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from secam_onnx.errors import ImageError
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS

if TYPE_CHECKING:
    from tifffile import TiffPage

__all__ = ["PHOTOMETRIC", "RANGE_TAGS", "WHITE_IS_ZERO", "nominal_range", "read_tiff"]

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
_BITS, _ORIENTATION = 258, 274
_MIN, _MAX, _SMIN, _SMAX = 280, 281, 340, 341
RANGE_TAGS = (_BITS, _MIN, _MAX, _SMIN, _SMAX)
"""The tags that tell the values of black and white."""

_COLOURS = {0, 1, 2}  # white is zero, black is zero, RGB; Pillow reads palettes, CMYK, YCbCr
_NONE, _DEFLATE = 1, {8, 32946}
_ALPHA = {1, 2}
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def read_tiff(
    file: BinaryIO, name: str, check_size: Callable[[int, int, int], None], *, stack: bool
) -> tuple[np.ndarray, bool, tuple[float, float] | None]:
    """Read all channels of a TIFF.

    Parameters
    ----------
    file : binary file
        It must be seekable.
    name : str
        Its name in error messages.
    check_size : callable
        Called with height, width and channels before anything is decoded; raises an error if that is too much.
    stack : bool
        Whether pages of one channel each are the channels of one image; otherwise the first page is read.

    Returns
    -------
    pixels : ndarray
        `(H, W, C)`, as stored, upright, with black as the lowest value.
    alpha : bool
        Whether the last channel is transparency.
    value_range : (float, float) or None
        The values of black and white, if the tags tell them.

    Raises
    ------
    ImageError
        The file cannot be read, is too large, or is compressed in a way that is not supported.
    """
    with _opened(file, name, stack=stack) as pages:
        first = pages[0]
        height, width = int(first.imagelength), int(first.imagewidth)  # damaged files may hold other types
        channels = int(first.samplesperpixel) * len(pages)
        if channels > MAX_CHANNELS:
            raise ImageError(f"{name} has {channels:,} channels; at most {MAX_CHANNELS} were expected.")
        check_size(height, width, channels)
        for page in pages:
            _check_segments(page, file, name)
        planes = [_channels_last(page) for page in pages]
        pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        if pixels.shape != (height, width, channels):
            raise ImageError(f"{name} unpacks to another size than it declares; it is damaged. Get the file again.")
        tags = {code: first.tags[code].value for code in (*RANGE_TAGS, _ORIENTATION) if code in first.tags}
        known = nominal_range(pixels.dtype, tags)
        if first.photometric == WHITE_IS_ZERO:
            low, high = known or _of_type(pixels, name)
            pixels = (low + high - pixels.astype(np.float64)).astype(pixels.dtype)
        turn = _UPRIGHT.get(int(tags.get(_ORIENTATION, 1)))
        alpha = bool(first.extrasamples) and int(first.extrasamples[-1]) in _ALPHA
        return np.ascontiguousarray(pixels if turn is None else turn(pixels)), alpha, known


def nominal_range(dtype: np.dtype[Any], tags: Mapping[int, Any]) -> tuple[float, float] | None:
    """The values of black and white, from a file's tags.

    `BitsPerSample`, `MaxSampleValue` or `SMaxSampleValue` say how many bits of an unsigned number are in use; of other
    types `SMinSampleValue` and `SMaxSampleValue`, or `MinSampleValue` and `MaxSampleValue`, are the range itself.
    """
    ends = [_highest(tags.get(code), max) for code in (_SMAX, _MAX)]
    high = next((end for end in ends if end is not None), None)
    bits = int(_highest(tags.get(_BITS), max) or 0)
    if dtype.kind == "u" or (dtype.kind == "i" and _highest(tags.get(_SMIN, 0), min) == 0 and high is not None):
        if high is not None and 0 < high < 2**32:
            return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
        return (0.0, float(2**bits - 1)) if bits not in (0, 8 * dtype.itemsize) else None
    starts = [_highest(tags.get(code), min) for code in (_SMIN, _MIN)]
    low = next((start for start in starts if start is not None), None)
    return (low, high) if low is not None and high is not None and low < high else None


def _highest(value: Any, choose: Any) -> float | None:
    values = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    numbers = [float(entry) for entry in values if isinstance(entry, int | float) and math.isfinite(entry)]
    return choose(numbers) if numbers else None


def _of_type(pixels: np.ndarray, name: str) -> tuple[float, float]:
    if pixels.dtype.kind == "f":
        return 0.0, 1.0
    info = np.iinfo(pixels.dtype)
    return float(info.min), float(info.max)


@contextlib.contextmanager
def _opened(file: BinaryIO, name: str, *, stack: bool) -> Iterator[list[TiffPage]]:
    """The first page, and of a stack those behind it of the same kind."""
    import tifffile  # imported here, as most images are not TIFF

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what matters is raised
    try:
        file.seek(0)
        # Vendors' kinds of TIFF, each with tables of its own, are read as the plain TIFF that they are as well.
        with tifffile.TiffFile(file, is_lsm=False, is_scanimage=False, is_ndpi=False) as opened:
            first = cast("TiffPage", opened.pages[0])
            if first.photometric not in _COLOURS or first.imagedepth != 1:
                raise ImageError(
                    f"{name} is a TIFF with {first.photometric!s} colours; grey, RGB or channels of their own were "
                    "expected. Save it as one of these."
                )
            pages: list[Any] = [first]
            if stack and first.samplesperpixel == 1:
                kind = (first.shape, first.dtype)
                pages += [page for page in opened.pages[1:] if (page.shape, page.dtype) == kind]
            yield pages
    except ImageError:
        raise
    except Exception as error:  # of damaged files, of any kind
        raise ImageError(f"{name} cannot be decoded ({error}); it may be cut off. Get the file again.") from error


def _check_segments(page: TiffPage, file: BinaryIO, name: str) -> None:
    """Refuse what would unpack to more than the image, before tifffile unpacks it."""
    if page.compression not in {_NONE, *_DEFLATE}:
        raise ImageError(
            f"{name} is a TIFF compressed by {getattr(page.compression, 'name', page.compression)}; with colours "
            "of more than 8 bits, or other than 1, 3 or 4 channels, it must be uncompressed or Deflate. Save it so, "
            "or as NPY."
        )
    if page.compression == _NONE:
        return
    rows, columns = min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth
    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
    largest = rows * columns * page.samplesperpixel * np.dtype(page.dtype).itemsize
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(start)
        unpacker = zlib.decompressobj()
        unpacker.decompress(file.read(length), largest + 1)
        if unpacker.unconsumed_tail:
            raise ImageError(f"{name} unpacks to more than its size says; it is damaged. Get the file again.")


def _channels_last(page: TiffPage) -> np.ndarray:
    pixels = page.asarray()
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels if page.planarconfig == 1 else np.moveaxis(pixels, 0, -1)
