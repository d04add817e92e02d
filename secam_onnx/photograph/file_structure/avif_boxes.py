"""AVIF: boxes, items and where they lie, and how many pictures each item's AV1 stream holds."""

from __future__ import annotations

from collections.abc import Iterator

from secam_onnx.photograph.file_structure.av1_stream import av1_pixels
from secam_onnx.photograph.file_structure.exif_directories import check_exif
from secam_onnx.photograph.file_structure.file_reader import MAX_METADATA, FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["avif_structure"]

_MOST_BOXES, _MOST_ITEMS, _MOST_EXTENTS = 4096, 1024, 4096
_MOST_COVER, _LEAST_COVER = 4, 4 << 20  # tiles, their opacity, and smaller pictures beside
_ONCE = (b"meta", b"iinf", b"iloc", b"iprp", b"ipco", b"pitm")  # decoders differ in which counts
_BELOW = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # boxes of boxes: bytes before the first


class _Walk:
    """Boxes of a file, counted."""

    def __init__(self, reader: FileReader) -> None:
        self.reader, self._boxes = reader, 0

    def boxes(self, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Kind, start and end of each box's content, those of the boxes inside `_BELOW` too."""
        while place + 8 <= end:
            self._boxes += 1
            self.reader.at_most(self._boxes, _MOST_BOXES, "boxes")
            length, kind = self.reader.unpack(">L4s", place)
            start = place + 8
            if length == 1:
                (length,) = self.reader.unpack(">Q", start)
                start += 8
            until = end if length == 0 else place + length
            if not start <= until <= end:
                self.reader.cut_off()
            yield kind, start, until
            if kind in _BELOW:
                yield from self.boxes(start + _BELOW[kind], until)
            place = until


def avif_structure(reader: FileReader) -> ImageStructure:
    """The structure of an AVIF of one picture.

    Raises
    ------
    ImageError
        It is damaged, animated, or has too many boxes, items or pictures.
    """
    sizes, kinds, extents = [(0, 0)], dict[int, bytes](), dict[int, list[tuple[int, int]]]()
    seen: set[bytes] = set()
    for kind, start, end in _Walk(reader).boxes(0, reader.size):
        if kind == b"moov":
            reader.refuse("is an animated AVIF")
        if kind in _ONCE and kind in seen:
            reader.refuse(f"has two {kind.decode()} boxes")
        seen.add(kind)
        if kind == b"ispe":
            sizes.append(reader.unpack(">LL", start + 4))
        elif kind == b"iinf":
            kinds.update(_kinds(reader, start, end))
        elif kind == b"iloc":
            extents.update(_extents(reader, start))
        elif kind in (b"ftyp", b"iref", b"ipma", b"colr"):
            reader.at_most(end - start, MAX_METADATA, f"bytes in its {kind.decode()} box")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if not width or not height:
        reader.cut_off()
    total = pixels = 0
    for item, places in extents.items():
        length = sum(length for _, length in places)
        total += length
        if total > reader.size + 65_536:
            reader.refuse("has items that are larger than the file, since several share their bytes")
        if kinds.get(item) not in (b"av01", b"Exif"):
            continue
        content = b"".join(reader.read(place, length) for place, length in places if place + length <= reader.size)
        if kinds[item] == b"Exif":
            check_exif(content[4:], reader.name)
        else:
            pixels += av1_pixels(reader, content)
            if pixels > _MOST_COVER * max(width * height, _LEAST_COVER):
                reader.refuse(f"has streams of {pixels:,} pixels for a picture of {width} x {height}")
    return ImageStructure("AVIF", width, height)


def _kinds(reader: FileReader, start: int, end: int) -> dict[int, bytes]:
    """The kind of each item."""
    version = reader.read(start, 1)[0]
    (count,) = reader.unpack(">L" if version else ">H", start + 4)
    reader.at_most(count, _MOST_ITEMS, "items")
    found, place = {}, start + (8 if version else 6)
    while place + 8 <= end:
        length, kind, version = reader.unpack(">L4sB", place)
        if length < 20 or kind != b"infe":
            reader.cut_off()
        wide = version >= 3
        number, _, what = reader.unpack(">LH4s" if wide else ">HH4s", place + 12)
        if number in found:
            reader.refuse("has two items of one number")
        found[number] = what
        place += length
    return found


def _extents(reader: FileReader, start: int) -> dict[int, list[tuple[int, int]]]:
    """Where each item's bytes lie: place and length."""
    version, sizes = reader.read(start, 1)[0], reader.read(start + 4, 2)
    offset, length, base = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index = sizes[1] & 15 if version else 0
    place = start + 6

    def number(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(reader.read(place - size, size), "big") if size else 0

    found: dict[int, list[tuple[int, int]]] = {}
    count, parts = number(4 if version == 2 else 2), 0
    reader.at_most(count, _MOST_ITEMS, "items")
    for _ in range(count):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        beginning = number(base)
        many = number(2)
        parts += many
        reader.at_most(parts, _MOST_EXTENTS, "parts of items")
        places = [(number(index), number(offset), number(length)) for _ in range(many)]
        if item in found:
            reader.refuse("has two items of one number")
        if method == 0:  # a place in the file; others hold no streams
            found[item] = [(beginning + where, size) for _, where, size in places]
        elif many:
            reader.refuse("is an AVIF whose items lie inside its metadata")
    return found
