"""A server started by the arguments of a deployment file, on a free port of this machine."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.error import URLError

PATIENCE_S = 60


@contextlib.contextmanager
def served(command: Sequence[object], **options: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address; `command` is a whole one, whose ports and host this replaces."""
    here = ("--host", "127.0.0.1", "--port", "0", "--grpc-port", "0")
    process = subprocess.Popen(
        [*map(str, command), *here], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.match(r"http://127\.0\.0\.1:\d+", line)
        assert address is not None, line
        deadline = time.monotonic() + PATIENCE_S
        while status(f"{address[0]}/v2/health/ready") != 200:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            return answer.status
    except URLError as error:
        return getattr(error, "code", 0)


def explained(address: str, name: str, image: bytes) -> dict[str, Any]:
    """The first class of `:explain`."""
    request = urllib.request.Request(
        f"{address}/v1/models/{name}:explain", image, {"Content-Type": "image/png"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())["explanations"][0]["classes"][0]
