"""A lock on a folder, so that two runs do not write into it at once; the system frees it however a run ends."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from pathlib import Path
from typing import Self

from secam_onnx.errors import OutputError
from secam_onnx.files.writing import LOCK, output_errors

__all__ = ["FolderLock"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_LONGEST = 1000  # bytes that are read of what another run wrote into its lock
_FAR = 1 << 30  # the byte that is locked on Windows, where a locked one cannot be read


class FolderLock:
    """Holds a folder until it is released or the process ends; a lock that a killed run left is taken over.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    shared : bool
        Let others share it; an exclusive lock keeps out everybody.

    Attributes
    ----------
    held : bool
        False where the file system has no locks.

    Raises
    ------
    OutputError
        Another run holds the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._folder, self._path = folder, folder / LOCK
        with output_errors(folder):
            self._made = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor, self.held = _locked(self._path, shared)
        if self._descriptor is None:
            raise OutputError(
                f"{folder} is in use by another run{_holder(self._path)}. Wait until it has ended, or choose another "
                "folder with -o."
            )
        text = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        with contextlib.suppress(OSError):  # it says who holds the lock, no more
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, b"" if shared else text.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the folder; the lock's file is removed, and so is the folder if it was made and is empty."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        last = False
        with contextlib.suppress(OSError):  # of those who share the lock the last one removes the file
            last = not self.held or _lock(descriptor, shared=False)
        try:
            if last:
                self._path.unlink()  # while it is locked: nobody else may have it by now
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                self._path.unlink()  # Windows removes no open file
        else:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            if self._made:
                self._folder.rmdir()


def _locked(path: Path, shared: bool) -> tuple[int | None, bool]:
    """Open and lock a file; gives its descriptor, None if another holds the lock, and whether there are locks."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # with another name it may be any file
                raise OSError(errno.EEXIST, f"{LOCK} in it is no file of a run")
            try:
                if not _lock(descriptor, shared):
                    os.close(descriptor)
                    return None, True
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return descriptor, False
            if _is_still(descriptor, path):
                return descriptor, True
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it meanwhile: another one has to be made


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        text = path.read_bytes()[:_LONGEST].decode(errors="replace").strip()
    except OSError:
        return ""
    return f" ({text})" if text.isprintable() and text else ""


def _lock(descriptor: int, shared: bool) -> bool:
    """Try to lock; on a network file system that knows it, the lock holds between machines."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(descriptor, shared)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_on_windows(descriptor: int, shared: bool) -> bool:
    """Try to lock; a shared lock, which Windows does not have, is as good as none."""
    if sys.platform != "win32":
        raise OSError(errno.ENOSYS, "this system has no locks")
    import msvcrt

    if shared:
        return True
    os.lseek(descriptor, _FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True
