"""JPEG: segments and scans. A progressive file is decoded as often as it has scans."""

from __future__ import annotations

import re
from typing import NamedTuple

from secam_onnx.photograph.file_structure.exif_directories import check_exif
from secam_onnx.photograph.file_structure.file_reader import MAX_METADATA, FileReader
from secam_onnx.photograph.file_structure.image_structure import ImageStructure

__all__ = ["JpegLimits", "jpeg_structure", "walk_jpeg"]

_MOST_SEGMENTS, _MOST_FILL, _MOST_PHOTOSHOP = 2000, 65_536, 4 << 20
_MOST_SCANS = 200
_MOST_WORK = 5_000_000_000  # samples of all scans together, half a nanosecond each: 100 of a colour at 50 megapixels
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_BEHIND_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not those that are part of it
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {0xC0: False, 0xC1: False, 0xC2: True}
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "of arithmetic coding"),
}
_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE
# Of others Pillow takes what is inside for further segments.
_KNOWN = {*_FRAMES, *_OTHER_FRAMES, 0xC4, 0xDB, 0xDD, _SOS, *range(0xE0, 0xF0), _COM}


class JpegLimits(NamedTuple):
    """What is left of the limits for one file, which may hold several JPEG streams, as a TIFF does."""

    work: int = _MOST_WORK


class _Frame(NamedTuple):
    width: int
    height: int
    progressive: bool
    samples: dict[int, int]  # of each component, in whole blocks


def jpeg_structure(reader: FileReader) -> ImageStructure:
    """The structure of a JPEG or the first picture of an MPO.

    Raises
    ------
    ImageError
        It is damaged, of a rare kind, or has too many segments or scans.
    """
    width, height, _ = walk_jpeg(reader, 0, reader.size, JpegLimits())
    return ImageStructure("JPEG", width, height)


def walk_jpeg(reader: FileReader, place: int, end: int, limits: JpegLimits) -> tuple[int, int, JpegLimits]:
    """Width and height of a stream within a file, and what it leaves of the limits."""
    start, frame, segments, scans, work = place, None, 0, 0, 0
    metadata = photoshop = fill = 0
    exif = b""
    place += 2
    while True:
        found = reader.find(_BEHIND_SCAN if scans else _MARKER, place, end)
        if not scans:
            fill += max(found - place, 0)
            reader.at_most(fill, _MOST_FILL, "bytes between the segments of a JPEG")
        if found < 0:
            if scans:
                break  # cut off, which the decoder says
            reader.cut_off()
        marker = reader.read(found, 2)[1]
        segments += 1
        reader.at_most(segments, _MOST_SEGMENTS, "segments")
        place = found + 2
        if marker == _EOI:
            if not scans:
                reader.cut_off()  # Pillow would go on behind it
            break
        if marker in _STANDALONE:
            continue
        if marker not in _KNOWN:
            reader.refuse(f"is a JPEG with a segment of the rare kind {marker:02X}")
        (length,) = reader.unpack(">H", place)
        if length < 2:
            reader.cut_off()
        body, place = place + 2, place + length
        if marker in _OTHER_FRAMES:
            reader.refuse(f"is a {_OTHER_FRAMES[marker]} JPEG")
        if marker in _FRAMES:
            if frame is not None:
                reader.refuse("is a JPEG of several frames")
            frame = _frame(reader, body, length - 2, _FRAMES[marker])
        elif marker == _SOS:
            if frame is None:
                reader.cut_off()
            scans += 1
            reader.at_most(scans, _MOST_SCANS, "scans")
            components = reader.read(body, 1 + 2 * reader.read(body, 1)[0])[1::2]
            if not frame.progressive and scans == 1 and len(components) == len(frame.samples):
                break  # the only one
            work += sum(frame.samples.get(component, 0) for component in components)
            if work > limits.work:
                reader.refuse(
                    f"is a JPEG of {frame.width} x {frame.height} pixels with so many scans that decoding it would "
                    "take minutes"
                )
        elif 0xE0 <= marker <= 0xEF or marker == _COM:
            metadata += length
            photoshop += length if marker == 0xED else 0
            reader.at_most(metadata, MAX_METADATA, "bytes of metadata")
            reader.at_most(photoshop, _MOST_PHOTOSHOP, "bytes of Photoshop's metadata")
            exif += _exif(reader, marker, body, length - 2) if start == 0 else b""
    if frame is None:
        reader.cut_off()
    if exif:
        check_exif(exif, reader.name)
    return frame.width, frame.height, JpegLimits(limits.work - work)


def _frame(reader: FileReader, body: int, length: int, progressive: bool) -> _Frame:
    bits, height, width, count = reader.unpack(">BHHB", body)
    if bits != 8:
        reader.refuse(f"is a JPEG of {bits} bits")
    if not height or not width:
        reader.refuse("is a JPEG that does not say its size")
    if not 1 <= count <= 4 or length < 6 + 3 * count:
        reader.cut_off()
    parts = reader.read(body + 6, 3 * count)
    factors = [(parts[3 * n + 1] >> 4, parts[3 * n + 1] & 15) for n in range(count)]
    across, down = (max(factor[axis] for factor in factors) for axis in (0, 1))
    if not all(1 <= number <= 4 for factor in factors for number in factor):
        reader.cut_off()
    samples: dict[int, int] = {}
    for n, (h, v) in enumerate(factors):
        columns, rows = -(-width * h // (8 * across)), -(-height * v // (8 * down))
        samples[parts[3 * n]] = samples.get(parts[3 * n], 0) + 64 * columns * rows
    return _Frame(width, height, progressive, samples)


def _exif(reader: FileReader, marker: int, body: int, length: int) -> bytes:
    """The EXIF of a segment; an MPO's directory, which is another one, is checked at once."""
    if marker == 0xE1 and length > 6 and reader.read(body, 6) == b"Exif\0\0":
        return reader.read(body + 6, length - 6)
    if marker == 0xE2 and length > 4 and reader.read(body, 4) == b"MPF\0":
        check_exif(reader.read(body + 4, length - 4), reader.name)
    return b""
