"""Reading what an image file is made of, before any decoder sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from secam_onnx.errors import ImageError
from secam_onnx.photograph.file_structure.avif_boxes import avif_structure
from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.gif_blocks import gif_structure
from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS, format_of
from secam_onnx.photograph.file_structure.image_structure import ImageStructure
from secam_onnx.photograph.file_structure.jpeg2000_codestream import jpeg2000_structure
from secam_onnx.photograph.file_structure.jpeg_segments import jpeg_structure
from secam_onnx.photograph.file_structure.plain_headers import bmp_structure, npy_structure, ppm_structure
from secam_onnx.photograph.file_structure.png_chunks import png_structure
from secam_onnx.photograph.file_structure.tiff_pages import tiff_structure
from secam_onnx.photograph.file_structure.webp_chunks import webp_structure

__all__ = ["read_structure"]

_WALKS: dict[str, Callable[[FileReader], ImageStructure]] = {
    "AVIF": avif_structure,
    "BMP": bmp_structure,
    "GIF": gif_structure,
    "JPEG": jpeg_structure,
    "JPEG2000": jpeg2000_structure,
    "NPY": npy_structure,
    "PNG": png_structure,
    "PPM": ppm_structure,
    "WEBP": webp_structure,
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
        return tiff_structure(reader, stack=stack) if format_ == "TIFF" else _WALKS[format_](reader)
    except ImageError:
        raise
    except (struct.error, ArithmeticError, IndexError, ValueError):  # numbers that make no sense
        reader.cut_off()
