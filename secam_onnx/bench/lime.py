"""LIME on the same model file, called as in its documentation, with its defaults."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from secam_onnx.errors import MissingDependencyError

__all__ = ["lime_explanation"]

_FEW = 32  # samples for the warm-up


def lime_explanation(classify: Callable[[np.ndarray], np.ndarray], seen: np.ndarray, samples: int) -> Callable[[], Any]:
    """Make a call that explains one picture with LIME.

    Parameters
    ----------
    classify : callable
        Gives probabilities `(N, classes)` for pictures `(N, h, w, 3)` uint8.
    seen : ndarray
        `(h, w, 3)` uint8, what the model sees.
    samples : int
        Perturbed pictures that the model classifies. Everything else is LIME's default: superpixels by quickshift, five
        classes, ten pictures per forward pass.

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
