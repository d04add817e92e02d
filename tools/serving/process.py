"""The server as its users start it, and how much memory it takes."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Served", "all_resident_mb", "resident_mb", "server"]


@dataclass(frozen=True)
class Served:
    """A server that is ready.

    Attributes
    ----------
    port : int
        Of HTTP on 127.0.0.1.
    pid : int
        Its process.
    started_s : float
        Seconds from the command to readiness.
    log : Path
        What it wrote on standard error.
    process : Popen
        The same process.
    grpc_port : int
        Of gRPC on 127.0.0.1.
    """

    port: int
    pid: int
    started_s: float
    log: Path
    process: subprocess.Popen[str]
    grpc_port: int


@contextlib.contextmanager
def server(*options: str) -> Iterator[Served]:
    """Start a server on a free port, and end it with SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="secam-load-") as folder:
        log = Path(folder) / "log"
        start = time.perf_counter()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "secam_onnx", "serve", "--port", "0", "--grpc-port", "0", *options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            try:
                assert process.stdout is not None
                match = re.match(r"http://127\.0\.0\.1:(\d+)/ and gRPC on \S+:(\d+)", process.stdout.readline())
                if match is None:
                    raise SystemExit(f"The server did not start:\n{log.read_text()}")
                port = int(match[1])
                while not _is_ready(port):
                    time.sleep(0.01)
                yield Served(port, process.pid, time.perf_counter() - start, log, process, int(match[2]))
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait(60)


def all_resident_mb(pid: int) -> float:
    """Memory in RAM of a process and of all that it started, in MB; what they share counts for each."""
    try:
        threads = Path(f"/proc/{pid}/task").iterdir()
        children = [child for thread in threads for child in (thread / "children").read_text(encoding="utf-8").split()]
        return resident_mb(pid) + sum(all_resident_mb(int(child)) for child in children)
    except (OSError, TypeError):  # it has ended
        return 0.0


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:  # URLError is one
        return False
