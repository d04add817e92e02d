"""The model as a fused file in a bare session: what it takes where nothing of this package runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from secam_onnx import runtime
from secam_onnx.explainer import Explainer
from secam_onnx.export import fuse

__all__ = ["fused_run"]


def fused_run(model: Path, explainer: Explainer, pictures: Sequence[np.ndarray]) -> Callable[[], None]:
    """One run of the fused file, overlay of the top class included, for pictures `(h, w, 3)` uint8.

    Raises
    ------
    SecamError
        The model cannot be fused.
    """
    ort = runtime.load()
    options = ort.SessionOptions()
    options.log_severity_level = 3  # a default that runs may change is worth a warning to it
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "fused.onnx"
        fuse(model, file, preprocessing=explainer.preprocessing)
        session = ort.InferenceSession(str(file), options, providers=list(explainer.providers))
    batch = np.stack(pictures)
    size = session.get_inputs()[0].shape[0]
    size = size if isinstance(size, int) else len(batch)

    def run() -> None:
        for start in range(0, len(batch), size):
            session.run(None, {"image": batch[start : start + size]})

    return run
