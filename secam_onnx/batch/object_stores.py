"""Images in object stores (s3://, gs://, hdfs://), read through Arrow's file systems, as Ray Data does."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from secam_onnx.errors import ImageError
from secam_onnx.photograph.images import ENDINGS, EncodedImage

__all__ = ["RemoteImage", "is_address", "remote_images", "without_credentials"]


@dataclass(frozen=True)
class RemoteImage:
    """An image file on one of Arrow's file systems.

    Attributes
    ----------
    key : str
        The address without credentials and options.
    root : str
        An address on the same file system, with credentials and options.
    path : str
        The path on that file system.
    """

    key: str
    root: str
    path: str

    def read(self) -> EncodedImage:
        """Read the file.

        Raises
        ------
        ImageError
            The file does not exist, or the store refuses to give it.
        """
        try:
            with _file_system(self.root)[0].open_input_file(self.path) as file:
                return EncodedImage(self.key, file.read())
        except _errors() as error:
            raise _unreadable(self.key, error) from error


def is_address(name: str) -> bool:
    """Whether a name is an address, such as `s3://bucket/folder`."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def remote_images(address: str) -> Iterator[RemoteImage]:
    """Find the images at an address.

    Parameters
    ----------
    address : str
        Address of a file, or of a folder, which is searched with all folders in it; options of the file system may
        follow a `?`.

    Yields
    ------
    RemoteImage
        Sorted by path. In a folder, the files whose names end as those of images do.

    Raises
    ------
    ImageError
        Nothing is there, or the store cannot be reached.
    """
    base = without_credentials(address)
    try:
        from pyarrow import fs

        system, top = _file_system(address)
        found = system.get_file_info(top)
        if found.type == fs.FileType.Directory:
            inside = system.get_file_info(fs.FileSelector(top, recursive=True))
            paths = sorted(file.path for file in inside if file.is_file and file.path.lower().endswith(ENDINGS))
        elif found.is_file:
            paths = [top]
        else:
            raise FileNotFoundError("nothing is there")
    except _errors() as error:
        raise _unreadable(base, error) from error
    for path in paths:
        yield RemoteImage(base.rstrip("/") + path.removeprefix(top.rstrip("/")), address, path)


def without_credentials(address: str) -> str:
    """Strip credentials and options off an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _unreadable(key: str, error: Exception) -> ImageError:
    return ImageError(f"{key} cannot be read ({error}); check the address and your permissions.")


def _errors() -> tuple[type[Exception], ...]:
    import pyarrow as pa

    return OSError, ValueError, pa.ArrowException


@functools.cache
def _file_system(address: str) -> tuple[Any, str]:
    from pyarrow import fs

    return fs.FileSystem.from_uri(address)
