"""The memory that this process may take: a limit for it, and the error in words where it is not enough."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from secam_onnx.errors import OptionError, OutOfMemoryError

__all__ = ["claim_process", "limit_growth", "limit_memory", "out_of_memory", "share_arenas"]

_MEBIBYTE = 1 << 20
_SAID = ("bad_alloc", "Failed to allocate memory", "Unable to allocate")
_SAID_UNDER_A_LIMIT = (*_SAID, "pthread_create failed", "can't start new thread")  # whose stacks count
_limit: list[int] = []  # in MB; empty if there is none
_claimed: list[bool] = []
_growing = threading.RLock()  # the limit is one for all threads
_M_ARENA_MAX, _ARENAS = -8, 2  # of glibc's malloc.h


def limit_memory(megabytes: int) -> None:
    """Limit the memory of this process, and of each that it starts.

    What is counted is private memory that can be written: heap, large arrays, stacks of threads. What is mapped from
    files and the memory of graphics cards are not.

    Parameters
    ----------
    megabytes : int
        The limit, in mebibytes.

    Raises
    ------
    OptionError
        This system has no such limit.
    """
    if sys.platform != "linux":
        raise OptionError(
            "Only Linux limits the memory of a process in this way; leave --memory-limit out, and limit a container."
        )
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # Unlike that of addresses, this limit leaves alone what a card's driver or an allocator only reserves.
    resource.setrlimit(resource.RLIMIT_DATA, (_lower(megabytes * _MEBIBYTE, hard), hard))
    _limit[:] = [megabytes]


def out_of_memory(error: BaseException) -> OutOfMemoryError | None:
    """The error in words, if one says that there was not enough memory: Python's, NumPy's or ONNX Runtime's."""
    if isinstance(error, OutOfMemoryError):
        return error
    said = _SAID_UNDER_A_LIMIT if _limit else _SAID
    if not isinstance(error, MemoryError) and not any(words in str(error) for words in said):
        return None
    found = f"than the {_limit[0]} MB that --memory-limit allows" if _limit else "than there is"
    return OutOfMemoryError(f"More memory is needed {found}. Allow more, or use a smaller model or smaller batches.")


def claim_process() -> None:
    """Say that this process belongs to a command, and to no program of somebody else's that uses the package."""
    _claimed[:] = [True]


def share_arenas() -> None:
    """Let the threads of this process share two of glibc's arenas, unless MALLOC_ARENA_MAX is set.

    Otherwise each thread keeps what it once needed, and a server with many threads 150 MB more.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        import ctypes

        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


@contextlib.contextmanager
def limit_growth(most: int) -> Iterator[None]:
    """Limit what the block may add to the memory of a claimed process, in bytes, on Linux.

    For code that holds Python's lock until it returns, so that neither a signal nor another thread can end it: this
    bounds its time as well. The limit is that of the process, which is why nobody else's is touched.
    """
    if not _claimed or sys.platform != "linux":
        yield
        return
    import resource

    with _growing:
        usual = resource.getrlimit(resource.RLIMIT_DATA)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        wanted = pages * resource.getpagesize() + most
        resource.setrlimit(resource.RLIMIT_DATA, (_lower(wanted, usual[0]), usual[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, usual)


def _lower(wanted: int, limit: int) -> int:
    """The lower of two limits, the second of which may be -1, no limit."""
    return wanted if limit < 0 else min(wanted, limit)
