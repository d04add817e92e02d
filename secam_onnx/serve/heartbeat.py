"""Signs of life: what a serving process tells its supervisor every second, and for how long silence is borne."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from multiprocessing.connection import Connection

__all__ = ["Beat", "Pulse", "Supervisor"]

_EVERY_S = 1.0
_SILENT_S = 10.0  # an event loop that stands still so long serves nobody
_STARTING_S = 120.0  # reading a large model holds the interpreter, and so the event loop, for many seconds

_UNREADY_S = 30.0


@dataclass(frozen=True)
class Beat:
    """What a process reports.

    Attributes
    ----------
    ready : bool
        Whether it answers requests.
    failure : str or None
        Why it ends, if it cannot start.
    """

    ready: bool = False
    failure: str | None = None


class Supervisor:
    """The supervisor, as one of its processes sees it.

    Parameters
    ----------
    connection : Connection
        The pipe to it. When the supervisor closes it, or dies, the process has to end.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed = threading.Event()

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call a function, in a thread, when the supervisor wants this process to end or has died."""

        def wait() -> None:
            with contextlib.suppress(EOFError, OSError):
                self._connection.recv()
            call()

        threading.Thread(target=wait, name="secam-supervisor", daemon=True).start()

    def failed(self, reason: str) -> None:
        """Say why this process ends."""
        self._send(Beat(failure=reason))

    def changed(self) -> None:
        """Report now, as something has changed."""
        self._changed.set()

    def report(self, loop: asyncio.AbstractEventLoop, ready: Callable[[], Awaitable[bool]]) -> None:
        """Ask the event loop every second, in a thread, whether it is ready, and pass the answer on."""

        async def asked() -> bool:
            return await ready()

        def beat() -> None:
            # A loop that stands still gives no answer, and a supervisor that stands still takes none.
            with contextlib.suppress(RuntimeError, CancelledError):  # the loop has ended
                while self._send(Beat(asyncio.run_coroutine_threadsafe(asked(), loop).result())):
                    self._changed.wait(_EVERY_S)
                    self._changed.clear()

        threading.Thread(target=beat, name="secam-heartbeat", daemon=True).start()

    def _send(self, beat: Beat) -> bool:
        try:
            self._connection.send(beat)
        except OSError:
            return False
        return True


class Pulse:
    """For how long a process has been silent, by a clock that stops with this process and this machine.

    Parameters
    ----------
    timeout_s : float
        Seconds that a request may take. A process that was ready once and then is not for half a minute more hangs.
    """

    def __init__(self, timeout_s: float) -> None:
        self._unready_s = timeout_s + _UNREADY_S
        self._looked = self._beat = self._good = time.monotonic()
        self.was_ready = False

    def feel(self, beats: list[Beat]) -> str | None:
        """Take what came since the last call; gives what is wrong, or None.

        The time since that call counts as a second at most: this process may have been stopped as well.
        """
        now = time.monotonic()
        stopped = max(0.0, now - self._looked - _EVERY_S)
        self._looked = now
        self._beat += stopped
        self._good += stopped
        if beats:
            self._beat = now
            if beats[-1].ready:
                self.was_ready, self._good = True, now
        bearable = _SILENT_S if self.was_ready else _STARTING_S
        if now - self._beat > bearable:
            return f"it gave no sign of life for {bearable:g} s"
        if self.was_ready and now - self._good > self._unready_s:
            return f"it was not ready for {self._unready_s:g} s"
        return None
