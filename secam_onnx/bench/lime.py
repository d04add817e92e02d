"""LIME of the same model file, called as its documentation does, with its own defaults."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from secam_onnx.errors import MissingDependencyError

__all__ = ["lime_explanation"]

_FEW = 32  # samples of the run that warms up


def lime_explanation(classify: Callable[[np.ndarray], np.ndarray], seen: np.ndarray, samples: int) -> Callable[[], Any]:
    """A call that explains one picture with LIME.

    Parameters
    ----------
    classify : callable
        From `(N, h, w, 3)` uint8 to probabilities `(N, classes)`.
    seen : ndarray
        `(h, w, 3)` uint8, what the model sees.
    samples : int
        Perturbed pictures that the model is asked about. All else is LIME's default: quickshift's superpixels, five
        classes, ten pictures a forward pass.

    Raises
    ------
    MissingDependencyError
        The package `lime` is not installed.
    """
    try:
        from lime.lime_image import LimeImageExplainer
    except ImportError as error:
        raise MissingDependencyError("LIME is not installed: pip install lime") from error
    explainer = LimeImageExplainer(random_state=0)

    def explain(number: int = samples) -> Any:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return explainer.explain_instance(seen, classify, num_samples=number)

    explain(min(samples, _FEW))
    return explain
