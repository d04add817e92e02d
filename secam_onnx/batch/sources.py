"""Images by what a user names: files, folders, patterns, lists and tar shards, found one at a time."""

from __future__ import annotations

import codecs
import glob
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from secam_onnx.batch.folder_names import alike, digest, folder_name, unique_stems
from secam_onnx.batch.key_set import KeySet
from secam_onnx.batch.object_stores import RemoteImage, is_address, remote_images, without_credentials
from secam_onnx.batch.tar_shards import SHARD_ENDINGS, shard_images
from secam_onnx.errors import ImageError, OptionError
from secam_onnx.files import printable
from secam_onnx.photograph.images import ENDINGS, NPY, EncodedImage

__all__ = ["Item", "Sources"]

Entry = TypeVar("Entry")
Wanted = Callable[[str, str], bool]
"""Called with key and folder of an image; returns whether it is to be explained."""

_SORTED = 10_000  # entries of a folder that are sorted at a time, which bounds the memory


@dataclass(frozen=True)
class Item:
    """One image of many.

    Attributes
    ----------
    key : str
        Its name in results: its path, or `shard.tar/member`. Printable, and the same on every run.
    folder : str
        The folder for its results, with `/` between the parts; no other image has it, and it is safe on every system.
    image : str, EncodedImage or RemoteImage
        Its path, its encoded bytes, or its place in an object store.
    error : ImageError or None
        Why the image cannot be had.
    """

    key: str
    folder: str
    image: str | EncodedImage | RemoteImage = ""
    error: ImageError | None = None


class _NothingError(ImageError):
    """A pattern or a folder without images."""


