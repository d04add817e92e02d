"""PNG and APNG: chunks. Texts and profiles are packed, and each chunk is a step in Python for Pillow."""

from __future__ import annotations

import zlib

from secam_onnx.photograph.file_structure.exif_directories import check_exif
from secam_onnx.photograph.file_structure.file_reader import MAX_METADATA, FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["png_structure"]

_MOST_PIXEL_CHUNKS, _MOST_CHUNKS, _MOST_PACKED = 100_000, 2000, 64
_MOST_TEXT = 1 << 20
_PIXELS, _PACKED = (b"IDAT", b"fdAT"), (b"zTXt", b"iTXt", b"iCCP")
_EXIF_IN_TEXT = b"Raw profile type exif\0"  # as ImageMagick writes it


def png_structure(reader: FileReader) -> ImageStructure:
    """The structure of a PNG up to the end of its first frame.

    Raises
    ------
    ImageError
        It is damaged, or has too many chunks or too much metadata.
    """
    length, kind, width, height = reader.unpack(">L4sLL", 8)
    if kind != b"IHDR" or length != 13:
        reader.cut_off()
    place, pixel_chunks, others, packed, metadata, frames = 33, 0, 0, 0, 0, 1
    animations = 0
    while place + 8 <= reader.size:  # one that is cut off is left to the decoder
        length, kind = reader.unpack(">L4s", place)
        body, place = place + 8, place + 12 + length
        if kind == b"IEND":
            break
        if kind == b"IHDR":
            reader.refuse("is a PNG with two headers")
        if kind == b"fcTL" and pixel_chunks and frames > 1:
            break  # the second frame
        if kind in _PIXELS:
            pixel_chunks += 1
            reader.at_most(pixel_chunks, _MOST_PIXEL_CHUNKS, "chunks of pixels")
            continue
        others, packed, metadata = others + 1, packed + (kind in _PACKED), metadata + length
        reader.at_most(others, _MOST_CHUNKS, "chunks of metadata")
        reader.at_most(packed, _MOST_PACKED, "packed texts")
        reader.at_most(metadata, MAX_METADATA, "bytes of metadata")
        if kind == b"acTL" and not pixel_chunks and length >= 8 and body + 8 <= reader.size:
            (number,) = reader.unpack(">L", body)
            frames = number if not animations and number <= 1 << 31 else 1  # of two, Pillow takes neither
            animations += 1
        if kind == b"eXIf" and place <= reader.size:
            check_exif(reader.read(body, length), reader.name)
        if kind in (b"tEXt", *_PACKED) and place <= reader.size:
            _check_text(reader, kind, reader.read(body, length))
    return ImageStructure("PNG", width, height)


def _check_text(reader: FileReader, kind: bytes, body: bytes) -> None:
    """EXIF in digits, which Pillow reads, too."""
    if not body.startswith(_EXIF_IN_TEXT):
        return
    text = body[len(_EXIF_IN_TEXT) :]
    if kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1"):
        text = text[1:] if kind == b"zTXt" else text[2:].split(b"\0", 2)[-1]
        try:
            text = zlib.decompressobj().decompress(text, _MOST_TEXT)
        except zlib.error:
            return
    digits = b"".join(text.split(b"\n")[3:])
    try:
        exif = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return
    check_exif(exif, reader.name)
