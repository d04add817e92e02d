"""Opening a model of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secam_onnx.classifier.fused import fused_metadata, open_fused
from secam_onnx.classifier.open_model import OpenModel

__all__ = ["open_model"]


def open_model(path: Path, **options: Any) -> OpenModel:
    """Open a model of any kind; see `open_classifier` and `open_fused` for the options."""
    metadata = fused_metadata(path)
    if metadata is not None:
        return open_fused(path, metadata, **options)
    # Imported here: a fused model is run without onnx.
    from secam_onnx.classifier.open_classifier import open_classifier

    return open_classifier(path, **options)
