"""What faults cost: bodies without end, clients that do not go on, signals in the middle of work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.client import load, post
from serving.process import Served, resident_mb
from serving.scenes import PATH

__all__ = ["endless_body", "killed_worker", "slow_clients", "terminated"]

_MB = 1 << 20


def endless_body(server: Served, megabytes: int = 400) -> dict[str, Any]:
    """A body of 400 MB, announced and in chunks without end: how much is taken, and the server's memory."""
    before = highest = resident_mb(server.pid)
    taken = {}
    for kind, head, part in (
        ("announced", f"Content-Length: {megabytes * _MB}", b"x" * _MB),
        ("chunked", "Transfer-Encoding: chunked", b"100000\r\n" + b"x" * _MB + b"\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n{head}\r\n\r\n".encode()
            )
            sent = 0
            with contextlib.suppress(ConnectionError):
                for _ in range(megabytes):
                    connection.sendall(part)
                    sent += 1
                    highest = max(highest, resident_mb(server.pid))
        taken[kind] = sent
    return {"megabytes": megabytes, "sent_mb": taken, "memory_mb": highest - before}


def slow_clients(server: Served, files: Sequence[bytes], clients: int = 200) -> dict[str, Any]:
    """Others that send a byte of a header every second: how long an explanation takes meanwhile, and they stay."""
    requests = [post(PATH, file, "image/jpeg") for file in files]

    def latency() -> float:
        counts = asyncio.run(load(server.port, requests, 1, until=lambda begun: begun >= 30))
        return 1000 * statistics.median(counts.seconds[200])

    async def slow() -> float:
        start = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        closed = False
        while not closed and time.perf_counter() - start < 60:
            try:
                writer.write(b"a")
                async with asyncio.timeout(1):
                    closed = not await reader.read(1)
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
        writer.close()
        return time.perf_counter() - start

    async def longest() -> float:
        return max(await asyncio.gather(*(slow() for _ in range(clients))))

    alone = latency()
    opened = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(clients)]
    for connection in opened:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    beside = latency()
    for connection in opened:
        connection.close()
    return {"clients": clients, "alone_ms": alone, "beside_ms": beside, "longest_s": asyncio.run(longest())}


def terminated(server: Served, files: Sequence[bytes], clients: int = 32) -> dict[str, Any]:
    """SIGTERM while so many wait: how many are answered, how long it takes, and the exit code."""
    requests = [post(PATH, file, "image/jpeg") for file in files]
    start = 0.0

    async def scene() -> dict[int, list[float]]:
        nonlocal start
        asking = asyncio.create_task(load(server.port, requests, clients, until=lambda begun: begun >= clients))
        await asyncio.sleep(0.1)
        start = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        return (await asking).seconds

    answers = asyncio.run(scene())
    code = server.process.wait(60)
    took = time.perf_counter() - start
    return {"waiting": clients, "answered_200": len(answers.get(200, ())), "exit_code": code, "seconds": took}


def killed_worker(server: Served, files: Sequence[bytes], seconds: float = 10.0) -> dict[str, Any]:
    """`kill -9` of one of two processes under load: requests without an answer, and time until there are two again."""
    requests = [post(PATH, file, "image/jpeg") for file in files]
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="utf-8").split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    while server.log.read_text().count('"ready"') < len(workers):
        time.sleep(0.05)
    end = time.perf_counter() + seconds
    replaced = 0.0

    async def scene() -> dict[int, list[float]]:
        nonlocal replaced
        asking = asyncio.create_task(load(server.port, requests, 8, until=lambda _: time.perf_counter() > end))
        await asyncio.sleep(1)
        start = time.perf_counter()
        os.kill(workers[0], signal.SIGKILL)
        while server.log.read_text().count('"ready"') == len(workers):
            await asyncio.sleep(0.05)
        replaced = time.perf_counter() - start
        return (await asking).seconds

    answers = asyncio.run(scene())
    return {
        "answers": {str(status): len(each) for status, each in sorted(answers.items())},
        "replaced_s": replaced,
    }
