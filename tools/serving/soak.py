"""Ten minutes of good, bad and hostile requests over HTTP and gRPC, and the memory of all processes of the server."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from kserve import InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from PIL import Image
from serving.client import Counts, load, post, request
from serving.process import Served, all_resident_mb
from serving.scenes import PATH, jpeg

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))

from bomb_images import BOMBS

__all__ = ["soak"]

_MOST = 31 << 20  # bytes of a body that is taken
_STOPPED = 8  # clients that stand still, at a time


def soak(server: Served, files: Sequence[bytes], seconds: float, connections: int = 8) -> dict[str, Any]:
    """Good and bad requests of every kind, and the server's memory every second."""
    memory: list[float] = []
    end = time.perf_counter() + seconds

    async def scene() -> Counts:
        async def watch() -> None:
            while time.perf_counter() < end:
                memory.append(all_resident_mb(server.pid))
                await asyncio.sleep(1)

        watching = asyncio.create_task(watch())
        others = (
            _rude(server.port, files[0], end),
            _stopped(server.port, files[0], end),
            _bombs(server, files[0], end, hostile),
        )
        running = [asyncio.create_task(other) for other in others]
        counts = await load(server.port, _mixed(files), connections, until=lambda _: time.perf_counter() > end)
        await asyncio.gather(watching, *running)
        return counts

    hostile: collections.Counter[str] = collections.Counter()
    counts = asyncio.run(scene())
    # The first tenth fills caches. What is needed at a moment swings; what stays is seen in means over a tenth.
    tenth = max(1, len(memory) // 10)
    early, late = np.mean(memory[tenth : 2 * tenth]), np.mean(memory[-tenth:])
    return {
        "seconds": seconds,
        "answers": {str(status): len(each) for status, each in sorted(counts.seconds.items())},
        "hostile": dict(sorted(hostile.items())),
        "answered_p50_s": float(np.percentile(counts.seconds[200], 50)),
        "answered_p99_s": float(np.percentile(counts.seconds[200], 99)),
        "memory_first_mb": memory[0],
        "memory_early_mb": float(early),
        "memory_late_mb": float(late),
        "memory_lowest_mb": min(memory[tenth:]),
        "memory_highest_mb": max(memory[tenth:]),
        "growth_mb": float(late - early),
        "memory_mb": [round(value, 1) for value in memory],
    }


def _mixed(files: Sequence[bytes]) -> list[bytes]:
    def instances(*images: bytes, **parameters: object) -> bytes:
        coded = [{"image": {"b64": base64.b64encode(image).decode()}} for image in images]
        return json.dumps({"instances": coded, "parameters": parameters}).encode()

    json_, kind = "application/json", "image/jpeg"
    large = jpeg(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)))
    good = [
        *(post(PATH, file, kind) for file in files),
        post(f"{PATH}?class=top-5", files[1], kind),
        post(f"{PATH}?class=all", files[2], kind),
        post(f"{PATH}?outputs=overlay,segments,cam", files[3], kind),
        post(PATH, files[4], kind, "Accept: image/png"),
        *(post(f"{PATH}?n_segments={number}", files[0], kind) for number in range(5, 200, 13)),
        post(PATH, large, kind),
        post(PATH, instances(*files), json_),
        post("/v1/models/model:predict", files[0], kind),
        post("/v2/models/model/infer", _infer(files[0]), json_),
    ]
    bad = [
        post(PATH, files[0][: len(files[0]) // 2], kind),
        post(PATH, b"", kind),
        post(PATH, b"no image", kind),
        post(f"{PATH}?class=nonsense", files[0], kind),
        post(f"{PATH}?n_segments=-1", files[0], kind),
        post(PATH, b'{"instances": [', json_),
        post(PATH, b"[" * 10_000, json_),
        post(PATH, instances(), json_),
        post(PATH, b'{"instances": [{"image": {"url": "http://localhost/"}}]}', json_),
        post("/v1/models/other:explain", files[0], kind),
        post("/v2/models/model/infer", b'{"inputs": []}', json_),
        post("/v2/models/model/infer", b"\0" * 1000, "application/octet-stream"),
        post(PATH, b"x" * (33 << 20), kind),
        post(PATH, files[0], kind).replace(b"Host: localhost", b"Host: evil.example", 1),
        post(PATH, files[0], kind, "Sec-Fetch-Site: cross-site", "Origin: http://evil.example"),
    ]
    # Every good one is followed by a bad one.
    return [request for pair in zip(good, itertools.cycle(bad), strict=False) for request in pair]


def _infer(file: bytes) -> bytes:
    image = {"name": "encoded_image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(file).decode()]}
    return json.dumps({"inputs": [image]}).encode()


async def _rude(port: int, file: bytes, end: float) -> None:
    """Clients that leave: before they sent all, and while they wait."""
    whole = post(PATH, file, "image/jpeg")
    while time.perf_counter() < end:
        for data in (whole[: len(whole) // 2], whole):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.close()
        await asyncio.sleep(0.2)


async def _stopped(port: int, file: bytes, end: float) -> None:
    """Clients that stand still: in the middle of their headers, of their body, and before a long answer."""
    whole = post(f"{PATH}?class=all", file, "image/jpeg")
    held: collections.deque[asyncio.StreamWriter] = collections.deque()
    for data in itertools.cycle((whole[:20], whole[: len(whole) // 2], whole)):
        if time.perf_counter() > end:
            break
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(data)
        held.append(writer)
        if len(held) > _STOPPED:
            held.popleft().close()
        await asyncio.sleep(1)
    for writer in held:
        writer.close()


async def _bombs(server: Served, file: bytes, end: float, found: collections.Counter[str]) -> None:
    """Files that cost a decoder minutes or gigabytes, over HTTP and gRPC; a good one follows each."""
    bombs = [bomb for bomb in (make() for make in BOMBS.values()) if len(bomb) < _MOST]
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        for bomb in itertools.cycle(bombs):
            if time.perf_counter() > end:
                return
            found[f"HTTP {await _status(server.port, post(PATH, bomb, 'image/jpeg'))}"] += 1
            for data in (bomb, file):
                tensor = InferInput("encoded_image", [1], "BYTES")
                tensor.set_data_from_numpy(np.array([data], dtype=object))
                try:
                    await infer(InferRequest("model", [tensor]).to_grpc(), timeout=60)
                    found["gRPC OK"] += 1
                except grpc.aio.AioRpcError as error:
                    found[f"gRPC {error.code().name}"] += 1
            await asyncio.sleep(0.5)


async def _status(port: int, data: bytes) -> int:
    with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return (await request(reader, writer, data))[0]
            finally:
                writer.close()
    return 0
