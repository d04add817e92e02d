"""AV1: how many pictures the stream of an AVIF's item holds, and how large they are."""

from __future__ import annotations

from secam_onnx.photograph.file_structure.file_reader import FileReader

__all__ = ["av1_pixels"]

_MOST_PICTURES = 4  # the layers of a progressive picture
_MOST_PARTS = 4096
_SEQUENCE, _FRAME_HEADER, _FRAME, _REDUNDANT = 1, 3, 6, 7


def av1_pixels(reader: FileReader, data: bytes) -> int:
    """The pixels of all pictures in a stream, also of those that are not shown, which are decoded, too.

    Raises
    ------
    ImageError
        It has more pictures than one and its layers.
    """
    place = pictures = parts = largest = 0
    while place < len(data):
        parts += 1
        reader.at_most(parts, _MOST_PARTS, "parts in a stream of AV1")
        head = data[place]
        kind, place = head >> 3 & 15, place + 1 + (head >> 2 & 1)
        length, place = _length(data, place) if head & 2 else (len(data) - place, place)
        if kind == _SEQUENCE:
            largest = max(largest, _frame_pixels(reader, data[place : place + length]))
        pictures += kind in (_FRAME_HEADER, _FRAME, _REDUNDANT)
        reader.at_most(pictures, _MOST_PICTURES, "pictures in a stream of AV1")
        place += length
    return largest * max(1, pictures)


def _length(data: bytes, place: int) -> tuple[int, int]:
    """A length in groups of seven bits, and the place behind it."""
    length = 0
    for group in range(8):
        byte = data[place + group] if place + group < len(data) else 0
        length |= (byte & 127) << 7 * group
        if byte < 128:
            break
    return length, place + group + 1


def _frame_pixels(reader: FileReader, header: bytes) -> int:
    """The pixels of the largest frame, by a sequence's header."""
    bits, at = int.from_bytes(header[:64].ljust(64, b"\0"), "big"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > 512:
            reader.cut_off()
        return bits >> (512 - at) & (1 << count) - 1

    take(4)
    if take(1):
        take(5)  # a still picture's short header
    else:
        if take(1):
            reader.refuse("is an AVIF with the timing of a film")
        delays = take(1)
        for _ in range(take(5) + 1):
            take(12)
            if take(5) > 7:
                take(1)
            if delays and take(1):
                take(4)
    across, down = take(4) + 1, take(4) + 1
    return (take(across) + 1) * (take(down) + 1)
