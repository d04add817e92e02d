"""How a command ends early: by Ctrl-C, by SIGTERM or when its time is over, whatever its code is doing.

Python handles signals only between two steps of its own, and a model can keep ONNX Runtime busy for years. So a thread
hears of them as well: it ends the runs of models, and after a moment of grace the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from secam_onnx.cli.console import say
from secam_onnx.cli.progress import running_steps

__all__ = ["TIMED_OUT", "Watch", "watch"]

TIMED_OUT = 124
"""Exit code of a command that took longer than `--timeout` allows, as of timeout(1)."""

_GRACE_S = 1.5  # for the ordinary way out
_CLEANING_S = 0.4  # so that all together takes less than two seconds
_SAME_S = 0.5  # signals so close are one: timeout(1) and terminals signal a process and its whole group
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTHING_LEFT = "No file was left incomplete."


class Watch:
    """Ends this process early, when it is asked to.

    Attributes
    ----------
    code : int or None
        The exit code, once the command was asked to end: 130 for Ctrl-C, 143 for SIGTERM, `TIMED_OUT`.
    message : str
        Why it ends.
    """

    code: int | None = None
    message = ""

    def __init__(self) -> None:
        self._asked_at = self._ends_at = float("inf")
        self._timeout_s = 0.0
        self._lock = threading.Lock()
        self._leaving = False
        self._wakes: socket.socket | None = None

    def start(self) -> None:
        """Handle signals from now on; to be called in the main thread."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell does for what runs in the background
            signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        self._wakes, self._heard = socket.socketpair()
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        if hasattr(os, "register_at_fork"):  # the signals of a child are not ours
            os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        threading.Thread(target=self._run, name="secam-watch", daemon=True).start()

    def end_after(self, seconds: float | None) -> None:
        """End the command after so many seconds from now; None takes that back."""
        self._timeout_s = seconds or 0.0
        self._ends_at = float("inf") if seconds is None else time.monotonic() + seconds
        if self._wakes is not None:
            self._wakes.send(b"\0")

    def _handle(self, number: int, _: FrameType | None) -> None:
        """The ordinary way out, once the main thread is back in Python."""
        self._ask(number)
        if self._leaving:
            return  # nothing interrupts the way out but its end
        self._leaving = True
        if self.code == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(self.code)

    def _run(self) -> None:
        while True:
            left = min(self._ends_at, self._asked_at + _GRACE_S) - time.monotonic()
            ready, _, _ = select.select([self._heard], [], [], None if left == float("inf") else max(left, 0))
            for number in self._heard.recv(4096) if ready else b"":
                # Whoever has taken over a signal, as a server does, ends in its own way.
                if number in _SIGNALS and signal.getsignal(number) == self._handle:
                    if time.monotonic() > self._asked_at + _SAME_S:
                        self._leave()
                    self._ask(number)
            if time.monotonic() >= self._asked_at + _GRACE_S:
                self._leave()
            if self.code is None and time.monotonic() >= self._ends_at:
                self._ask(None)
                self._wake_main()

    def _ask(self, number: int | None) -> None:
        """Note why the command ends, and end the runs of models; only the first reason counts."""
        with self._lock:
            if self.code is not None:
                return
            self._asked_at, self._ends_at = time.monotonic(), float("inf")
            self.message = f"Stopped. {_NOTHING_LEFT}"
            if number is None:
                doing = f" (at that moment: {steps[-1]})" if (steps := running_steps()) else ""
                self.message = (
                    f"Stopped: not done after the {self._timeout_s:g} s of --timeout{doing}. {_NOTHING_LEFT} Allow "
                    "more time, or use a smaller model or fewer images."
                )
            self.code = TIMED_OUT if number is None else 128 + number
        if "secam_onnx.runtime" in sys.modules:  # otherwise nothing runs
            from secam_onnx import runtime

            runtime.stop_all()

    def _wake_main(self) -> None:
        """Interrupt the main thread, also where it waits for another thread."""
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            signal.raise_signal(signal.SIGTERM)

    def _leave(self) -> NoReturn:
        """End the process now: code that never returns to Python keeps the ordinary way shut."""
        try:
            # In a thread, as the disk may be what is stuck.
            removing = threading.Thread(target=_clean_up, args=(self.message,), daemon=True)
            removing.start()
            removing.join(_CLEANING_S)
        finally:
            os._exit(self.code or 1)


def _clean_up(message: str) -> None:
    from secam_onnx.files import remove_unfinished

    remove_unfinished()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        say(message, err=True)


watch = Watch()
"""The watch of the command that runs."""
