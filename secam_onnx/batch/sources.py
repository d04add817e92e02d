"""Images by what a user names: files, folders, patterns, lists and tar shards, found one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from secam_onnx.batch.folder_names import Places, folder_name, unique_stems
from secam_onnx.batch.listing import entries, has_magic, matches, named_below
from secam_onnx.batch.lists import is_whole, listed
from secam_onnx.batch.object_stores import RemoteImage, is_address, remote_images, without_credentials
from secam_onnx.batch.tar_shards import SHARD_ENDINGS, shard_images
from secam_onnx.errors import ImageError, OptionError
from secam_onnx.files import printable
from secam_onnx.photograph.images import ENDINGS, NPY, EncodedImage

__all__ = ["Item", "Sources"]

Wanted = Callable[[str, str], bool]
"""Called with key and folder of an image; returns whether it is to be explained."""

_Place = Callable[[str, str], str | None]
"""Called with key and folder of an image; returns the folder that it gets, or None if it is not to be explained."""


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
        return not packed and (self._list is None or is_whole(self._list))

    def count(self) -> int:
        """Count the images by going through all of them."""
        count = 0

        def tally(key: str, folder: str) -> None:
            nonlocal count
            count += 1

        for _ in self._items(tally):
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
        places = Places()

        def place(key: str, folder: str) -> str | None:
            folder = places.of(key, folder)
            return folder if wanted(key, folder) else None

        yield from self._items(place)

    def _items(self, place: _Place) -> Iterator[Item]:
        for name, folder in zip(self._names, unique_stems(self._names), strict=True):
            yield from self._named(name, folder, place)
        for name in listed(self._list) if self._list is not None else ():
            yield from self._expand(name, folder_name(name), place)

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

    def _named(self, name: str, folder: str, place: _Place) -> Iterator[Item]:
        found = False

        def asked(key: str, folder: str) -> str | None:
            nonlocal found
            found = True
            return place(key, folder)

        pattern = _is_pattern(name)
        yield from self._matches(name, asked) if pattern else self._expand(name, folder, asked)
        if found:
            return
        called = printable(name)
        if self._is_excluded(name):
            text = (
                f"The folder {called} is the folder of the results, which is not searched; choose another one with -o."
            )
        elif pattern and not any(matches(name, self._exclude)):
            text = f"{called} does not exist and, as a pattern, matches nothing; give the path of an image."
        else:
            what = f"Nothing that {called} matches is an image" if pattern else f"The folder {called} holds no image"
            text = f"{what}; JPEG, PNG, WebP, TIFF, ... and .tar shards are recognised by the endings of their names."
        yield from _failed(name, place, _NothingError(text))

    def _matches(self, pattern: str, place: _Place) -> Iterator[Item]:
        # Label maps are NPY files, too, so NPY files are images only where the pattern names them.
        endings = (*ENDINGS, *SHARD_ENDINGS, *([NPY] if pattern.lower().endswith(NPY) else []))
        around, results = None, False  # the folder of the last match, and whether it is one of the results'
        for found in matches(pattern, self._exclude):
            path = found.path
            if around != (around := os.path.dirname(path)):  # noqa: PTH120 (text in, text out)
                real = os.path.realpath(around or ".")
                results = self._exclude is not None and f"{real}{os.sep}".startswith(f"{self._exclude}{os.sep}")
            if results:
                continue
            if found.error is not None:
                yield from _failed(path, place, found.error)
            elif os.path.isdir(path) or path.lower().endswith(endings):  # noqa: PTH112 (speed)
                yield from self._expand(path, folder_name(path), place)

    def _expand(self, name: str, folder: str, place: _Place) -> Iterator[Item]:
        if is_address(name):
            yield from self._stored(name, place)
        elif os.path.isdir(name):  # noqa: PTH112 (False for what cannot be looked at: the reader says why)
            yield from self._walk(name, folder, place)
        else:
            yield from _files(name, folder, place)

    def _stored(self, address: str, place: _Place) -> Iterator[Item]:
        try:
            if not self._stores:
                todo = "Download it, and give the path of the file."
                if not address.lower().startswith(("http://", "https://")):
                    todo = "Give the path of a file; --engine ray reads addresses."
                raise ImageError(f"{without_credentials(address)} is an address; a file was expected. {todo}")
            for image in remote_images(address):
                if (folder := place(image.key, folder_name(image.key))) is not None:
                    yield Item(image.key, folder, image)
        except ImageError as error:
            yield from _failed(without_credentials(address), place, error)

    def _walk(self, top: str, folder: str, place: _Place) -> Iterator[Item]:
        excluded = named_below(self._exclude, top)
        if excluded == top:
            return
        levels = [(entries(top, _is_wanted), folder)]  # by hand: a folder may be deeper than Python's stack
        while levels:
            inside, around = levels[-1]
            found = next(inside, None)
            below = f"{around}/{folder_name(found.name)}" if found else ""
            if found is None:
                levels.pop()
            elif found.error is not None:
                yield from _failed(found.path, place, found.error)
            elif not found.folder:
                yield from _files(found.path, below, place)
            elif found.path != excluded:
                levels.append((entries(found.path, _is_wanted), below))

    def _is_excluded(self, folder: str) -> bool:
        return self._exclude is not None and os.path.realpath(folder) == self._exclude


def _is_wanted(name: str) -> bool:
    return name.lower().endswith((*ENDINGS, *SHARD_ENDINGS))


def _files(path: str, folder: str, place: _Place) -> Iterator[Item]:
    """The image in a file, or those in a shard."""
    key = printable(str(Path(path)))
    if path.lower().endswith(SHARD_ENDINGS):
        yield from _members(path, key, folder, place)
    elif (given := place(key, folder)) is not None:
        yield Item(key, given, path)


def _members(shard: str, key: str, folder: str, place: _Place) -> Iterator[Item]:
    given: str | None = None

    def asked(member: str) -> bool:
        nonlocal given
        given = place(f"{key}/{member}", f"{folder}/{folder_name(member)}")
        return given is not None

    for member, image in shard_images(shard, asked):
        if not isinstance(image, ImageError):
            yield Item(f"{key}/{member}", given or "", image)
        elif member:
            yield Item(f"{key}/{member}", given or "", error=image)
        elif (of_shard := place(key, folder)) is not None:
            yield Item(key, of_shard, error=image)


def _failed(name: str, place: _Place, error: ImageError) -> Iterator[Item]:
    if (folder := place(printable(name), folder_name(name))) is not None:
        yield Item(printable(name), folder, error=error)


def _is_pattern(name: str) -> bool:
    return has_magic(name) and not is_address(name) and not os.path.lexists(name)


def _is_several(name: str) -> bool:
    # Not Path.is_dir, which raises an error where a folder around it is closed, or the name is too long.
    return _is_pattern(name) or is_address(name) or os.path.isdir(name) or name.lower().endswith(SHARD_ENDINGS)  # noqa: PTH112
