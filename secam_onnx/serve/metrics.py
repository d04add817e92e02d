"""What Prometheus is told, besides the SDK's own figures."""

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
    "FORWARD",
    "PENDING",
    "PREPARE",
    "PROCESSES",
    "QUEUE",
    "REFUSED",
    "RENDER",
    "REQUESTS",
    "SUPERPIXELS",
    "written",
]

PROCESSES = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder where several processes add up their figures."""

disable_created_metrics()

_MODEL = ["model_name"]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter("secam_requests", "Requests by protocol and status", ["protocol", "status"])
REFUSED = Counter("secam_refused", "Requests that were refused, by the kind of failure", ["reason"])
PENDING = Gauge("secam_pending_images", "Photographs without an answer", _MODEL, multiprocess_mode="livesum")
PREPARE = Histogram("secam_prepare_seconds", "Reading and cropping a photograph", _MODEL, buckets=_SECONDS)
QUEUE = Histogram("secam_queue_seconds", "Waiting for its turn, a photograph", _MODEL, buckets=_SECONDS)
FORWARD = Histogram("secam_forward_seconds", "Network and maps, a batch", _MODEL, buckets=_SECONDS)
SUPERPIXELS = Histogram("secam_superpixels_seconds", "Superpixels of a photograph", _MODEL, buckets=_SECONDS)
RENDER = Histogram("secam_render_seconds", "Drawing pictures of a photograph", _MODEL, buckets=_SECONDS)
BATCH_SIZE = Histogram("secam_batch_size", "Photographs in a batch", _MODEL, buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32, 64))


def written(accept: str | None) -> tuple[bytes, str]:
    """All figures of this server, its other processes' included, and their content type."""
    registry = REGISTRY
    if PROCESSES in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    encoder, content_type = exposition.choose_encoder(accept or "")
    return encoder(registry), content_type
