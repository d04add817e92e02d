"""LIME over given superpixels, in closed form, so that one set of masks serves several heads and numbers of masks."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import mean as mean_of_labels
from sklearn.linear_model import Ridge

__all__ = ["KERNEL", "masked_pictures", "masks", "regress"]

KERNEL = 0.25  # LIME's default width


def masks(count: int, segments: np.ndarray, seed: int) -> np.ndarray:
    """`(count, S)` bool: the first shows everything, the others half of the superpixels by chance."""
    shown = np.random.default_rng(seed).random((count, segments.max() + 1)) < 0.5
    shown[0] = True
    return shown


def masked_pictures(picture: np.ndarray, segments: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """`(n, H, W, 3)` uint8: superpixels that are not shown have their mean colour."""
    index = np.arange(segments.max() + 1)
    colours = np.stack([mean_of_labels(picture[..., c], segments, index) for c in range(3)], -1)
    flat = colours.astype(np.uint8)[segments]
    return np.where(shown[:, segments][..., None], picture, flat)


def regress(shown: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weight of each superpixel in LIME's regression: ridge, samples weighted by their cosine to the whole picture."""
    distance = 1 - np.sqrt(shown.mean(1))  # cosine distance of a row of 0 and 1 to the row of 1
    weight = np.sqrt(np.exp(-((distance / KERNEL) ** 2)))
    fitted: np.ndarray = Ridge(alpha=1).fit(shown.astype(float), values, sample_weight=weight).coef_
    return fitted
