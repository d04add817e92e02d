"""Mutations of image files: of bytes anywhere, and of the parts that their format is made of."""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from random import Random

__all__ = ["mutate_image"]

_MOST_BYTES = 4 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


def mutate_image(data: bytes, other: bytes, chance: Random) -> bytes:
    """A mutant of a file: one to four changes, of parts or of bytes.

    Parameters
    ----------
    data, other : bytes
        The file, and another one to take parts of.
    chance : Random
        Decides.
    """
    parts, others = _parts(data), _parts(other)
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.5 and len(parts) > 1:
            parts = _change_parts(parts, others, chance)
        else:
            number = chance.randrange(len(parts)) if parts else 0
            parts = [*parts[:number], _change_bytes(parts[number] if parts else b"", chance), *parts[number + 1 :]]
    mutant = b"".join(parts)[:_MOST_BYTES]
    if chance.random() < 0.1:
        mutant = mutant[: chance.randint(1, max(1, len(mutant)))]
    return _mended(mutant) if chance.random() < 0.9 else mutant


def _parts(data: bytes) -> list[bytes]:
    """Segments, chunks or boxes; for others runs of some bytes, as long as a directory's entries are."""
    if data.startswith(b"\xff\xd8"):
        places = [found.start() for found in re.finditer(rb"\xff[\xc0-\xcf\xd8-\xfe]", data)]
    elif data.startswith(_PNG):
        places = _chain(data, 8, lambda place: 12 + int.from_bytes(data[place : place + 4], "big"))
    elif data.startswith(b"RIFF"):
        places = _chain(data, 12, lambda place: 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1 & ~1))
    elif data[4:8] == b"ftyp":
        places = [found.start() - 4 for found in re.finditer(rb"[a-z]{3}[a-z0-9 ]", data[: 4 << 10])]
        places = [place for place in places if int.from_bytes(data[place : place + 4], "big") <= len(data)]
    elif data.startswith((b"II", b"MM")):
        order = "little" if data.startswith(b"II") else "big"
        start = int.from_bytes(data[4:8], order)
        places = [start, *range(start + 2, min(start + 2 + 12 * 20, len(data)), 12)] if start < len(data) else []
    else:
        places = list(range(0, min(len(data), 1024), 8))
    edges = sorted({0, *places, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def _chain(data: bytes, place: int, step: object) -> list[int]:
    places = []
    while place < len(data) and len(places) < 2000:
        places.append(place)
        place += step(place)  # type: ignore[operator]
    return places


def _change_parts(parts: list[bytes], others: list[bytes], chance: Random) -> list[bytes]:
    first, second = chance.randrange(len(parts)), chance.randrange(len(parts))
    part = parts[first]
    kind = chance.randrange(6)
    if kind == 0:
        return parts[:first] + parts[first + 1 :]
    if kind == 1:
        return [*parts[: second + 1], part, *parts[second + 1 :]]
    if kind == 2:
        again = [part] * min(chance.choice([3, 30, 300, 3000, 30_000]), _MOST_BYTES // max(1, len(part)))
        return [*parts[:first], *again, *parts[first + 1 :]]
    if kind == 3:
        run = parts[min(first, second) : max(first, second) + 1]
        again = run * min(chance.choice([2, 20, 200, 2000]), _MOST_BYTES // max(1, sum(map(len, run))))
        return [*parts[: min(first, second)], *again, *parts[max(first, second) + 1 :]]
    if kind == 4:
        swapped = list(parts)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        return swapped
    return [*parts[: first + 1], chance.choice(others) if others else b"", *parts[first + 1 :]]


def _change_bytes(data: bytes, chance: Random) -> bytes:
    place = chance.randrange(max(1, min(len(data), chance.choice([16, 64, len(data) or 1]))))
    kind = chance.randrange(6)
    if kind == 0:
        return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
    if kind in (1, 2):
        size, order = chance.choice([1, 2, 4, 8]), chance.choice(["little", "big"])
        value = (chance.choice(_EXTREMES) if kind == 1 else chance.randrange(1 << 20)) % (1 << 8 * size)
        return data[:place] + value.to_bytes(size, order) + data[place + size :]  # type: ignore[arg-type]
    end = min(len(data), place + chance.choice([1, 4, 16, 256, 4096]))
    if kind == 3:
        return data[:place] + data[end:]
    if kind == 4:
        again = min(chance.choice([2, 10, 1000, 100_000]), _MOST_BYTES // max(1, end - place))
        return data[:place] + data[place:end] * again + data[end:]
    return data[:place] + bytes([chance.choice([0, 0xFF, 0x20, 0x23])]) * (end - place) + data[end:]


def _mended(data: bytes) -> bytes:
    """The same with right checksums and lengths, so that decoders go on."""
    if data.startswith(b"RIFF") and len(data) > 12:
        return data[:4] + struct.pack("<L", len(data) - 8 & 0xFFFFFFFF) + data[8:]
    if not data.startswith(_PNG):
        return data
    mended, place = [_PNG], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + length]
        if len(body) < 4 + length:
            break
        mended.append(data[place : place + 4] + body + struct.pack(">L", zlib.crc32(body)))
        place += 12 + length
    return b"".join(mended) + data[place:]
