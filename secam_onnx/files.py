"""Files and folders that appear whole or not at all, whatever stops the program; and reading without waiting."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from secam_onnx.errors import ModelError, OutputError

__all__ = [
    "file_state",
    "new_file",
    "new_folder",
    "open_regular",
    "output_errors",
    "printable",
    "regular_file",
    "remove_leftovers",
    "sha256",
    "unchanged",
]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()  # seconds between attempts to rename


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` in one step when the block succeeds.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full. `path` keeps what it held before.
    """
    target = Path(path).resolve()  # a symbolic link stays, and leads to what is new
    temporary = _beside(target)
    try:
        with output_errors(target):
            temporary.touch(exist_ok=False)
            yield temporary
            with temporary.open("r+b") as handle:  # Windows flushes no file that is open for reading only
                os.fsync(handle.fileno())
            _move(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which replaces `path` when the block succeeds.

    An existing folder at `path` is moved aside first and removed last, so a reader sees the old result, for an
    instant none, or the new one, never a mixture.

    Raises
    ------
    OutputError
        The parent cannot be created or written, or the disk is full. `path` keeps what it held before.
    """
    target = Path(path).resolve()  # a symbolic link stays, and leads to what is new
    temporary = _beside(target)
    old = temporary.with_suffix(".old")
    try:
        with output_errors(target):
            if target.exists() and not target.is_dir():
                raise OutputError(f"{target} is a file; choose another name for the folder.")
            temporary.mkdir(parents=True)
            yield temporary
            try:
                # Inside the try: a signal may come as soon as the old folder is out of the way.
                if target.exists():
                    _move(target, old)
                _move(temporary, target)
            except BaseException:
                if old.exists() and not target.exists():
                    _move(old, target)
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path, *, deep: bool = False) -> None:
    """Remove what a killed program left half-written in a folder, or anywhere below it.

    Raises
    ------
    OutputError
        It cannot be removed.
    """
    with output_errors(folder):
        found = [*(folder.rglob if deep else folder.glob)(".secam-*")]
        for entry in (entry for entry in found if entry.suffix in (".tmp", ".old")):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


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
        There is nothing, it cannot be reached, or it is a folder, a pipe, a socket or a device, which `strerror` says.
        A name that no file can have is such an error, too.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (of any kind of path)
    except ValueError as error:  # a null character, or text that cannot be encoded
        raise OSError(errno.EINVAL, f"no file can have such a name ({error})", os.fspath(path)) from None
    _check_regular(found, path)
    return found


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; anything else is refused, and never waited for.

    Parameters
    ----------
    path : path
        A file or a link to one.

    Returns
    -------
    BinaryIO
        The open file, buffered.

    Raises
    ------
    OSError
        As of `regular_file`, or the file may not be read.
    """
    regular_file(path)
    # It may be replaced by a pipe in between, so it is opened without waiting, and looked at again.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    descriptor = os.open(path, flags)
    try:
        _check_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        number = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        raise OSError(number, f"it is {_KINDS.get(kind, 'no file')}, and a file was expected", os.fspath(path))


def printable(text: str) -> str:
    """A file name as text that can be encoded; bytes that are not UTF-8 show as escapes."""
    return text.encode(errors="backslashreplace").decode()


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
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Numbers that change when a file is written or replaced; None if there is no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _move(source: Path, target: Path) -> None:
    """Rename a file or a folder; on Windows a virus scanner or an indexer may hold new ones for a moment."""
    for pause in _PAUSES:
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    source.replace(target)


def _beside(target: Path) -> Path:
    # Without the target's own name, which may be as long as the file system allows.
    return target.with_name(f".secam-{secrets.token_hex(6)}.tmp")


@contextlib.contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's errors into an `OutputError` that names the target.

    Raises
    ------
    OutputError
        In place of any OSError.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        first = ""
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            first = "free some space or "
        elif os.name == "nt" and isinstance(error, PermissionError):
            first = "close the program that has it open, or "
        raise OutputError(
            f"Cannot write {target}: {error.strerror or error}. Nothing was changed there; {first}choose another place."
        ) from error
