"""Work that threads do ahead of the caller: in order, and only so far ahead, so that memory stays flat."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from secam_onnx.errors import ForkError

__all__ = ["cores", "map_ahead", "thread_limit", "thread_pool", "usable"]

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # of version 2 of Linux's control groups
_MOST_PER_CORE = 4
_DIGITS = 9  # of a number that is worth reading

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many processor cores this process may use: OMP_NUM_THREADS, which schedulers set, or else all of them."""
    return thread_limit() or _allowed_cores()


def thread_limit() -> int | None:
    """OMP_NUM_THREADS, or else the limit of a container; None if all cores may be used."""
    value = os.environ.get("OMP_NUM_THREADS", "").strip()
    if value.isdecimal() and (asked := int(value[-_DIGITS:]) if value[:-_DIGITS].strip("0") == "" else 10**_DIGITS):
        return usable(asked)
    share = _container_share()
    return share if share is not None and share < _allowed_cores() else None


def usable(threads: int) -> int:
    """So many threads as were asked for, but at most four for each core: thousands would bring a machine to a halt."""
    return min(threads, _MOST_PER_CORE * _allowed_cores())


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # job schedulers allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _container_share() -> int | None:
    """A container's quota of processor time in cores, rounded up: it sees all cores, but is throttled beyond."""
    try:
        quota, period = _CPU_MAX.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        return None


@contextlib.contextmanager
def thread_pool(threads: int, name: str, *, abandon: bool = False) -> Iterator[ThreadPoolExecutor]:
    """A thread pool for a block; when the block ends, work that has not started is cancelled.

    What runs is waited for. With `abandon` it is not where Ctrl-C or a request to stop ends the block, since the caller
    may have results to keep before the program is ended.
    """
    process = os.getpid()
    pool = ThreadPoolExecutor(threads, f"secam-{name}")
    wait = True
    try:
        yield pool
    except BaseException as error:
        wait = not abandon or isinstance(error, Exception | GeneratorExit)
        raise
    finally:
        if os.getpid() == process:  # a forked child has none of its threads
            pool.shutdown(wait, cancel_futures=True)


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result, None, None]:
    """A lazy `map` in a pool: while the caller works on one result, the next ones are computed.

    `Executor.map` does the same with `buffersize`, from Python 3.14 on.

    Parameters
    ----------
    pool : Executor
        Where `function` runs; `items` is iterated in the caller's thread.
    function : callable
        Called with each item. An error that it raises is raised in place of the result.
    items : iterable
        May be endless.
    ahead : int
        At most so many items are taken beyond the one whose result is yielded.

    Yields
    ------
    Result
        In the order of the items.

    Raises
    ------
    ForkError
        The iteration began before this process was forked.
    """
    process = os.getpid()
    window: deque[Future[Result]] = deque()
    try:
        for item in items:
            window.append(pool.submit(function, item))
            if len(window) > ahead:
                yield window.popleft().result()
                _check_same(process)
        while window:
            yield window.popleft().result()
            _check_same(process)
    finally:
        if os.getpid() == process:
            for future in window:
                future.cancel()


def _check_same(process: int) -> None:
    if os.getpid() != process:
        raise ForkError("The stream began before this process was forked; begin a new one in this process.")
