"""WebP: chunks of a RIFF file, and the canvas."""

from __future__ import annotations

from secam_onnx.photograph.file_structure.exif_directories import check_exif
from secam_onnx.photograph.file_structure.file_reader import MAX_METADATA, FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["webp_structure"]

_MOST_FRAMES, _MOST_CHUNKS = 20_000, 200


def webp_structure(reader: FileReader) -> ImageStructure:
    """The structure of a WebP.

    Raises
    ------
    ImageError
        It is damaged, or has too many frames, chunks, or too much metadata.
    """
    place, frames, others, metadata = 12, 0, 0, 0
    while place + 8 <= reader.size:
        kind, length = reader.unpack("<4sL", place)
        body, place = place + 8, place + 8 + length + length % 2
        if kind == b"ANMF":
            frames += 1
            reader.at_most(frames, _MOST_FRAMES, "frames")
            continue
        others += 1
        reader.at_most(others, _MOST_CHUNKS, "chunks")
        if kind in (b"ICCP", b"EXIF", b"XMP "):
            metadata += length
            reader.at_most(metadata, MAX_METADATA, "bytes of metadata")
        if kind == b"EXIF" and place <= reader.size:
            check_exif(reader.read(body, length), reader.name)
    width, height = _size(reader)
    return ImageStructure("WEBP", width, height)


def _size(reader: FileReader) -> tuple[int, int]:
    """Width and height of the canvas, in one of three forms."""
    kind = reader.read(12, 4)
    if kind == b"VP8 ":
        if reader.read(23, 3) != b"\x9d\x01\x2a":
            reader.cut_off()
        width, height = reader.unpack("<HH", 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8X":
        data = reader.read(24, 6)
        return int.from_bytes(data[:3], "little") + 1, int.from_bytes(data[3:], "little") + 1
    if reader.read(20, 1) != b"\x2f":
        reader.cut_off()
    (bits,) = reader.unpack("<L", 21)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
