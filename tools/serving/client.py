"""A client that costs next to nothing: requests are bytes made before, answers are counted and timed."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence

__all__ = ["Counts", "load", "post", "request"]


def post(path: str, body: bytes, kind: str, *headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclasses.dataclass
class Counts:
    """What came back.

    Attributes
    ----------
    seconds : dict of int to list of float
        For each status, how long each answer took; 0 stands for a connection that ended without one.
    """

    seconds: dict[int, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))

    def number(self, status: int) -> int:
        """Answers of that status."""
        return len(self.seconds.get(status, ()))


async def load(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    *,
    until: Callable[[int], bool],
    patience_s: float = 120.0,
    pause_s: float = 0.0,
) -> Counts:
    """Send requests in turn over some connections, each of which waits for its answer.

    Parameters
    ----------
    port : int
        Of 127.0.0.1.
    requests : sequence of bytes
        As `post` gives them.
    connections : int
        How many.
    until : callable
        Takes the number of requests that were begun; true ends it.
    patience_s : float
        Seconds after which an answer counts as none.
    pause_s : float
        Seconds until a connection that was refused asks again.
    """
    counts = Counts()
    begun = 0

    async def one() -> None:
        nonlocal begun
        streams = None
        while not until(begun):
            data = requests[begun % len(requests)]
            begun += 1
            start = time.perf_counter()
            status, alive = 0, False
            with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
                async with asyncio.timeout(patience_s):
                    streams = streams or await asyncio.open_connection("127.0.0.1", port)
                    status, alive = await request(*streams, data)
            counts.seconds[status].append(time.perf_counter() - start)
            if status == 429:
                await asyncio.sleep(pause_s)
            if not alive and streams is not None:
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return counts


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> tuple[int, bool]:
    """Send one request; the status of its answer, and whether the connection takes another one."""
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    await reader.readexactly(int(fields[b"content-length"]))
    return int(head[9:12]), fields.get(b"connection") != b"close"
