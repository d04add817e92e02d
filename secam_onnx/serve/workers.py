"""Several serving processes on the same ports: each is replaced when needed, and none outlives the supervisor."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from secam_onnx.errors import OptionError
from secam_onnx.files import sha256
from secam_onnx.serve.ending import CUT_OFF, last_resort, leave, on_signals
from secam_onnx.serve.grpc_server import grpc_port_error
from secam_onnx.serve.metrics import PROCESSES
from secam_onnx.serve.settings import Settings, address_family
from secam_onnx.serve.worker import Worker

__all__ = ["supervise"]

_LOOK_S = 0.1
_SLACK_S = 1.3  # beyond the grace period, at whose end processes end by themselves


def supervise(settings: Settings, http: socket.socket, workers: int, started: Callable[[int | None], None]) -> NoReturn:
    """Serve in several processes until SIGTERM or SIGINT, which end this process.

    Its exit code is 0, or `CUT_OFF` if something that was accepted got no answer.

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
    stop, at_once = threading.Event(), threading.Event()
    grace_s = settings.limits.grace_s

    def first() -> None:
        stop.set()
        last_resort(grace_s)

    on_signals(first, at_once.set)
    digests = {name: sha256(path) for name, path in settings.models.items()}
    settings = dataclasses.replace(settings, model_digests=digests)
    with _reserved(settings) as settings, _temporary_folder() as folder:
        os.environ[PROCESSES] = folder
        processes: list[Worker] = []
        try:
            processes += (Worker(settings, http) for _ in range(workers))
            started(settings.grpc_port)
            while not stop.wait(_LOOK_S):
                for process in processes:
                    process.look()
        finally:
            codes = _stopped(processes, grace_s + _SLACK_S, at_once)
    leave(CUT_OFF if any(codes) else 0)  # the interpreter's own end takes its time


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """The folder in which processes add up their metrics."""
    try:
        return tempfile.TemporaryDirectory(prefix="secam-serve-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OptionError(
            f"Several processes need a temporary folder for their metrics, and none can be made ({error}). Name one "
            "that can be written (TMPDIR), or serve with one process (--workers 1)."
        ) from error


def _stopped(processes: list[Worker], seconds: float, at_once: threading.Event) -> list[int]:
    """End all processes, those that take longer by force; gives their exit codes."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.stop()
    return [process.join(lambda: at_once.is_set() or time.monotonic() > deadline) for process in processes]


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
