"""Directories of tags, as EXIF, MPO and TIFF have them: how many entries, and how large their values are."""

from __future__ import annotations

from dataclasses import dataclass

from secam_onnx.photograph.file_structure.file_reader import FileReader

__all__ = ["Directory", "check_below", "check_exif", "read_directory", "read_header"]

MAX_EXIF = 1 << 20
_MOST_ENTRIES = 1000
_MOST_NUMBERS = 300_000
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
_BYTES = (1, 2, 7)
_STRUCTURE = {
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
    284,
    317,
    *range(322, 326),
}  # decoders differ in which counts
_BELOW = (34665, 34853, 40965)  # EXIF, GPS, interoperability


@dataclass(frozen=True)
class Directory:
    """A directory's tags.

    Attributes
    ----------
    tags : dict
        By code: type, number of values, and the place of the first.
    following : int
        The place of the next directory; 0 for none.
    """

    reader: FileReader
    order: str
    tags: dict[int, tuple[int, int, int]]
    following: int

    def numbers(self, code: int, most: int = 1) -> tuple[int, ...]:
        """The whole numbers of a tag; empty without the tag."""
        if code not in self.tags:
            return ()
        kind, count, place = self.tags[code]
        self.reader.at_most(count, most, f"values of tag {code}")
        if kind not in _NUMBERS:
            self.reader.cut_off()
        return self.reader.unpack(f"{self.order}{count}{_NUMBERS[kind]}", place)

    def number(self, code: int, default: int) -> int:
        """The first whole number of a tag."""
        return next(iter(self.numbers(code, 1024)), default)


def read_header(reader: FileReader) -> tuple[str, bool, int]:
    """The order of bytes, whether offsets have 64 bits, and the place of the first directory."""
    head = reader.read(0, 8)
    order = "<" if head[:1] == b"I" else ">"
    if 43 in head[2:4]:
        return order, True, reader.unpack(f"{order}Q", 8)[0]
    return order, False, reader.unpack(f"{order}L", 4)[0]


def read_directory(reader: FileReader, place: int, order: str, big: bool) -> Directory:
    """The directory at a place.

    Raises
    ------
    ImageError
        It has too many entries, or its values are together larger than the file: several share one.
    """
    size, form, step, counts = (20, "HHQ", 12, "Q") if big else (12, "HHL", 8, "H")
    (count,) = reader.unpack(order + counts, place)
    reader.at_most(count, _MOST_ENTRIES, "tags in a directory")
    start = place + (8 if big else 2)
    tags: dict[int, tuple[int, int, int]] = {}
    total = numbers = 0
    for entry in range(start, start + count * size, size):
        if entry + size > reader.size:
            break  # some cameras cut off their last entries
        code, kind, length = reader.unpack(order + form, entry)
        bytes_ = _SIZES.get(kind, 0) * length
        where = entry + step
        if bytes_ > size - step:
            (where,) = reader.unpack(order + ("Q" if big else "L"), where)
        if where + bytes_ <= reader.size:  # decoders skip others
            total += bytes_
            numbers += length if kind in _SIZES and kind not in _BYTES else 0
        if code in tags and code in _STRUCTURE:
            reader.refuse(f"has tag {code} twice")
        tags.setdefault(code, (kind, length, where))
    if total > reader.size + 65_536:
        reader.refuse("has tags whose values are larger than the file, since several share one")
    reader.at_most(numbers, _MOST_NUMBERS, "numbers in its tags")
    end = start + count * size
    following = reader.unpack(order + ("Q" if big else "L"), end)[0] if end + (8 if big else 4) <= reader.size else 0
    return Directory(reader, order, tags, following)


def check_exif(data: bytes, name: str) -> None:
    """Refuse EXIF that Pillow would need too long for; what is merely damaged is left to Pillow, which skips it.

    Raises
    ------
    ImageError
        It is too large.
    """
    reader = FileReader.of_bytes(data.removeprefix(b"Exif\0\0"), name)
    reader.at_most(reader.size, MAX_EXIF, "bytes of EXIF")
    if reader.size < 16:
        return
    order, big, place = read_header(reader)
    if place + 8 <= reader.size:
        check_below(read_directory(reader, place, order, big), big)


def check_below(directory: Directory, big: bool, depth: int = 2) -> None:
    """The same for the directories below one: those of EXIF and GPS, and of interoperability below EXIF's."""
    for code in _BELOW if depth else ():
        kind, count, _ = directory.tags.get(code, (0, 0, 0))
        place = directory.number(code, 0) if kind in _NUMBERS and count == 1 else 0
        if 0 < place <= directory.reader.size - 8:
            check_below(read_directory(directory.reader, place, directory.order, big), big, depth - 1)