class Sources:
    """The images that a user names, found while they are gone through.

    Parameters
    ----------
    names : sequence of str
        Files, folders (searched with all folders in them), glob patterns and tar shards.
    lists : str, optional
        A text file with one of these (but no pattern) per line, or `-` for the standard input.
    exclude : path, optional
        A folder that is not searched: the folder of the results.
    stores : bool
        Whether addresses such as `s3://bucket/folder` are allowed; they are errors otherwise.

    Raises
    ------
    OptionError
        No image was named, or a name is empty.
    """

    def __init__(
        self,
        names: Sequence[str],
        lists: str | None = None,
        exclude: str | os.PathLike[str] | None = None,
        *,
        stores: bool = False,
    ) -> None:
        if not names and lists is None:
            raise OptionError("No image was named; give files, folders, patterns or .tar shards, or a list of them.")
        if "" in names:
            raise OptionError("An image's name is empty; give the path of an image file or of a folder of them.")
        self._names, self._list, self._stores = list(names), lists, stores
        self._exclude = None if exclude is None else os.path.realpath(exclude)

    @property
    def files(self) -> int | None:
        """How many images there are, if each of them was named by itself; None if they have to be counted."""
        if self._list is not None or any(map(_is_several, self._names)):
            return None
        return len(self._names)

    @property
    def countable(self) -> bool:
        """Whether the images can be counted before they are read, and quickly."""
        packed = [name for name in self._names if name.lower().endswith(SHARD_ENDINGS[1:])]
        return self._list != "-" and not packed

    def count(self) -> int:
        """Count the images by going through all of them."""
        count = 0

        def tally(key: str, folder: str) -> bool:
            nonlocal count
            count += 1
            return False

        for _ in self.items(tally):
            pass
        return count

    def items(self, wanted: Wanted = lambda key, folder: True) -> Iterator[Item]:
        """Go through the images.

        Parameters
        ----------
        wanted : callable
            Called with key and folder of each image before it is read; images for which it returns False are left out.

        Yields
        ------
        Item
            An image; files are not read yet. A folder or shard that cannot be read gives one item with an error.
        """
        for name, folder in zip(self._names, unique_stems(self._names), strict=True):
            yield from self._named(name, folder, wanted)
        for name in _lines(self._list) if self._list is not None else ():
            yield from self._expand(name, folder_name(name), wanted)

    def nothing(self) -> list[str]:
        """Why there is no image, one reason per name; empty where there may be one. Lists are not read."""
        if self._list is not None or any(map(is_address, self._names)):
            return []
        reasons = []
        for item in self.items():
            if not isinstance(item.error, _NothingError):
                return []
            reasons.append(str(item.error))
        return reasons

    def _named(self, name: str, folder: str, wanted: Wanted) -> Iterator[Item]:
        found = False

        def asked(key: str, folder: str) -> bool:
            nonlocal found
            found = True
            return wanted(key, folder)

        pattern = _is_pattern(name)
        yield from self._matches(name, asked) if pattern else self._expand(name, folder, asked)
        if found:
            return
        called = printable(name)
        if self._exclude is not None and os.path.realpath(name) == self._exclude:
            text = (
                f"The folder {called} is the folder of the results, which is not searched; choose another one with -o."
            )
        elif pattern and not any(glob.iglob(name, recursive=True)):  # noqa: PTH207 (text in, text out)
            text = f"{called} does not exist and, as a pattern, matches nothing; give the path of an image."
        else:
            what = f"Nothing that {called} matches is an image" if pattern else f"The folder {called} holds no image"
            text = f"{what}; JPEG, PNG, WebP, TIFF, ... and .tar shards are recognised by the endings of their names."
        yield from _failed(name, wanted, _NothingError(text))

    def _matches(self, pattern: str, wanted: Wanted) -> Iterator[Item]:
        # Label maps are NPY files, too, so NPY files are images only where the pattern names them.
        endings = (*ENDINGS, *SHARD_ENDINGS, *([NPY] if pattern.lower().endswith(NPY) else []))
        for path in _in_order(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 (text in, text out)
            if os.path.isdir(path) or path.lower().endswith(endings):  # noqa: PTH112 (speed)
                yield from self._expand(path, folder_name(path), wanted)

    def _expand(self, name: str, folder: str, wanted: Wanted) -> Iterator[Item]:
        key = printable(str(Path(name)))
        if is_address(name):
            yield from self._stored(name, wanted)
        elif Path(name).is_dir():
            yield from self._walk(name, folder, wanted)
        elif name.lower().endswith(SHARD_ENDINGS):
            yield from _members(name, key, folder, wanted)
        elif wanted(key, folder):
            yield Item(key, folder, name)

    def _stored(self, address: str, wanted: Wanted) -> Iterator[Item]:
        try:
            if not self._stores:
                todo = "Download it, and give the path of the file."
                if not address.lower().startswith(("http://", "https://")):
                    todo = "Give the path of a file; --engine ray reads addresses."
                raise ImageError(f"{without_credentials(address)} is an address; a file was expected. {todo}")
            for image in remote_images(address):
                if wanted(image.key, folder_name(image.key)):
                    yield Item(image.key, folder_name(image.key), image)
        except ImageError as error:
            yield from _failed(without_credentials(address), wanted, error)

    def _walk(self, top: str, folder: str, wanted: Wanted) -> Iterator[Item]:
        if self._exclude is not None and os.path.realpath(top) == self._exclude:
            return
        try:
            for entry in _entries(top):
                below = f"{folder}/{folder_name(entry.name)}"
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(entry.path, below, wanted)
                elif entry.name.lower().endswith((*ENDINGS, *SHARD_ENDINGS)) and not entry.is_dir():
                    yield from self._expand(entry.path, below, wanted)
        except ImageError as error:
            yield from _failed(top, wanted, error)


def _entries(top: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(top) as entries:
            visible = (entry for entry in entries if not entry.name.startswith("."))
            yield from _in_order(visible, key=lambda entry: entry.name)
    except OSError as error:
        raise ImageError(
            f"The folder {printable(top)} cannot be read: {error.strerror}; change its permissions or leave it out."
        ) from error


def _members(shard: str, key: str, folder: str, wanted: Wanted) -> Iterator[Item]:
    met, place = KeySet(), ""

    def asked(member: str) -> bool:
        nonlocal place
        place = f"{folder}/{folder_name(member)}"
        if not met.add(alike(place)):
            place = f"{place}-{digest(member)}"
        return wanted(f"{key}/{member}", place)

    for member, image in shard_images(shard, asked):
        if not isinstance(image, ImageError):
            yield Item(f"{key}/{member}", place, image)
        elif member:
            yield Item(f"{key}/{member}", place, error=image)
        elif wanted(key, folder):
            yield Item(key, folder, error=image)


def _in_order(entries: Iterable[Entry], key: Callable[[Entry], str] | None = None) -> Iterator[Entry]:
    """Sort entries in portions, without a list of all of them."""
    entries = iter(entries)
    while some := list(itertools.islice(entries, _SORTED)):
        yield from sorted(some, key=key)  # type: ignore[type-var, arg-type]


def _failed(name: str, wanted: Wanted, error: ImageError) -> Iterator[Item]:
    if wanted(printable(name), folder_name(name)):
        yield Item(printable(name), folder_name(name), error=error)


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not is_address(name) and not os.path.lexists(name)


def _is_several(name: str) -> bool:
    return _is_pattern(name) or is_address(name) or Path(name).is_dir() or name.lower().endswith(SHARD_ENDINGS)


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from _names(sys.stdin.buffer, "on stdin")
        return
    try:
        with Path(name).open("rb") as handle:
            yield from _names(handle, name)
    except OSError as error:
        raise OptionError(
            f"Cannot read the list {name}: {error.strerror}. Give a text file with one image per line, or - for stdin."
        ) from error


def _names(handle: BinaryIO, where: str) -> Iterator[str]:
    for line in _as_utf8(handle):
        if b"\0" in line:
            raise OptionError(f"The list {where} is not a text file; one image, folder or shard per line was expected.")
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield name


def _as_utf8(handle: BinaryIO) -> Iterator[bytes]:
    """The lines of a list in UTF-8; PowerShell writes a byte order mark, and UTF-16 by default."""
    first = handle.readline()
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = io.TextIOWrapper(io.BytesIO(first + handle.read()), encoding="utf-16", errors="replace")
        yield from (line.encode() for line in text)
    else:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from handle
