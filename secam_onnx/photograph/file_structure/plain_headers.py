"""BMP, PPM and NPY: a header, and the pixels. What Pillow decodes in Python, pixel by pixel, has a limit of its own."""

from __future__ import annotations

import io
import re

import numpy as np

from secam_onnx.errors import ImageError
from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS

__all__ = ["bmp_structure", "npy_structure", "ppm_structure"]

"""The first bytes of an NPY file."""

_MOST_RLE_PIXELS, _MOST_RLE_BYTES = 16_000_000, 8 << 20
_MOST_SLOW_VALUES, _MOST_PLAIN_BYTES, _MOST_COMMENTS = 8_000_000, 64 << 20, 1000
_MOST_HEADER = 10_000
_TOKEN = re.compile(rb"(?:[ \t\n\v\f\r]|#[^\r\n]*[\r\n])*([^ \t\n\v\f\r#]{1,10})[ \t\n\v\f\r]")


def bmp_structure(reader: FileReader) -> ImageStructure:
    """The structure of a BMP.

    Raises
    ------
    ImageError
        It is damaged, or large and of run lengths.
    """
    (header,) = reader.unpack("<L", 14)
    if header == 12:
        width, height = reader.unpack("<HH", 18)
        return ImageStructure("BMP", width, height)
    width, height, _, bits, compression = reader.unpack("<llHHL", 18)
    if compression in (1, 2):  # 8 and 4 bits
        reader.at_most(width * abs(height), _MOST_RLE_PIXELS, "pixels in a BMP of run lengths")
        reader.at_most(reader.size, _MOST_RLE_BYTES, "bytes in a BMP of run lengths")
    if width <= 0 or not height or bits > 64:
        reader.cut_off()
    return ImageStructure("BMP", width, abs(height))


def ppm_structure(reader: FileReader) -> ImageStructure:
    """The structure of a PBM, PGM, PPM or PFM.

    Raises
    ------
    ImageError
        It is damaged, or large and in decimal digits or of another white than 255 or 65535.
    """
    head = reader.read(0, min(_MOST_HEADER, reader.size))
    magic = head[:2]
    if magic not in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"):
        reader.refuse("is a PPM of a rare kind")
    place, numbers = 2, []
    for _ in range(2 if magic in (b"P1", b"P4") else 3):
        token = _TOKEN.match(head, place)
        if token is None:
            reader.cut_off()
        place = token.end() - 1
        numbers.append(token[1])
    try:
        width, height = int(numbers[0]), int(numbers[1])
        white = int(numbers[2]) if len(numbers) > 2 and magic != b"Pf" else 255
    except ValueError:
        reader.cut_off()
    values = width * height * (3 if magic in (b"P3", b"P6") else 1)
    if magic in (b"P1", b"P2", b"P3"):
        reader.at_most(values, _MOST_SLOW_VALUES, "values in digits")
        reader.at_most(reader.size, _MOST_PLAIN_BYTES, "bytes of digits")
        reader.at_most(reader.count(b"#", _MOST_COMMENTS), _MOST_COMMENTS, "comments")
    elif white != 255 and not (white == 65535 and magic == b"P5"):
        reader.at_most(values, _MOST_SLOW_VALUES, f"values up to {white}, rather than 255")
    return ImageStructure("PPM", width, height)


def npy_structure(reader: FileReader) -> ImageStructure:
    """The structure of an NPY file.

    Raises
    ------
    ImageError
        It is damaged, or no image of bounded size.
    """
    wide = reader.read(6, 2)[0] > 1
    start = 12 if wide else 10
    (length,) = reader.unpack("<L" if wide else "<H", 8)
    reader.at_most(length, _MOST_HEADER, "bytes of header")
    buffer = io.BytesIO(reader.read(8, start + length - 8))
    read = np.lib.format.read_array_header_2_0 if wide else np.lib.format.read_array_header_1_0
    try:
        shape, _, dtype = read(buffer)
    except Exception as error:  # a Python literal of a stranger's
        raise ImageError(f"{reader.name} cannot be decoded ({error}); get the file again.") from error
    if len(shape) not in (2, 3) or dtype.hasobject or 0 in shape or (*shape, 1)[2] > MAX_CHANNELS:
        raise ImageError(
            f"{reader.name} holds an array of shape {shape} and dtype {dtype}; an image (H, W) or (H, W, C) of "
            f"numbers, with at most {MAX_CHANNELS} channels, was expected. Store one image, channels last."
        )
    height, width, channels = (*shape, 1)[:3]
    return ImageStructure("NPY", width, height, channels, dtype.itemsize)
