"""Reading files: pipes and devices are refused rather than waited for, and changes are noticed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from secam_onnx.errors import ModelError

__all__ = ["NotRegularError", "file_state", "open_regular", "read_regular", "regular_file", "sha256", "unchanged"]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegularError(OSError):
    """A path that leads to a pipe, a socket or a device."""


def regular_file(path: str | os.PathLike[str]) -> os.stat_result:
    """Find out that a path leads to a regular file, without opening it: opening a named pipe can wait for ever.

    Parameters
    ----------
    path : path
        A file or a link to one.

    Returns
    -------
    stat_result
        Of the file.

    Raises
    ------
    OSError
        There is nothing, it cannot be reached, or it is a folder (IsADirectoryError), a pipe, a socket or a device
        (NotRegularError), which `strerror` says. A name that no file can have is such an error, too.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (of any kind of path)
    except ValueError as error:  # a null character, or text that cannot be encoded
        raise OSError(errno.EINVAL, f"no file can have such a name ({error})", os.fspath(path)) from None
    _check_regular(found, path)
    return found


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading; anything else is refused, and never waited for.

    Parameters
    ----------
    path : path
        A file or a link to one.

    Returns
    -------
    BufferedReader
        The open file.

    Raises
    ------
    OSError
        As of `regular_file`, or the file may not be read.
    """
    regular_file(path)
    return open(path, "rb", opener=_without_waiting)


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a regular file whole, up to a limit.

    Parameters
    ----------
    path : path
        A file or a link to one.
    most : int
        The most bytes that it may have.

    Returns
    -------
    bytes
        All of them.

    Raises
    ------
    OSError
        As of `open_regular`.
    ValueError
        The file is larger; the message is the reason alone.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(most + 1) if size <= most else b""  # it may grow, and files of the kernel have no size
    if size > most or len(data) > most:
        raise ValueError(f"it has {max(size, len(data)):,} bytes; at most {most:,} were expected")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """The descriptor of a regular file, looked at once more, as a pipe may have taken its place."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        _check_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        error, number = (OSError, errno.EISDIR) if kind == stat.S_IFDIR else (NotRegularError, errno.EINVAL)
        raise error(number, f"it is {_KINDS.get(kind, 'no file')}, and a file was expected", os.fspath(path))


@contextlib.contextmanager
def unchanged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an error if a model file changes while the block reads it, one piece after another.

    Raises
    ------
    ModelError
        The file was written, replaced or removed. It takes the place of any error that this caused in the block.
    """
    before = file_state(path)
    try:
        yield
    finally:
        if file_state(path) != before:
            raise ModelError(f"{path} was changed while it was read; wait until it is complete, then open it again.")


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Numbers that change when a file is written or replaced; None if there is no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
