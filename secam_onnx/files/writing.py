"""Files and folders that appear whole or not at all, whatever stops the program while it writes."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from secam_onnx.errors import OutputError

__all__ = [
    "LOCK",
    "new_file",
    "new_folder",
    "output_errors",
    "printable",
    "remove_leftovers",
    "remove_unfinished",
    "temporary_folder",
]

LOCK = ".secam-lock"
"""Name of the file by which a run holds a folder."""

_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()  # seconds between attempts to rename

_unfinished: dict[Path, Path] = {}  # what is being written, and what it will replace
_beginning = threading.Lock()  # held while a temporary file or folder is made
_ended = threading.Event()


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` in one step when the block succeeds.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or the disk is full. `path` keeps what it held before.
    """
    target = _real(path)
    temporary = _beside(target)
    try:
        with output_errors(target):
            with _begun(temporary, target):
                temporary.touch(exist_ok=False)
            yield temporary
            with temporary.open("r+b") as handle:  # Windows flushes no file that is open for reading only
                os.fsync(handle.fileno())
            _move(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _unfinished.pop(temporary, None)


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
    target = _real(path)
    temporary = _beside(target)
    old = _old(temporary)
    try:
        with output_errors(target):
            if target.exists() and not target.is_dir():
                raise OutputError(f"{target} is a file; choose another name for the folder.")
            with _begun(temporary, target):
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
        with contextlib.suppress(OSError):
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
        _unfinished.pop(temporary, None)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder for files that nobody needs after the block."""
    # A program of which one has a file open keeps Windows from removing it.
    with tempfile.TemporaryDirectory(prefix="secam-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _unfinished[folder] = folder
        try:
            yield folder
        finally:
            _unfinished.pop(folder, None)


def remove_unfinished() -> None:
    """Remove what this process is writing, and begin nothing more: it ends at once, without waiting for its threads.

    What was moved aside for a new result is put back. Threads that still write get an error.
    """
    taken = _beginning.acquire(timeout=0.5)  # the thread that is interrupted may hold it
    _ended.set()
    for temporary, target in list(_unfinished.items()):
        claimed, old = _beside(temporary), _old(temporary)
        with contextlib.suppress(OSError):
            temporary.replace(claimed)  # from here on no thread can move it into place
        with contextlib.suppress(OSError):
            if old.exists() and not target.exists():
                old.replace(target)
        for path in (claimed, old):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True) if not path.is_dir() else shutil.rmtree(path, ignore_errors=True)
    if taken:
        _beginning.release()


def remove_leftovers(folder: Path, *, deep: bool = False) -> None:
    """Remove what a killed program left half-written in a folder, or anywhere below it.

    Folders below in which another run has its lock are left alone, and so is what cannot be removed.
    """
    for top, folders, files in os.walk(folder):
        place = Path(top)
        if place != folder and LOCK in files:
            folders.clear()
            continue
        for name in filter(_is_leftover, folders):
            shutil.rmtree(place / name, ignore_errors=True)
        for name in filter(_is_leftover, files):
            with contextlib.suppress(OSError):
                (place / name).unlink()
        folders[:] = [name for name in folders if deep and not _is_leftover(name)]


def _is_leftover(name: str) -> bool:
    return name.startswith(".secam-") and name.endswith((".tmp", ".old"))


def printable(text: str) -> str:
    """A file name as data that can be encoded: bytes that are not UTF-8 are escapes. `shown` is for what people see."""
    return text.encode(errors="backslashreplace").decode()


@contextlib.contextmanager
def _begun(temporary: Path, target: Path) -> Iterator[None]:
    """Note what is being made, before it is there."""
    with _beginning:
        if _ended.is_set():
            stopped = OutputError(f"{target} was not written: the program is being stopped.")
            stopped.errno = errno.ECANCELED
            raise stopped
        _unfinished[temporary] = target
        yield


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


def _real(path: str | os.PathLike[str]) -> Path:
    """Where a path leads: a symbolic link stays, and leads to what is new."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise OutputError(f"{path!r} cannot be written: {error}; choose another name.") from error


def _beside(target: Path) -> Path:
    # Without the target's own name, which may be as long as the file system allows.
    return target.with_name(f".secam-{secrets.token_hex(6)}.tmp")


def _old(temporary: Path) -> Path:
    return temporary.with_suffix(".old")


@contextlib.contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's errors into an `OutputError` that names the target.

    Raises
    ------
    OutputError
        In place of any OSError, with its `errno`.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        todo = "choose another place"
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            todo = "free some space or choose another place"
        elif error.errno in (errno.EMFILE, errno.ENFILE):
            todo = "allow this program more open files (ulimit -n)"
        elif os.name == "nt" and isinstance(error, PermissionError):
            todo = "close the program that has it open, or choose another place"
        refused = OutputError(f"Cannot write {target}: {error.strerror or error}. Nothing was changed there; {todo}.")
        refused.errno = error.errno
        raise refused from error
