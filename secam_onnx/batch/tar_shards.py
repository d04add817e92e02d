"""Images inside tar archives, read one after the other without unpacking.

Shards of the WebDataset kind (https://github.com/webdataset/webdataset) are such archives: beside each image `key.jpg`
lie `key.cls`, `key.json`, ..., which are skipped. An archive is a stranger's file: links, devices and huge members are
refused, and names are used as text only.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path
from typing import BinaryIO, Self

from secam_onnx.errors import ImageError
from secam_onnx.files import open_regular, printable
from secam_onnx.photograph.images import ENDINGS, EncodedImage

__all__ = ["MAX_MEMBER_BYTES", "SHARD_ENDINGS", "shard_images"]

SHARD_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Endings of the names of shards, in lower case; all but the first are compressed."""

MAX_MEMBER_BYTES = 256 << 20
"""Size of the largest image file that is read from an archive."""

_MAX_HEADER_BYTES = 1 << 20
_UNPACKED_BYTES, _UNPACKED_RATIO = 1 << 30, 100  # photographs hardly shrink, and text by a tenth or so
_HEADERS = (
    b"x",
    b"g",
    b"X",
    b"L",
    b"K",
)  # members that describe others: headers of PAX and Solaris, GNU's long names and links
_DAMAGED = (OSError, EOFError, tarfile.TarError, zlib.error, LZMAError, ValueError, RecursionError)


class _Member(tarfile.TarInfo):
    """A member whose headers are checked strictly and bounded in size.

    tarfile itself mistakes damage for the end of the archive, and reads headers of any size into memory.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if type(error).__name__ in ("InvalidHeaderError", "TruncatedHeaderError"):
                raise tarfile.ReadError(str(error)) from error
            raise

    def _proc_member(
        self, archive: tarfile.TarFile
    ) -> tarfile.TarInfo:  # tarfile's source says that it may be overridden
        if self.type in _HEADERS and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def shard_images(
    path: str, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, EncodedImage | ImageError]]:
    """Go through the images of a tar archive, compressed or not.

    Parameters
    ----------
    path : str
        The archive.
    wanted : callable
        Called with the name of each image; images for which it returns False are not read.

    Yields
    ------
    name : str
        The name in the archive, printable; empty where the archive itself cannot be read.
    image : EncodedImage or ImageError
        The image's bytes, or why they cannot be read. A damaged archive ends with an error; images before it count.
    """
    shard = printable(str(Path(path)))
    # Compressed archives are read as a stream: each seek backwards would unpack them again from the beginning.
    mode = "r:" if path.lower().endswith(SHARD_ENDINGS[0]) else "r|*"
    try:
        with _damage(shard):
            file = _opened(path, shard)
        with file, contextlib.ExitStack() as opened:
            with _damage(shard):
                packed = os.fstat(file.fileno()).st_size
                made = tarfile.open(path, mode, file, tarinfo=_Member)  # type: ignore[call-overload]  # noqa: SIM115
                archive = opened.enter_context(made)
            while (member := _next(archive, shard)) is not None:
                if mode != "r:":
                    _check_unpacked(archive, packed, shard)
                name = printable(member.name).removeprefix("./")
                if _is_image(member, name) and wanted(name):
                    yield name, _read(archive, member, shard)
    except ImageError as error:
        yield "", error


def _opened(path: str, shard: str) -> BinaryIO:
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ImageError(f"{shard} cannot be read: {error.strerror}; give the path of a .tar file.") from error


def _next(archive: tarfile.TarFile, shard: str) -> tarfile.TarInfo | None:
    with _damage(shard):
        member = archive.next()
    archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
    return member


def _check_unpacked(archive: tarfile.TarFile, packed: int, shard: str) -> None:
    """Refuse an archive of nothing before it is unpacked: members that are skipped are unpacked, too."""
    size = archive.offset  # where the member at hand ends
    if size > _UNPACKED_BYTES + _UNPACKED_RATIO * packed:
        raise ImageError(
            f"{shard} has {packed:,} bytes and unpacks to more than {size:,}; an archive of images unpacks to little "
            "more than its size. Unpack it yourself if you trust it, and give the folder."
        )


def _is_image(member: tarfile.TarInfo, name: str) -> bool:
    hidden = any(part[0] == "." for part in name.split("/") if part.strip("."))  # macOS adds ._photo.jpg
    return member.isreg() and not hidden and name.lower().endswith(ENDINGS)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, shard: str) -> EncodedImage | ImageError:
    name = printable(member.name)
    if member.issparse() or member.size > MAX_MEMBER_BYTES:
        found = "sparse" if member.issparse() else f"{member.size:,} bytes long"
        return ImageError(f"{name} in {shard} is {found}; an image of at most {MAX_MEMBER_BYTES:,} bytes was expected.")
    with _damage(shard):
        handle = archive.extractfile(member)
        assert handle is not None  # it is a regular file
        return EncodedImage(f"{shard}/{name}", handle.read())


@contextlib.contextmanager
def _damage(shard: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ImageError(f"{shard} does not exist; give the path of a .tar file.") from None
    except _DAMAGED as error:
        raise ImageError(
            f"{shard} cannot be read as a tar archive ({error}); it may be cut off. Get the file again."
        ) from error
