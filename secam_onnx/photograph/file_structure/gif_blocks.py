"""GIF: the blocks before the first frame."""

from __future__ import annotations

from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["gif_structure"]

_MOST_BLOCKS = 20_000
_COMMENT, _APPLICATION = 0xFE, 0xFF


def gif_structure(reader: FileReader) -> ImageStructure:
    """The structure of a GIF up to its first frame, which may be larger than the canvas.

    Raises
    ------
    ImageError
        It is damaged, or has too many blocks before its first frame.
    """
    width, height, flags = reader.unpack("<HHB", 6)
    place, blocks = 13 + _colours(flags), 0
    while True:
        kind = reader.read(place, 1)
        blocks += 1
        reader.at_most(blocks, _MOST_BLOCKS, "blocks before the first frame")
        place += 1
        if kind == b",":
            left, top, across, down, _ = reader.unpack("<HHHHB", place)
            return ImageStructure("GIF", max(width, left + across), max(height, top + down))
        if kind == b";":
            reader.cut_off()
        if kind == b"!":
            label = reader.read(place, 1)[0]
            place += 1
            if label != _COMMENT:  # as Pillow has it, which goes on behind a first block that is empty
                length = reader.read(place, 1)[0]
                looped = label == _APPLICATION and reader.read(place + 1, min(length, 11)) == b"NETSCAPE2.0"
                place += 1 + length
                place += 1 + reader.read(place, 1)[0] if looped else 0
            while length := reader.read(place, 1)[0]:
                blocks += 1
                reader.at_most(blocks, _MOST_BLOCKS, "blocks before the first frame")
                place += 1 + length
            place += 1


def _colours(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0
