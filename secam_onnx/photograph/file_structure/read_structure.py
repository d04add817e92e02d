"""Reading what an image file is made of, before any decoder sees it."""

from __future__ import annotations

import functools
import importlib
import struct
from collections.abc import Callable
from typing import BinaryIO

from secam_onnx.errors import ImageError
from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS, format_of
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["read_structure"]

# Each is loaded when the first file of its format comes: module and function.
_WALKS = {
    "AVIF": ("avif_boxes", "avif_structure"),
    "BMP": ("plain_headers", "bmp_structure"),
    "GIF": ("gif_blocks", "gif_structure"),
    "JPEG": ("jpeg_segments", "jpeg_structure"),
    "JPEG2000": ("jpeg2000_codestream", "jpeg2000_structure"),
    "NPY": ("plain_headers", "npy_structure"),
    "PNG": ("png_chunks", "png_structure"),
    "PPM": ("plain_headers", "ppm_structure"),
    "TIFF": ("tiff_pages", "tiff_structure"),
    "WEBP": ("webp_chunks", "webp_structure"),
}
_HEAD = 64


def read_structure(
    file: BinaryIO, name: str, *, formats: tuple[str, ...] = DEFAULT_FORMATS, stack: bool = False
) -> ImageStructure:
    """The structure of an image file, read within limits of bytes and steps and without decoding anything.

    Parameters
    ----------
    file : binary file
        It must be seekable.
    name : str
        Its name in error messages.
    formats : tuple of str
        The formats that are read.
    stack : bool
        Whether the pages of a grey TIFF are the channels of one image; otherwise the first page is what counts.

    Raises
    ------
    ImageError
        It is no image, of another format, damaged, or built so that decoding it would take long or much memory.
    """
    reader = FileReader(file, name)
    format_ = format_of(reader.read(0, min(_HEAD, reader.size)), name, formats)
    try:
        return _walk(format_)(reader, **({"stack": stack} if format_ == "TIFF" else {}))
    except ImageError:
        raise
    except (struct.error, ArithmeticError, IndexError, ValueError):  # numbers that make no sense
        reader.cut_off()


@functools.cache
def _walk(format_: str) -> Callable[..., ImageStructure]:
    module, function = _WALKS[format_]
    walk: Callable[..., ImageStructure] = getattr(importlib.import_module(f"{__package__}.{module}"), function)
    return walk
