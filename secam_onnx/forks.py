"""Forked processes: threads stay behind in the parent, so a child can neither use nor free an object that owns some."""

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
    """The lock of this process for what each process makes once; a forked child gets a new one."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def needs_threads(thing: object) -> None:
    """Mark an object that owns threads: a forked child refuses to use it and never frees it."""
    _held.add(thing)


def check_process(thing: object) -> None:
    """Refuse an object that was made before this process was forked.

    Raises
    ------
    ForkError
        Its threads stayed in the parent, so using it would hang.
    """
    if _inherited and id(thing) in _inherited:
        raise ForkError(
            "The model was opened before this process was forked, and its threads stayed in the parent. Open the model "
            "in this process; an Explainer does that by itself."
        )


def _in_child() -> None:
    for thing in list(_held):
        # For good: ONNX Runtime joins a session's threads when the session is freed, even when the process ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
        _inherited.add(id(thing))
        _held.discard(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
