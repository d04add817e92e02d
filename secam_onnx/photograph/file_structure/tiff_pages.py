"""TIFF and BigTIFF: pages, and the strips or tiles that they are cut into."""

from __future__ import annotations

import math

from secam_onnx.photograph.file_structure.exif_directories import Directory, check_below, read_directory, read_header
from secam_onnx.photograph.file_structure.file_reader import FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure
from secam_onnx.photograph.file_structure.jpeg_segments import JpegLimits, walk_jpeg
from secam_onnx.photograph.preprocessing_settings import MAX_CHANNELS

__all__ = ["tiff_structure"]

"""The first bytes of TIFF files."""

_MOST_SEGMENTS = 65_536
_LEAST_TILE, _MOST_PADDING = 1 << 24, 4
_JPEG = 7
_NAMES = {6: "JPEG of the old kind", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}
_COMPRESSIONS = {1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000}


def tiff_structure(reader: FileReader, *, stack: bool) -> ImageStructure:
    """The structure of a TIFF's first page, or of all where pages may be channels.

    Raises
    ------
    ImageError
        It is damaged, compressed in a rare way, or has too many tags, tiles or pages, or too large ones.
    """
    order, big, place = read_header(reader)
    first = read_directory(reader, place, order, big)
    check_below(first, big)
    jpeg = _check_page(first, JpegLimits())
    samples = max(1, first.number(277, 1))
    pages, seen, page = 1, {place}, first
    while stack and samples == 1 and page.following and page.following not in seen:
        pages += 1
        if pages > MAX_CHANNELS:
            reader.at_most(pages, MAX_CHANNELS, "pages")
        seen.add(page.following)
        page = read_directory(reader, page.following, order, big)
        check_below(page, big)
        jpeg = _check_page(page, jpeg)
    width, height = _size(first)
    itemsize = math.ceil(first.number(258, 1) / 8)
    # Pillow takes a big-endian BigTIFF for another TIFF, whose directory lies elsewhere.
    return ImageStructure("TIFF", width, height, samples * pages, itemsize, by_pillow=not (big and order == ">"))


def _size(page: Directory) -> tuple[int, int]:
    width, height = page.number(256, 0), page.number(257, 0)
    if not width or not height:
        page.reader.cut_off()
    return width, height


def _check_page(page: Directory, jpeg: JpegLimits) -> JpegLimits:
    """Refuse a page whose strips or tiles cost more than its pixels; what is left of the limits of JPEG."""
    reader = page.reader
    width, height = _size(page)
    compression = page.number(259, 1)
    if compression not in _COMPRESSIONS:
        reader.refuse(f"is a TIFF compressed by {_NAMES.get(compression, f'method {compression}')}")
    samples = max(1, page.number(277, 1))
    planes = samples if page.number(284, 1) == 2 else 1
    reader.at_most(planes, MAX_CHANNELS, "planes")
    tiled = 322 in page.tags or 324 in page.tags
    columns, rows = page.number(322, 0), page.number(323, 0)
    if not tiled:
        columns, rows = width, min(page.number(278, height), height)
    if not columns or not rows:
        reader.cut_off()
    count = math.ceil(width / columns) * math.ceil(height / rows) * planes
    offsets = page.numbers(324 if 324 in page.tags else 273, _MOST_SEGMENTS)
    lengths = page.numbers(325 if 324 in page.tags else 279, _MOST_SEGMENTS)
    reader.at_most(max(count, len(offsets), len(lengths)), _MOST_SEGMENTS, "strips or tiles")
    reader.at_most(columns * rows, max(width * height, _LEAST_TILE), "pixels in a tile of a small picture")
    padded = columns * rows * math.ceil(width / columns) * math.ceil(height / rows)
    reader.at_most(padded, _MOST_PADDING * max(width * height, _LEAST_TILE), "pixels in tiles of a small picture")
    bits = max((*page.numbers(258, 1024), 1))
    unpacked = width * height * samples * math.ceil(bits / 8)
    if sum(lengths) > max(reader.size, unpacked):
        reader.refuse("has strips or tiles that are larger than the file, since several share their bytes")
    if compression == _JPEG:
        for start, length in zip(offsets, lengths, strict=False):
            if start + length <= reader.size and length > 4 and reader.read(start, 2) == b"\xff\xd8":
                jpeg = walk_jpeg(reader, start, start + length, jpeg)[2]
    return jpeg
