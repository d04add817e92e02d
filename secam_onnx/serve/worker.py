"""One of several serving processes: replaced when it ends or hangs, and ended when its supervisor ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import multiprocess

from secam_onnx.errors import SecamError
from secam_onnx.memory import claim_process
from secam_onnx.serve import logs
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.ending import Ending, on_signals
from secam_onnx.serve.heartbeat import Beat, Pulse, Supervisor
from secam_onnx.serve.metrics import PROCESSES
from secam_onnx.serve.server import serve
from secam_onnx.serve.settings import Settings

__all__ = ["Worker"]

_LONGEST_WAIT_S = 30.0
_spawn = multiprocessing.get_context("spawn")


class Worker:
    """One process, and those that replace it.

    Parameters
    ----------
    settings, http
        See `server.serve`.

    Raises
    ------
    SecamError
        This system allows no further process.
    """

    def __init__(self, settings: Settings, http: socket.socket) -> None:
        self._settings = settings
        self._http = http
        self._wait = 1.0
        self._again_at: float | None = None
        self._was_ready = False
        self._reason: str | None = None
        try:
            self._start()
        except OSError as error:
            raise SecamError(
                f"A process cannot be started ({error.strerror or error}); ask for fewer (--workers), or raise the "
                "limits of this user (ulimit -u, ulimit -n)."
            ) from error

    def look(self) -> None:
        """Replace the process if it has ended, and kill it if it hangs.

        Raises
        ------
        SecamError
            The first process could not start.
        """
        if self._again_at is not None:
            if time.monotonic() >= self._again_at:
                self._replace()
            return
        ended = not self._process.is_alive()
        wrong = self._pulse.feel(self._beats())
        if self._pulse.was_ready:
            self._was_ready, self._wait = True, 1.0
        if wrong is not None and not ended:
            # Not only replaced: the system would still hand it connections, and a stopped process ignores SIGTERM.
            self._reason = wrong
            self._process.kill()
            self._process.join(1)
            ended = not self._process.is_alive()
        if ended:
            self._ended()

    def stop(self) -> None:
        """Ask the process to finish its requests and end; by the pipe, as Windows knows no SIGTERM."""
        self._pulse.feel(self._beats())
        self._here.close()

    def join(self, until: Callable[[], bool]) -> int:
        """Wait for the process to end, then kill it; gives its exit code, or 0 if it had accepted nothing.

        Parameters
        ----------
        until : callable
            Whether the time is over.
        """
        while self._process.is_alive() and not until():
            self._process.join(0.05)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(0.2)
        return (self._process.exitcode or 0) if self._pulse.was_ready and self._again_at is None else 0

    def _ended(self) -> None:
        if not self._was_ready:
            raise SecamError(
                self._reason
                or f"A process ended with code {self._process.exitcode} while it started; its log says why."
            )
        logger.error(
            "a process ended and is replaced",
            extra={"pid": self._process.pid, "exitcode": self._process.exitcode, "reason": self._reason},
        )
        multiprocess.mark_process_dead(self._process.pid)
        self._here.close()
        self._put_off()

    def _put_off(self) -> None:
        self._again_at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)

    def _replace(self) -> None:
        try:
            self._start()
        except OSError as error:  # no memory, or no more processes, for the moment
            logger.error("a process cannot be started", extra={"reason": str(error)})
            self._put_off()

    def _start(self) -> None:
        self._reason = None
        self._pulse = Pulse(self._settings.limits.timeout_s)
        self._here, there = _spawn.Pipe()
        with there:
            self._process = _spawn.Process(target=_work, args=(self._settings, self._http, there), daemon=True)
            self._process.start()
        self._again_at = None

    def _beats(self) -> list[Beat]:
        beats: list[Beat] = []
        with contextlib.suppress(EOFError, OSError):
            while self._here.poll():
                beats.append(self._here.recv())
                self._reason = beats[-1].failure or self._reason
        return beats


def _work(settings: Settings, http: socket.socket, connection: Any) -> None:
    """Serve; the main function of a process."""
    claim_process()
    logs.configure(settings.log_level)
    ending, supervisor = Ending(settings.limits.grace_s), Supervisor(connection)
    on_signals(ending.ask, lambda: None)  # the supervisor knows when it must be at once
    supervisor.when_gone(lambda: _end(ending))
    try:
        serve(settings, http, ending, supervisor=supervisor)
    except SecamError as error:
        supervisor.failed(str(error))
        raise SystemExit(2) from error


def _end(ending: Ending) -> None:
    ending.ask()
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    shutil.rmtree(os.environ[PROCESSES], ignore_errors=True)  # as the parent would have done
