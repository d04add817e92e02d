"""Opening a model of any kind."""

from __future__ import annotations

from pathlib import Path

from secam_onnx.classifier.fidelity import Verify
from secam_onnx.classifier.fused import fused_metadata, open_fused
from secam_onnx.classifier.opened_model import OpenModel
from secam_onnx.head_query import ANYTHING, HeadQuery
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.runtime import Providers

__all__ = ["open_model"]


def open_model(
    path: Path,
    *,
    providers: Providers = "auto",
    preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
    labels: tuple[str, ...] | None = None,
    query: HeadQuery = ANYTHING,
    activation: str | None = None,
    attribution: str | None = None,
    threads: int | None = None,
    verify: Verify = "auto",
) -> OpenModel:
    """Open a fused, an explainable or an ordinary model; parameters and errors as of `open_classifier`.

    In a fused model `preprocessing`, `query`, `activation` and `attribution` are fixed; giving one is an error.
    """
    metadata = fused_metadata(path)
    if metadata is not None:
        fixed = {
            "preprocessing": preprocessing,
            **dict.fromkeys(query.given, query),
            "activation": None if activation == "auto" else activation,
            "attribution": attribution,
        }
        given = [name for name, value in fixed.items() if value is not None]
        return open_fused(
            path, metadata, providers=providers, labels=labels, threads=threads, verify=verify, fixed=given
        )
    # Imported here: a fused model is run without onnx.
    from secam_onnx.classifier.open_classifier import open_classifier

    return open_classifier(
        path,
        providers=providers,
        preprocessing=preprocessing,
        labels=labels,
        query=query,
        activation=activation,
        attribution=attribution,
        threads=threads,
        verify=verify,
    )
