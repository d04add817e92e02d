"""How good superpixels are, as numbers of one label map; definitions after Stutz, Hermans, Leibe (2018).

D. Stutz, A. Hermans, B. Leibe, "Superpixels: an evaluation of the state-of-the-art", Computer Vision and Image
Understanding 166, 2018. Label maps are `(H, W)` integers 0..S-1 without gaps; pixels are neighbours across an edge.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from skimage.measure import label

__all__ = ["against_truth", "boundaries", "boundary_recall", "of_shape", "undersegmentation"]

TOLERANCE = 0.0025  # of the picture's diagonal


def undersegmentation(segments: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """How much of the superpixels lies across the borders of the true regions, as a share of the pixels.

    Parameters
    ----------
    segments, truth : ndarray
        Label maps of one shape.

    Returns
    -------
    both_sides : float
        Neubert and Protzel (2012): of each superpixel the smaller part, in or out, counted for each region that it
        touches.
    corrected : float
        Van den Bergh et al. (2012): what lies outside the region that a superpixel has most of; 1 - achievable
        segmentation accuracy.
    """
    regions, count = int(truth.max()) + 1, int(segments.max()) + 1
    shared = np.bincount((truth * count + segments).ravel(), minlength=regions * count).reshape(regions, count)
    outside = shared.sum(axis=0) - shared
    return float(np.minimum(shared, outside).sum() / segments.size), float(outside.min(axis=0).sum() / segments.size)


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Pixels `(H, W)` bool that have a neighbour of another label."""
    found = np.zeros(labels.shape, dtype=bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    for part, where in ((across, np.s_[:, 1:]), (across, np.s_[:, :-1]), (down, np.s_[1:]), (down, np.s_[:-1])):
        found[where] |= part
    return found


def boundary_recall(segments: np.ndarray, truth: np.ndarray, radius: int) -> float:
    """Share of the true boundary pixels with a superpixel's boundary at most `radius` rows and columns away."""
    true = boundaries(truth)
    near = maximum_filter(boundaries(segments), size=2 * radius + 1, mode="constant")
    return float(near[true].mean()) if true.any() else float("nan")


def against_truth(segments: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All that needs the true regions."""
    both_sides, corrected = undersegmentation(segments, truth)
    radius = round(TOLERANCE * float(np.hypot(*segments.shape)))
    return {
        "undersegmentation": both_sides,
        "corrected undersegmentation": corrected,
        "boundary recall": boundary_recall(segments, truth, radius),
        "boundary recall, 2 px": boundary_recall(segments, truth, 2),
    }


def of_shape(segments: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """All that needs no truth.

    Returns
    -------
    dict
        `superpixels`, their number. `explained variation` of the colours by the superpixels' means (Moore et al. 2008),
        1 at best. `compactness` (Schick et al. 2012), 1 for circles, pi / 4 for squares; the picture's edge is part of
        the perimeter. `boundary`, the share of pixels at one. `stray pieces` and `stray area`: connected parts beyond a
        superpixel's largest one, their number and their share of the pixels.
    """
    count, flat = int(segments.max()) + 1, segments.ravel()
    areas = np.bincount(flat, minlength=count)
    colours = picture.reshape(-1, 3).astype(float)
    means = np.stack([np.bincount(flat, channel, minlength=count) for channel in colours.T], axis=1) / areas[:, None]
    spread = np.square(colours - colours.mean(axis=0)).sum()
    between = (areas * np.square(means - colours.mean(axis=0)).sum(axis=1)).sum()
    framed = np.pad(segments, 1, constant_values=count)
    edges = np.zeros(count + 1)
    for one, other in ((framed[:, 1:], framed[:, :-1]), (framed[1:], framed[:-1])):
        apart = one != other
        edges += np.bincount(one[apart], minlength=count + 1) + np.bincount(other[apart], minlength=count + 1)
    pieces = label(segments, background=-1, connectivity=1) - 1
    sizes = np.bincount(pieces.ravel())
    largest = np.zeros(count, dtype=np.int64)
    owner = np.zeros(len(sizes), dtype=np.int64)
    owner[pieces.ravel()] = flat
    np.maximum.at(largest, owner, sizes)
    return {
        "superpixels": float(count),
        "explained variation": float(between / spread) if spread else 1.0,
        "compactness": float((areas * 4 * np.pi * areas / np.square(edges[:count])).sum() / segments.size),
        "boundary": float(boundaries(segments).mean()),
        "stray pieces": float(len(sizes) - count),
        "stray area": float(1 - largest.sum() / segments.size),
    }
