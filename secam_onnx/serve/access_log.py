"""One line in the log for each request, and one more in the metrics."""

from __future__ import annotations

import logging
import time

from secam_onnx.serve import metrics
from secam_onnx.serve.request_context import RequestContext

__all__ = ["log_request", "logger"]

logger = logging.getLogger("secam_onnx.serve")


def log_request(protocol: str, request: RequestContext, status: int | str, start: float, **more: object) -> None:
    """Log and count a request that has its answer.

    Parameters
    ----------
    protocol : {'http', 'grpc'}
        How it came.
    request : RequestContext
        The request; its notes become fields of the line.
    status : int or str
        The status of its answer.
    start : float
        When it came, of `time.perf_counter`.
    **more
        Further fields.
    """
    metrics.REQUESTS.labels(protocol, str(status)).inc()
    took = round((time.perf_counter() - start) * 1000, 2)
    logger.info(
        "request",
        extra={"request_id": request.id, "protocol": protocol, "status": status, "ms": took, **more, **request.notes},
    )
