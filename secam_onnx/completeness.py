"""The completeness error: how far the parts of an explanation are from adding up to the logit."""

from __future__ import annotations

import numpy as np

__all__ = ["TOLERANCE", "completeness_error", "tolerance_of"]

TOLERANCE = 1e-3
"""The largest relative error that counts as exact; float32 gives about 1e-6."""


def tolerance_of(epsilon: float) -> float:
    """The tolerance for a network that computes with this machine epsilon."""
    return max(TOLERANCE, 16 * epsilon)


def completeness_error(
    parts: np.ndarray, bias: np.ndarray, logits: np.ndarray, rounding: np.ndarray | float = 0.0
) -> float:
    """Largest `|sum(parts) + bias - logit|`, relative to the larger of `|logit|` and `sum |parts|`.

    Parameters
    ----------
    parts : ndarray
        `(K, n)`, the parts of the logits: cells of the maps, or contributions of superpixels.
    bias, logits : ndarray
        `(K,)`.
    rounding : ndarray
        `(K,)`, not negative: the error of each logit that does not count.

    Returns
    -------
    float
        The error; NaN if any number is NaN.
    """
    total = parts.sum(axis=1, dtype=np.float64) + bias
    size = np.maximum(np.abs(logits), np.abs(parts).sum(axis=1, dtype=np.float64))
    error = np.abs(total - logits)
    error = np.where(error > rounding, error - rounding, error * 0)  # keeps NaN
    return float(np.max(error / np.maximum(size, 1e-30)))
