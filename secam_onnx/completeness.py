"""How far a sum of parts is from the logit that it should be: the promise of every map, measured in one way."""

from __future__ import annotations

import numpy as np

__all__ = ["TOLERANCE", "completeness_error", "tolerance_of"]

TOLERANCE = 1e-3
"""Largest relative error that counts as exact; float32 gives about 1e-6."""


def tolerance_of(epsilon: float) -> float:
    """The same for a network whose own numbers are that coarse: the distance from 1 to the next larger one."""
    return max(TOLERANCE, 16 * epsilon)


def completeness_error(
    parts: np.ndarray, bias: np.ndarray, logits: np.ndarray, rounding: np.ndarray | float = 0.0
) -> float:
    """Largest `|sum(parts) + bias - logit|`, relative to the larger of `|logit|` and `sum |parts|`.

    Parameters
    ----------
    parts : ndarray
        `(K, n)`, what the logits are made of: cells of the maps, or contributions of superpixels.
    bias, logits : ndarray
        `(K,)`.
    rounding : ndarray
        `(K,)`, not negative: by how much each may be off without counting.

    Returns
    -------
    float
        NaN if anything is.
    """
    total = parts.sum(axis=1, dtype=np.float64) + bias
    size = np.maximum(np.abs(logits), np.abs(parts).sum(axis=1, dtype=np.float64))
    error = np.abs(total - logits)
    error = np.where(error > rounding, error - rounding, error * 0)  # NaN stays
    return float(np.max(error / np.maximum(size, 1e-30)))
