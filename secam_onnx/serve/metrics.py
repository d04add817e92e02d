"""Prometheus metrics, besides the SDK's own."""

from __future__ import annotations

import os

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    exposition,
    multiprocess,
)

__all__ = [
    "BATCH_SIZE",
    "DECODERS",
    "ENDED",
    "FORWARD",
    "PENDING",
    "PREPARE",
    "PROCESSES",
    "QUEUE",
    "REFUSED",
    "RENDER",
    "REQUESTS",
    "SUPERPIXELS",
    "exposed",
]

PROCESSES = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which several processes add up their metrics."""

disable_created_metrics()

_MODEL = ["model_name"]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter("secam_requests", "Requests by protocol and status", ["protocol", "status"])
REFUSED = Counter("secam_refused", "Refused requests by kind of error", ["reason"])
DECODERS = Counter("secam_decoders_started", "Processes that were started to decode photographs")
ENDED = Counter("secam_decoders_ended", "Decoding that was ended: time, memory, crash, cancelled", ["reason"])
PENDING = Gauge("secam_pending_images", "Photographs without an answer", _MODEL, multiprocess_mode="livesum")
PREPARE = Histogram("secam_prepare_seconds", "Time to read and crop a photograph", _MODEL, buckets=_SECONDS)
QUEUE = Histogram("secam_queue_seconds", "Time that a photograph waits for its batch", _MODEL, buckets=_SECONDS)
FORWARD = Histogram("secam_forward_seconds", "Time of network and maps for a batch", _MODEL, buckets=_SECONDS)
SUPERPIXELS = Histogram(
    "secam_superpixels_seconds", "Time to make the superpixels of a photograph", _MODEL, buckets=_SECONDS
)
RENDER = Histogram("secam_render_seconds", "Time to draw the pictures of a request", _MODEL, buckets=_SECONDS)
BATCH_SIZE = Histogram("secam_batch_size", "Photographs in a batch", _MODEL, buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32, 64))


def exposed(accept: str | None) -> tuple[bytes, str]:
    """All metrics of this server, including its other processes, and their content type."""
    registry = REGISTRY
    if PROCESSES in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    encoder, content_type = exposition.choose_encoder(accept or "")
    return encoder(registry), content_type
