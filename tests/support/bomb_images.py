"""Small image files that cost a decoder minutes or gigabytes, one function a kind; `BOMBS` has all of them by name."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

__all__ = [
    "BOMBS",
    "app_segments_bomb",
    "exif_bomb",
    "fill_bytes_bomb",
    "gif_comments_bomb",
    "icc_bomb",
    "jpeg_in_tiff_bomb",
    "pages_bomb",
    "plain_ppm_bomb",
    "png_chunks_bomb",
    "progressive_bomb",
    "rle_bmp_bomb",
    "scaled_ppm_bomb",
    "slow_but_allowed",
    "text_bomb",
    "tiff_of",
    "tiff_values_bomb",
    "tiled_tiff_bomb",
    "webp_chunks_bomb",
]

_EOI = b"\xff\xd9"


@functools.lru_cache(maxsize=4)
def _progressive(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def progressive_bomb(pixels_side: int = 7000, scans: int = 6000) -> bytes:
    """A black progressive JPEG whose last scan, empty, is repeated: 4.5 minutes with 6,000 of them on 49 megapixels."""
    data = _progressive(pixels_side)
    last = data[data.rindex(b"\xff\xc4") : data.rindex(_EOI)]  # its DHT and SOS
    return data[: data.rindex(_EOI)] + last * scans + _EOI


def slow_but_allowed(pixels_side: int = 7000, scans: int = 30) -> bytes:
    """A progressive JPEG that the limits of structure let pass, which takes a second or more to decode."""
    return progressive_bomb(pixels_side, scans)


def _jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def app_segments_bomb(count: int = 1_000_000) -> bytes:
    """A JPEG with that many empty APP segments before its picture."""
    data = _jpeg()
    return data[:2] + b"\xff\xe5\x00\x02" * count + data[2:]


def fill_bytes_bomb(count: int = 8_000_000) -> bytes:
    """A JPEG with that many fill bytes before a marker."""
    data = _jpeg()
    return data[:2] + b"\xff" * count + data[2:]


def exif_bomb(entries: int = 5000, size: int = 900_000) -> bytes:
    """A WebP whose EXIF has that many entries, all with the same value of that many bytes."""
    start = 8 + 2 + 12 * entries + 4
    tags = b"".join(struct.pack("<HHLL", 40_000 + n, 7, size, start) for n in range(entries))
    exif = b"II*\0" + struct.pack("<LH", 8, entries) + tags + bytes(4 + size)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "WEBP", exif=exif)
    return buffer.getvalue()


def _chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(*chunks: bytes, behind: bool = False) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 40)).save(buffer, "PNG")
    data = buffer.getvalue()
    place = len(data) - 12 if behind else 33  # before IEND, or behind IHDR
    return data[:place] + b"".join(chunks) + data[place:]


def png_chunks_bomb(count: int = 1_000_000, *, behind: bool = False) -> bytes:
    """A PNG with that many empty chunks before its pixels or behind them."""
    return _png(_chunk(b"teSt") * count, behind=behind)


def icc_bomb(megabytes: int = 100) -> bytes:
    """A PNG whose colour profile unpacks to that many megabytes."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    return _png(_chunk(b"iCCP", b"bomb\0\0" + packed))


def text_bomb(count: int = 20_000, kind: bytes = b"zTXt") -> bytes:
    """A PNG with that many packed texts of a megabyte, in chunks of this kind (zTXt, iTXt)."""
    head = b"bomb\0\0" if kind == b"zTXt" else b"bomb\0\1\0\0\0"
    return _png(_chunk(kind, head + zlib.compress(bytes((1 << 20) - 1), 9)) * count)


def tiff_of(tags: dict[int, tuple[int, list[int]]], data: bytes = b"", *, next_page: int = 0) -> bytes:
    """A TIFF of 32-bit values (type 4, or 3 for short ones), with `data` at byte 8."""
    start = 8 + len(data) + len(data) % 2
    values, entries = b"", b""
    end = start + 2 + 12 * len(tags) + 4
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = np.asarray(numbers, "<u4" if kind == 4 else "<u2").tobytes()
        if len(packed) > 4:
            place = struct.pack("<L", end + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHL", tag, kind, len(numbers)) + place
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<L", next_page)
    return b"II*\0" + struct.pack("<L", start) + data.ljust(start - 8, b"\0") + ifd + values


def tiled_tiff_bomb(width: int = 1500, height: int = 1000) -> bytes:
    """A TIFF (12 MB) of tiles of one pixel, all at one offset."""
    count = width * height
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1])}
    tiles = {322: (4, [1]), 323: (4, [1]), 324: (4, [8] * count), 325: (4, [1] * count)}
    return tiff_of({**tags, **tiles}, bytes(16))


