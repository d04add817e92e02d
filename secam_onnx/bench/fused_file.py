"""The model as a fused file in a bare session: the cost without this package at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from secam_onnx import runtime
from secam_onnx.explainer import Explainer
from secam_onnx.export import fuse
from secam_onnx.files import temporary_folder

__all__ = ["fused_run"]


def fused_run(model: Path, explainer: Explainer, pictures: Sequence[np.ndarray]) -> Callable[[], None]:
    """Make a call that runs the fused file, overlay of the top class included, on pictures `(h, w, 3)` uint8.

    Raises
    ------
    SecamError
        The model cannot be fused.
    """
    ort = runtime.load()
    options = ort.SessionOptions()
    options.log_severity_level = 3  # ONNX Runtime warns of inputs with defaults
    with temporary_folder() as room:
        file = room / "fused.onnx"
        fuse(model, file, preprocessing=explainer.preprocessing)
        session = ort.InferenceSession(str(file), options, providers=list(explainer.providers))
    batch = np.stack(pictures)
    size = session.get_inputs()[0].shape[0]
    size = size if isinstance(size, int) else len(batch)

    def run() -> None:
        for start in range(0, len(batch), size):
            session.run(None, {"image": batch[start : start + size]})

    return run
