"""Ending all work of ONNX Runtime at once, in a process that is to end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Stopped", "stop_all", "stoppable", "stopped"]


class Stopped(BaseException):
    """Work was under way, or was to begin, when `stop_all` was called; no error of a model, and so no Exception."""


_under_way: set[Callable[[], None]] = set()
_stopped = threading.Event()


def stop_all() -> None:
    """End all runs of models and all opening of sessions in this process, and all that would follow.

    It may be called from any thread, and returns at once. Each call that is ended raises `Stopped`: a run between two
    nodes of its graph, also inside of a Loop, a session between two steps of its opening. A single kernel goes on to
    its end, so whoever must end by a certain time needs a last resort (`os._exit`).
    """
    _stopped.set()
    for end in _under_way.copy():
        end()


def stopped() -> bool:
    """Whether `stop_all` was called."""
    return _stopped.is_set()


@contextlib.contextmanager
def stoppable(end: Callable[[], None]) -> Iterator[None]:
    """Have `stop_all` call a function that ends the block.

    Raises
    ------
    Stopped
        In place of any exception of the block, if it was stopped.
    """
    _under_way.add(end)
    try:
        if _stopped.is_set():  # looked at after the function was added: between the two, none is missed
            raise Stopped
        yield
    except Exception:
        if _stopped.is_set():
            raise Stopped from None
        raise
    finally:
        _under_way.discard(end)
