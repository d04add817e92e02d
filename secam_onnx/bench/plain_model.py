"""The plain forward pass: a bare session of ONNX Runtime with its defaults, the lower limit of all times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from secam_onnx import runtime
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["PlainModel"]


class PlainModel:
    """A model file in a bare session.

    Parameters
    ----------
    path : Path
        The ONNX file.
    providers : sequence of str
        ONNX Runtime's names.
    """

    def __init__(self, path: Path, providers: Sequence[str]) -> None:
        # Not `runtime.open_session`, whose options are meant for two sessions that share the cores.
        self._session = runtime.load().InferenceSession(str(path), providers=list(providers))
        self._entry = self._session.get_inputs()[0]
        self._output = self._session.get_outputs()[0].name
        self._dtype = runtime.input_dtype(self._session)

    def inputs(self, seen: Sequence[np.ndarray], preprocessing: Preprocessing) -> np.ndarray:
        """Make the input tensor for pictures `(h, w, 3)` uint8."""
        return np.concatenate([preprocessing.normalise(picture) for picture in seen]).astype(self._dtype, copy=False)

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """Run the model, in parts where the file fixes the batch axis; return its first output."""
        size = self._entry.shape[0] if isinstance(self._entry.shape[0], int) else len(inputs)
        parts = [
            self._session.run([self._output], {self._entry.name: inputs[start : start + size]})[0]
            for start in range(0, len(inputs), size)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
