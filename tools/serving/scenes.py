"""What is measured of a server: an answer alone, many at once, too many."""

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

__all__ = ["CONNECTIONS", "PATH", "alone", "jpeg", "many", "overload", "photographs"]

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
    return [jpeg(variant) for variant in variants]


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


def _run(server: Served, requests: Sequence[bytes], connections: int, number: int) -> Counts:
    return asyncio.run(load(server.port, requests, connections, until=lambda begun: begun >= number))


def _all_good(counts: Counts) -> list[float]:
    if set(counts.seconds) != {200}:
        raise SystemExit(f"Answers other than 200: { {status: len(each) for status, each in counts.seconds.items()} }")
    return counts.seconds[200]


def jpeg(image: Image.Image) -> bytes:
    """A JPEG file of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
