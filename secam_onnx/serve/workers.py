"""Several serving processes on the same ports: one that ends is replaced, and none outlives the supervisor."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from prometheus_client import multiprocess

from secam_onnx.errors import OptionError, SecamError
from secam_onnx.files import sha256
from secam_onnx.serve import logs
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.grpc_server import grpc_port_error
from secam_onnx.serve.metrics import PROCESSES
from secam_onnx.serve.server import serve
from secam_onnx.serve.settings import Settings, address_family

__all__ = ["supervise"]

_SLACK_S = 5.0
_LONGEST_WAIT_S = 30.0
_spawn = multiprocessing.get_context("spawn")


def supervise(settings: Settings, http: socket.socket, workers: int, started: Callable[[int | None], None]) -> None:
    """Serve in several processes until SIGTERM or SIGINT.

    Parameters
    ----------
    settings, http, started
        See `server.serve`.
    workers : int
        How many processes.

    Raises
    ------
    SecamError
        A process cannot start.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    digests = {name: sha256(path) for name, path in settings.models.items()}
    settings = dataclasses.replace(settings, model_digests=digests)
    room = tempfile.TemporaryDirectory(prefix="secam-serve-", ignore_cleanup_errors=True)
    with _reserved(settings) as settings, room as folder:
        os.environ[PROCESSES] = folder
        slots = [_Slot(settings, http) for _ in range(workers)]
        started(settings.grpc_port)
        try:
            while not stop.wait(0.1):
                for slot in slots:
                    slot.look()
        finally:
            for slot in slots:
                slot.terminate()
            deadline = time.monotonic() + settings.limits.grace_s + _SLACK_S
            for slot in slots:
                slot.join(deadline - time.monotonic())


class _Slot:
    """One process, and those that replace it."""

    def __init__(self, settings: Settings, http: socket.socket) -> None:
        self._settings = settings
        self._http = http
        self._wait = 1.0
        self._again_at: float | None = None
        self._was_ready = False
        self._start()

    def look(self) -> None:
        """Replace the process if it has ended.

        Raises
        ------
        SecamError
            The first process could not start.
        """
        if self._again_at is not None:
            if time.monotonic() >= self._again_at:
                self._start()
            return
        ended = not self._process.is_alive()
        self._listen()
        if not ended:
            return
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
        self._again_at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)

    def terminate(self) -> None:
        """Ask the process to finish its requests and end."""
        if self._process.is_alive():
            self._process.terminate()

    def join(self, seconds: float) -> None:
        """Wait so long for the process to end, then kill it."""
        self._process.join(max(0.0, seconds))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        self._again_at = None
        self._reason: str | None = None
        self._here, there = _spawn.Pipe(duplex=False)
        self._process = _spawn.Process(target=_work, args=(self._settings, self._http, there), daemon=True)
        self._process.start()
        there.close()

    def _listen(self) -> None:
        """Read what the process reports: None when it is ready, or why it ends."""
        with contextlib.suppress(EOFError):
            while self._here.poll():
                self._reason = self._here.recv()
                if self._reason is None:
                    self._was_ready, self._wait = True, 1.0


def _work(settings: Settings, http: socket.socket, supervisor: Connection) -> None:
    """Serve; the main function of a process."""
    logs.configure(settings.log_level)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        # It accepts no connection before it is ready, as another process may be ready already.
        serve(settings, http, ready=lambda: supervisor.send(None), open_first=True)
    except SecamError as error:
        supervisor.send(str(error))
        raise SystemExit(2) from error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    signal.raise_signal(signal.SIGTERM)  # os.kill would end a process on Windows at once
    shutil.rmtree(os.environ[PROCESSES], ignore_errors=True)  # as the parent would have done


@contextlib.contextmanager
def _reserved(settings: Settings) -> Iterator[Settings]:
    """Hold a gRPC port that no other program uses; yields settings with its number."""
    if settings.grpc_port is None:
        yield settings
        return
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OptionError(
            "Several processes cannot share the gRPC port on this system; serve HTTP only (--no-grpc), or with one "
            "process (--workers 1)."
        )
    family = address_family(settings.host)
    with socket.socket(family, socket.SOCK_STREAM) as held:
        try:
            # Processes share a port with SO_REUSEPORT, which would share it with other programs as well.
            with socket.create_server((settings.host, settings.grpc_port), family=family) as alone:
                port = alone.getsockname()[1]
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((settings.host, port))
        except OSError as error:
            raise grpc_port_error(settings, error) from error
        yield dataclasses.replace(settings, grpc_port=port, share_grpc_port=True)
