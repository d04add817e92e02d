"""What is measured of a server: an answer alone, many at once, too many, and ten minutes of good and bad requests."""

from __future__ import annotations

import asyncio
import io
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from serving.client import Counts, load, post
from serving.process import Served, resident_mb

from secam_onnx import Explainer
from secam_onnx.photograph.images import EncodedImage

__all__ = ["CONNECTIONS", "PATH", "alone", "many", "overload", "photographs", "soak"]

PATH = "/v1/models/model:explain"
CONNECTIONS = 32


def photographs(file: Path) -> list[bytes]:
    """JPEG files of a few hundred pixels: a photograph, mirrored, cropped, larger and smaller."""
    with Image.open(file) as image:
        photo = image.convert("RGB")
    width, height = photo.size
    variants = [
        photo,
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        photo.crop((width // 8, 0, width, height)),
        photo.resize((640, 640 * height // width)),
        photo.resize((320, 320 * height // width)),
    ]
    return [_jpeg(variant) for variant in variants]


def alone(server: Served, explainer: Explainer, files: Sequence[bytes], rounds: int) -> dict[str, float]:
    """One request after the other, in turns with the same call in this process; milliseconds, medians."""
    each = 2 * len(files)
    requests = [post(PATH, file, "image/jpeg") for file in files]
    own: list[float] = []
    served: list[float] = []
    for _ in range(rounds):
        for file in itertools.islice(itertools.cycle(files), each):
            start = time.perf_counter()
            explainer.explain(EncodedImage("the image", file))
            own.append(time.perf_counter() - start)
        served += _all_good(_run(server, requests, 1, each))
    return {
        "in_process_ms": 1000 * statistics.median(own),
        "http_ms": 1000 * statistics.median(served),
        "ratio": statistics.median(served) / statistics.median(own),
    }


def many(server: Served, explainer: Explainer, files: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Photographs a second over 32 connections, in turns with the pipeline in this process; medians."""
    each = 40 * len(files)
    requests = [post(PATH, file, "image/jpeg") for file in files]
    images = [EncodedImage("the image", file) for file in files]
    own, served, ratios = [], [], []
    latencies: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in explainer.explain_stream(itertools.islice(itertools.cycle(images), each), keep_images=False):
            pass
        middle = time.perf_counter()
        latencies += _all_good(_run(server, requests, CONNECTIONS, each))
        end = time.perf_counter()
        own.append(each / (middle - start))
        served.append(each / (end - middle))
        ratios.append(served[-1] / own[-1])
    return {
        "in_process_per_s": statistics.median(own),
        "http_per_s": statistics.median(served),
        "ratio": statistics.median(ratios),
        "p50_ms": 1000 * float(np.percentile(latencies, 50)),
        "p99_ms": 1000 * float(np.percentile(latencies, 99)),
    }


def overload(server: Served, files: Sequence[bytes], connections: int, seconds: float) -> dict[str, Any]:
    """More connections than may wait; who is refused asks again after half a second."""
    requests = [post(PATH, file, "image/jpeg") for file in files]
    before, end = resident_mb(server.pid), time.perf_counter() + seconds
    counts = asyncio.run(
        load(server.port, requests, connections, until=lambda _: time.perf_counter() > end, pause_s=0.5)
    )
    good = counts.seconds[200]
    everything = [took for each in counts.seconds.values() for took in each]
    return {
        "connections": connections,
        "seconds": seconds,
        "answered": len(good),
        "refused_429": counts.number(429),
        "too_late_504": counts.number(504),
        "without_answer": counts.number(0),
        "other": {str(status): counts.number(status) for status in counts.seconds if status not in (0, 200, 429, 504)},
        "answered_p50_s": float(np.percentile(good, 50)),
        "answered_p99_s": float(np.percentile(good, 99)),
        "all_p99_s": float(np.percentile(everything, 99)),
        "memory_before_mb": before,
        "memory_after_mb": resident_mb(server.pid),
    }


def soak(server: Served, files: Sequence[bytes], seconds: float, connections: int = 8) -> dict[str, Any]:
    """Good and bad requests of every kind, and the server's memory every second."""
    memory: list[float] = []
    end = time.perf_counter() + seconds

    async def scene() -> Counts:
        async def watch() -> None:
            while time.perf_counter() < end:
                memory.append(resident_mb(server.pid))
                await asyncio.sleep(1)

        watching = asyncio.create_task(watch())
        rude = asyncio.create_task(_rude(server.port, files[0], end))
        counts = await load(server.port, _mixed(files), connections, until=lambda _: time.perf_counter() > end)
        await asyncio.gather(watching, rude)
        return counts

    counts = asyncio.run(scene())
    # The first tenth fills caches. What is needed at a moment swings; what stays is seen in means over a tenth.
    tenth = max(1, len(memory) // 10)
    early, late = np.mean(memory[tenth : 2 * tenth]), np.mean(memory[-tenth:])
    return {
        "seconds": seconds,
        "answers": {str(status): len(each) for status, each in sorted(counts.seconds.items())},
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
    import base64
    import json

    def instances(*images: bytes, **parameters: object) -> bytes:
        coded = [{"image": {"b64": base64.b64encode(image).decode()}} for image in images]
        return json.dumps({"instances": coded, "parameters": parameters}).encode()

    json_, jpeg = "application/json", "image/jpeg"
    large = _jpeg(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)))
    good = [
        *(post(PATH, file, jpeg) for file in files),
        post(f"{PATH}?class=top-5", files[1], jpeg),
        post(f"{PATH}?class=all", files[2], jpeg),
        post(f"{PATH}?outputs=overlay,segments,cam", files[3], jpeg),
        post(PATH, files[4], jpeg, "Accept: image/png"),
        *(post(f"{PATH}?n_segments={number}", files[0], jpeg) for number in range(5, 200, 13)),
        post(PATH, large, jpeg),
        post(PATH, instances(*files), json_),
        post("/v1/models/model:predict", files[0], jpeg),
        post("/v2/models/model/infer", _infer(files[0]), json_),
    ]
    bad = [
        post(PATH, files[0][: len(files[0]) // 2], jpeg),
        post(PATH, b"", jpeg),
        post(PATH, b"no image", jpeg),
        post(f"{PATH}?class=nonsense", files[0], jpeg),
        post(f"{PATH}?n_segments=-1", files[0], jpeg),
        post(PATH, b'{"instances": [', json_),
        post(PATH, b"[" * 10_000, json_),
        post(PATH, instances(), json_),
        post(PATH, b'{"instances": [{"image": {"url": "http://localhost/"}}]}', json_),
        post("/v1/models/other:explain", files[0], jpeg),
        post("/v2/models/model/infer", b'{"inputs": []}', json_),
        post("/v2/models/model/infer", b"\0" * 1000, "application/octet-stream"),
        post(PATH, b"x" * (33 << 20), jpeg),
    ]
    # Every good one is followed by a bad one.
    return [request for pair in zip(good, itertools.cycle(bad), strict=False) for request in pair]


def _infer(file: bytes) -> bytes:
    import base64
    import json

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


def _run(server: Served, requests: Sequence[bytes], connections: int, number: int) -> Counts:
    return asyncio.run(load(server.port, requests, connections, until=lambda begun: begun >= number))


def _all_good(counts: Counts) -> list[float]:
    if set(counts.seconds) != {200}:
        raise SystemExit(f"Answers other than 200: { {status: len(each) for status, each in counts.seconds.items()} }")
    return counts.seconds[200]


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
