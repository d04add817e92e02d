"""From feature cells to superpixels: the matrices A (contributions) and B (mean scores).

Bilinear upsampling is linear, so no upsampled map is needed. With `w(cell, p)` the bilinear weight of a feature cell at
pixel `p`:

    A[cell, s] = sum_{p in s} w(cell, p) / sum_p w(cell, p)      contribution  K_c = M_c @ A     (rows of A sum to 1)
    B[cell, s] = sum_{p in s} w(cell, p) / |s|                   mean score    S_c = M_c @ B     (columns of B sum to 1)
"""

from __future__ import annotations

import numpy as np

__all__ = ["bilinear_axis", "pooling_matrices"]


def bilinear_axis(cells: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear interpolation along one axis, half-pixel centres, edges clamped (`align_corners=False`).

    Parameters
    ----------
    cells : int
        Length of the coarse axis.
    position : ndarray
        `(pixels,)`, centres of the fine pixels as fractions in [0, 1] of the axis.

    Returns
    -------
    lower, upper : ndarray
        `(pixels,)` int64, the two cells that reach each pixel.
    weight : ndarray
        `(pixels,)` float64 in [0, 1], the weight of `upper`; `lower` has the rest.
    """
    cell = np.clip(position * cells - 0.5, 0, cells - 1)
    lower = np.floor(cell).astype(np.int64)
    return lower, np.minimum(lower + 1, cells - 1), cell - lower


def pooling_matrices(segments: np.ndarray, map_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Build A and B for one label map.

    Parameters
    ----------
    segments : ndarray
        `(H, W)` integers, dense labels 0..S-1.
    map_size : (int, int)
        Rows `h` and columns `w` of the feature map.

    Returns
    -------
    contribution : ndarray
        A, `(h * w, S)` float64. A cell that reaches no pixel (a map finer than the picture) gives its share to the
        superpixel under its centre, so that every row sums to one.
    mean_score : ndarray
        B, `(h * w, S)` float64; columns sum to one.
    """
    (height, width), (rows, columns) = segments.shape, map_size
    n_segments = int(segments.max()) + 1
    left, right, across = bilinear_axis(columns, (np.arange(width) + 0.5) / width)
    # Along the columns by counting, for every row of pixels alone; then along the rows by a product.
    index = np.arange(height)[:, None] * (columns * n_segments) + segments
    flat = np.zeros(height * columns * n_segments)
    for x, wx in ((left, 1 - across), (right, across)):
        each = np.broadcast_to(wx, segments.shape)
        flat += np.bincount((index + x * n_segments).ravel(), each.ravel(), minlength=flat.size)
    weights = _axis_weights(rows, height) @ flat.reshape(height, columns * n_segments)
    weights = weights.reshape(rows * columns, n_segments)
    reach = weights.sum(axis=1)
    contribution = weights / np.where(reach > 0, reach, 1)[:, None]
    unseen = np.flatnonzero(reach == 0)
    if unseen.size:
        y = (unseen // columns * 2 + 1) * height // (2 * rows)
        x = (unseen % columns * 2 + 1) * width // (2 * columns)
        contribution[unseen, segments[y, x]] = 1
    return contribution, weights / np.bincount(segments.ravel(), minlength=n_segments)


def _axis_weights(cells: int, pixels: int) -> np.ndarray:
    """Bilinear weight of every cell at every pixel of an axis, `(cells, pixels)`."""
    lower, upper, weight = bilinear_axis(cells, (np.arange(pixels) + 0.5) / pixels)
    weights = np.zeros((cells, pixels))
    weights[lower, np.arange(pixels)] = 1 - weight
    weights[upper, np.arange(pixels)] += weight
    return weights
