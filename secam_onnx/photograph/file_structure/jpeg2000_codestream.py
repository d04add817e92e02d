"""JPEG 2000: the header of the code stream, and how many packets and blocks its decoder makes."""

from __future__ import annotations

import math

from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["jpeg2000_structure"]

_CODESTREAM = b"\xff\x4f\xff\x51"
"""The first bytes of a code stream, and of a JP2 file."""

_MOST_BOXES, _MOST_SEGMENTS, _MOST_PARTS = 1000, 1000, 4096
_MOST_TILES, _MOST_COMPONENTS, _MOST_LAYERS = 1024, 4, 64
_MOST_PACKETS, _MOST_BLOCKS = 200_000, 250_000
_SIZ, _COD, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF90, 0xFF93, 0xFFD9
_RARE = {0xFF53: "styles of its own for a component", 0xFF5F: "changes of its order", 0xFF60: "packed headers"}
_RARE_IN_TILE = {**_RARE, 0xFF52: "styles of its own for a tile", 0xFF61: "packed headers"}


def jpeg2000_structure(reader: FileReader) -> ImageStructure:
    """The structure of a JPEG 2000 file.

    Raises
    ------
    ImageError
        It is damaged, of a rare kind, or has too many tiles, layers, packets or blocks.
    """
    place = 0 if reader.read(0, 4) == _CODESTREAM else _stream(reader)
    marker, _, _, right, bottom, left, top, across, down, x, y, count = reader.unpack(">HHHLLLLLLLLH", place + 2)
    width, height = right - left, bottom - top
    if marker != _SIZ or width <= 0 or height <= 0 or not across or not down or not count:
        reader.cut_off()
    reader.at_most(count, _MOST_COMPONENTS, "channels in a JPEG 2000")
    tiles = math.ceil((right - x) / across) * math.ceil((bottom - y) / down)
    reader.at_most(tiles, _MOST_TILES, "tiles")
    tile = min(across, width), min(down, height)
    place, segments, parts, coded = place + 2, 0, 0, False
    while place + 4 <= reader.size:
        marker, length = reader.unpack(">HH", place)
        segments += 1
        reader.at_most(segments - parts, _MOST_SEGMENTS, "segments")
        if marker == _SOT:
            parts += 1
            reader.at_most(parts, _MOST_PARTS, "parts of tiles")
            (size,) = reader.unpack(">L", place + 6)
            _check_tile(reader, place + 12)
            if size == 0:
                break  # the last one
            if size < 14:
                reader.cut_off()
            place += size
            continue
        if marker == _EOC:
            break
        if marker in _RARE:
            reader.refuse(f"is a JPEG 2000 with {_RARE[marker]}")
        if marker == _COD:
            coded = True
            _check_style(reader, place, length, tile, tiles * count)
        place += 2 + max(2, length)
    if not coded:
        reader.cut_off()
    return ImageStructure("JPEG2000", width, height)


def _stream(reader: FileReader) -> int:
    """Where the code stream of a JP2 begins."""
    place = boxes = 0
    while True:
        boxes += 1
        reader.at_most(boxes, _MOST_BOXES, "boxes")
        length, kind = reader.unpack(">L4s", place)
        start = place + 8
        if length == 1:
            (length,) = reader.unpack(">Q", start)
            start += 8
        if kind == b"jp2c":
            return start
        if kind == b"jp2h":
            reader.at_most(length, 1 << 20, "bytes in its header")
        if length < start - place:
            reader.cut_off()
        place += length


def _check_style(reader: FileReader, place: int, length: int, tile: tuple[int, int], planes: int) -> None:
    """Bound layers, levels, packets and blocks of all tiles and channels, by the header's style."""
    style, _, layers, _, levels, across, down, _, _ = reader.unpack(">BBHBBBBBB", place + 4)
    reader.at_most(layers, _MOST_LAYERS, "layers")
    reader.at_most(levels, 32, "levels")
    if across > 8 or down > 8 or length < 12:
        reader.cut_off()
    own = reader.read(place + 14, levels + 1) if style & 1 else b"\xff" * (levels + 1)
    packets = blocks = 0
    for level in range(levels + 1):
        columns, rows = (math.ceil(side / 2 ** (levels - level)) for side in tile)
        wide, high = 1 << (own[level] & 15), 1 << (own[level] >> 4)
        half = 2 if level else 1
        precincts = math.ceil(columns / wide) * math.ceil(rows / high) or 1
        packets += layers * precincts
        block = min(4 << across, max(1, wide // half)), min(4 << down, max(1, high // half))
        # A row and a column more for each precinct, which may begin anywhere.
        blocks += (math.ceil(columns / block[0]) + 1) * (math.ceil(rows / block[1]) + 1) + precincts
    reader.at_most(packets * planes, _MOST_PACKETS, "packets")
    reader.at_most(blocks * planes, _MOST_BLOCKS, "blocks of code")


def _check_tile(reader: FileReader, place: int) -> None:
    """Refuse a part of a tile that changes what the header says."""
    for _ in range(_MOST_SEGMENTS):
        marker, length = reader.unpack(">HH", place)
        if marker == _SOD:
            return
        if marker in _RARE_IN_TILE:
            reader.refuse(f"is a JPEG 2000 with {_RARE_IN_TILE[marker]}")
        place += 2 + max(2, length)
    reader.refuse(f"has more than {_MOST_SEGMENTS:,} segments in a tile")