def tiff_values_bomb(entries: int = 3000, size: int = 4_000_000) -> bytes:
    """A TIFF with that many tags of its own, all with the same value of that many bytes."""
    own = b"".join(struct.pack("<HHLL", 40_000 + n, 7, size, 8) for n in range(entries))
    head = [(256, 4, 64), (257, 4, 48), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 3072)]
    tags = b"".join(struct.pack("<HHLL", tag, kind, 1, value) for tag, kind, value in head)
    ifd = struct.pack("<H", len(head) + entries) + tags + own + bytes(4)
    return b"II*\0" + struct.pack("<L", 8 + size) + bytes(size) + ifd


def pages_bomb(pages: int = 100_000) -> bytes:
    """A TIFF with that many grey pages, each of them the same 64 x 48 pixels."""
    tags = [(256, 4, 64), (257, 4, 48), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 3072)]
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", tag, kind, 1, v) for tag, kind, v in tags)
    start, step = 8 + 3072, len(entries) + 4
    following = [start + step * (page + 1) for page in range(pages - 1)] + [0]
    directories = b"".join(entries + struct.pack("<L", page) for page in following)
    return b"II*\0" + struct.pack("<L", start) + bytes(3072) + directories


def jpeg_in_tiff_bomb(side: int = 3000, scans: int = 6000) -> bytes:
    """A TIFF whose only strip is `progressive_bomb`."""
    data = progressive_bomb(side, scans)
    tags = {256: (4, [side]), 257: (4, [side]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]), 277: (3, [3])}
    return tiff_of({**tags, 273: (4, [8]), 278: (4, [side]), 279: (4, [len(data)]), 530: (3, [2, 2])}, data)


def gif_comments_bomb(blocks: int = 4_000_000) -> bytes:
    """A GIF with that many comment blocks of one byte before its picture."""
    buffer = io.BytesIO()
    Image.new("P", (64, 48)).save(buffer, "GIF")
    data = buffer.getvalue()
    place = data.index(b",\0\0\0\0")
    return data[:place] + b"!\xfe" + b"\x01a" * blocks + b"\0" + data[place:]


def rle_bmp_bomb(side: int = 7000) -> bytes:
    """A BMP of run lengths, which Pillow unpacks in Python, a byte at a time: ends of lines and nothing else."""
    rows = b"\x01\x01\0\0" * side + b"\0\1"
    header = struct.pack("<LllHHLLllLL", 40, side, side, 1, 8, 1, len(rows), 0, 0, 2, 0)
    palette = b"\0\0\0\0\x01\x02\x03\0"
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<LHHL", offset + len(rows), 0, 0, offset) + header + palette + rows


def scaled_ppm_bomb(side: int = 3200) -> bytes:
    """A PPM whose white is 254, which Pillow scales in Python, a value at a time."""
    return b"P6 %d %d 254\n" % (side, side) + bytes(3 * side * side)


def plain_ppm_bomb(side: int = 3200) -> bytes:
    """A PPM in decimal digits."""
    return b"P3 %d %d 255\n" % (side, side) + b"0 " * (3 * side * side)


def webp_chunks_bomb(count: int = 1_000_000) -> bytes:
    """A WebP with that many empty chunks behind its header."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "WEBP", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    data = buffer.getvalue()
    body = data[12:30] + b"teSt\0\0\0\0" * count + data[30:]
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body


BOMBS: dict[str, Callable[[], bytes]] = {
    "a progressive JPEG of 6,000 scans": progressive_bomb,
    "a million empty APP segments": app_segments_bomb,
    "eight million fill bytes": fill_bytes_bomb,
    "EXIF of entries that share a value": exif_bomb,
    "a million chunks of PNG": png_chunks_bomb,
    "a million chunks of PNG behind the pixels": functools.partial(png_chunks_bomb, behind=True),
    "zTXt": text_bomb,
    "iTXt": functools.partial(text_bomb, kind=b"iTXt"),
    "tiles of one pixel at one offset": tiled_tiff_bomb,
    "TIFF tags that share a value": tiff_values_bomb,
    "a progressive JPEG in a TIFF": jpeg_in_tiff_bomb,
    "comments of a GIF": gif_comments_bomb,
    "a BMP of run lengths": rle_bmp_bomb,
    "a PPM up to 254": scaled_ppm_bomb,
    "a PPM of digits": plain_ppm_bomb,
    "a million chunks of WebP": webp_chunks_bomb,
}
"""Those that are refused by their structure, whatever they are read for. `pages_bomb` is one where pages are channels,
and Pillow itself refuses to unpack `icc_bomb`."""
