"""What Windows refuses and Linux allows, as far as files go: the same refusals, in this process, on Linux.

It is no Windows. What is kept here are the rules of its file systems and of its C library that Python documents or that
its issues name; what a program does on the system itself, only the system can tell.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["WINDOWS_PATHS", "as_on_windows", "open_files"]

WINDOWS_PATHS = 260
"""Longest path, in characters, where long paths are not switched on."""

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])\s*(\.|$)", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\\]|[. ]$')
_MISSING = {
    os: ("fork", "sched_getaffinity", "getuid", "geteuid", "getgid", "statvfs", "mkfifo", "wait4", "killpg"),
    signal: ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "pthread_sigmask"),
    socket: ("SO_REUSEPORT", "AF_UNIX"),
}


def as_on_windows(patch: pytest.MonkeyPatch, room: Path) -> None:
    """Keep the rules for everything that happens below a folder, and take away what Windows has not.

    - `os.fsync` takes no descriptor that is open for reading only, and no folder is opened as a file;
    - what is open, or mapped into memory, is neither renamed, replaced nor removed, and no folder above it renamed;
    - a folder is never replaced by a rename, not even an empty one;
    - names of devices, names with forbidden characters and paths above 260 characters are not made;
    - text without an encoding is cp1252.
    """
    rules = _Rules(room.resolve())
    patch.setattr(os, "fsync", _fsync(os.fsync))
    for name in ("replace", "rename"):
        patch.setattr(os, name, rules.renaming(getattr(os, name)))
    for name in ("unlink", "remove", "rmdir"):
        patch.setattr(os, name, rules.removing(getattr(os, name)))
    patch.setattr(os, "mkdir", rules.making(os.mkdir))
    patch.setattr(os, "open", rules.opening(os.open))
    for module in (builtins, io):
        patch.setattr(module, "open", rules.opening_text(io.open))
    for module, names in _MISSING.items():
        for name in names:
            patch.delattr(module, name, raising=False)
    for name in ("fcntl", "resource", "pwd", "grp"):
        patch.setitem(sys.modules, name, None)


def open_files() -> Iterator[Path]:
    """What this process holds open or has mapped into memory, by whatever library."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            yield descriptor.readlink()
        except OSError:  # the one of the listing itself
            continue
    for line in Path("/proc/self/maps").read_bytes().decode(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            yield Path(fields[5])


def _fsync(real: Callable[[int], None]) -> Callable[[int], None]:
    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(number)

    return fsync


class _Rules:
    def __init__(self, room: Path) -> None:
        self._room = room

    def _ours(self, path: Any) -> bool:
        return not isinstance(path, int) and self._absolute(path).is_relative_to(self._room)

    def _absolute(self, path: Any) -> Path:
        return Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 (links are not followed)

    def _refuse_open(self, path: Any, verb: str) -> None:
        wanted = self._absolute(path)
        for found in open_files():
            if found == wanted or found.is_relative_to(wanted):
                raise PermissionError(
                    errno.EACCES,
                    f"The process cannot access the file because it is being used by another process ({verb}: {found})",
                    str(path),
                )

    def _refuse_name(self, path: Any) -> None:
        place = self._absolute(path)
        if len(str(place.relative_to(self._room))) > WINDOWS_PATHS:
            raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", str(path))
        for part in place.relative_to(self._room).parts:
            if _DEVICES.match(part) or _FORBIDDEN.search(part):
                raise OSError(errno.EINVAL, "The directory name is invalid", str(path))

    def renaming(self, real: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **options: Any) -> None:
            if self._ours(source):
                self._refuse_open(source, "rename")
                self._refuse_open(target, "replace")
                self._refuse_name(target)
                if os.path.isdir(target):  # noqa: PTH112
                    raise PermissionError(errno.EACCES, "Access is denied", str(target))
            real(source, target, **options)

        return rename

    def removing(self, real: Callable[..., None]) -> Callable[..., None]:
        def remove(path: Any, *, dir_fd: int | None = None) -> None:
            # shutil.rmtree, which Linux lets work by descriptors, hands over a name in an open folder.
            whole = path if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink() / path
            if self._ours(whole) and not os.path.isdir(whole):  # noqa: PTH112
                self._refuse_open(whole, "remove")
            real(path, dir_fd=dir_fd)

        return remove

    def making(self, real: Callable[..., None]) -> Callable[..., None]:
        def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
            if self._ours(path):
                self._refuse_name(path)
            real(path, *arguments, **options)

        return mkdir

    def opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def open_(path: Any, flags: int, *arguments: Any, dir_fd: int | None = None) -> int:
            by_shutil = dir_fd is not None or sys._getframe(1).f_globals.get("__name__") == "shutil"
            if not by_shutil and self._ours(path):
                if os.path.isdir(path):  # noqa: PTH112
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                if flags & os.O_CREAT:
                    self._refuse_name(path)
            return real(path, flags, *arguments, dir_fd=dir_fd)

        return open_

    def opening_text(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def open_(
            file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, *rest: Any, **other: Any
        ):
            if self._ours(file) and not isinstance(file, int):
                if set(mode) & set("wax"):
                    self._refuse_name(file)
                if "b" not in mode and encoding in (None, "locale"):
                    encoding = "cp1252"
            return real(file, mode, buffering, encoding, *rest, **other)

        return open_
