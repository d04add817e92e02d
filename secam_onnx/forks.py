"""Forked processes: what holds threads is of no use to a child, which cannot even take it apart without hanging."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref

from secam_onnx.errors import ForkError

__all__ = ["check_process", "lock_here", "needs_threads"]

_held: weakref.WeakSet[object] = weakref.WeakSet()
_inherited: set[int] = set()
_locks: dict[int, threading.Lock] = {}


def lock_here() -> threading.Lock:
    """The one lock of this process for what is made once in each; in a forked child it is open at first."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def needs_threads(thing: object) -> None:
    """Say that a thing has threads of its own: in forked children it is never used nor taken apart."""
    _held.add(thing)


def check_process(thing: object) -> None:
    """Refuse a thing of the process that this one was forked from.

    Raises
    ------
    ForkError
        Its threads are not here; it would wait for them without end.
    """
    if _inherited and id(thing) in _inherited:
        raise ForkError(
            "This process was forked from one in which the model was opened, and threads do not come along. Open the "
            "model in this process; an Explainer does that by itself."
        )


def _in_child() -> None:
    for thing in list(_held):
        # For good: ONNX Runtime joins its threads when a session ends, also at the end of the process.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
        _inherited.add(id(thing))
        _held.discard(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
