"""The server's decoders: processes that read the photographs of strangers, counted and logged."""

from __future__ import annotations

from secam_onnx.decoding.decoder_limits import DecoderLimits
from secam_onnx.decoding.decoder_pool import DecoderPool
from secam_onnx.serve import metrics
from secam_onnx.serve.access_log import logger
from secam_onnx.serve.settings import Limits
from secam_onnx.threads import cores

__all__ = ["decoders_for"]


def decoders_for(limits: Limits) -> DecoderPool:
    """A pool for all models of a server, of one process for each core; none is started yet."""
    return DecoderPool(cores(), DecoderLimits.for_pixels(limits.max_pixels, limits.decode_s), on_event=_note)


def _note(kind: str, reason: str) -> None:
    if kind == "started":
        metrics.DECODERS.inc()
    elif kind == "failed":
        logger.error("no decoder can be started", extra={"reason": reason})
    else:
        metrics.ENDED.labels(kind).inc()
