"""How a serving process ends: once all is answered, or else by force, whatever its threads do."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["CUT_OFF", "Ending", "last_resort", "leave", "on_signals"]

CUT_OFF = 1
"""Exit code of a server that stopped before everything it had accepted was answered."""

_POLL_S = 0.1
_CLOSING_S = 1.0  # beyond the grace period, and from the last answer to the end
_LAST_RESORT_S = 1.7  # beyond the grace period, should Python itself stand still
_SAME_S = 0.5


class Ending:
    """Runs a server in a thread of its own, so that the main thread can end the process at any time.

    Parameters
    ----------
    grace_s : float
        Seconds that requests have when the server is asked to stop. It ends at most 2 s later.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._asked_at: float | None = None
        self._answered_at: float | None = None
        self._stopped: list[Callable[[], object]] = []
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._cut_off = False

    @property
    def asked(self) -> bool:
        """Whether the server was asked to stop."""
        return self._asked_at is not None

    def ask(self) -> None:
        """Ask the server to stop; may be called from any thread, and again."""
        with self._lock:
            if self._asked_at is not None:
                return
            last_resort(self._grace_s)  # before any other thread acts on it
            self._asked_at = time.monotonic()
        for stopped in self._stopped:
            stopped()

    def when_asked(self, call: Callable[[], object]) -> None:
        """Call a function, which may be called from any thread, when the server is asked to stop."""
        self._stopped.append(call)
        if self.asked:
            call()

    def cut(self) -> None:
        """Say that something which was accepted will get no answer."""
        self._cut_off = True

    def answered(self, error: BaseException | None = None) -> None:
        """Say that nothing is pending any more, or why the server ends; what is left to do has a second."""
        self._error = self._error or error
        self._answered_at = self._answered_at or time.monotonic()

    def run(self, work: Callable[[], None]) -> NoReturn:
        """Run the server until it returns, or until its time is over; then end this process, unless the server fails.

        The exit code is 0, or `CUT_OFF` if something was cut off. Python's own end would wait for threads, which may
        run for ever.

        Raises
        ------
        Exception
            Why the server fails.
        """

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.answered(error)

        thread = threading.Thread(target=guarded, name="secam-server", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_S)  # signals are handled in between
            now = time.monotonic()
            if self._answered_at is not None and now > self._answered_at + _CLOSING_S:
                if self._error is not None:
                    break
                leave(self._code)
            if self._asked_at is not None and now > self._asked_at + self._grace_s + _CLOSING_S:
                leave(CUT_OFF)
        if self._error is None:
            leave(self._code)
        raise self._error

    @property
    def _code(self) -> int:
        return CUT_OFF if self._cut_off else 0


def on_signals(first: Callable[[], None], again: Callable[[], None]) -> None:
    """Handle SIGTERM and SIGINT: the first is a request to stop, another one means at once.

    What comes within half a second is the same one: `timeout` and terminals signal a process and its whole group.
    """
    since: list[float] = []

    def handle(*_: Any) -> None:
        since.append(time.monotonic())
        if len(since) == 1:
            first()
        elif since[-1] > since[0] + _SAME_S:
            again()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def last_resort(grace_s: float) -> None:
    """End this process two seconds after the grace period at the latest, should nothing else be able to."""
    # A thread in C, which needs no interpreter.
    faulthandler.dump_traceback_later(grace_s + _LAST_RESORT_S, exit=True, file=os.open(os.devnull, os.O_WRONLY))


def leave(code: int) -> NoReturn:
    """End this process now, whatever its threads do; what was printed and logged is written, if it can be at once."""
    try:
        writing = threading.Thread(target=_write_out, daemon=True)  # as the reader of a pipe may be stuck
        writing.start()
        writing.join(_POLL_S)
    finally:
        os._exit(code)


def _write_out() -> None:
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
