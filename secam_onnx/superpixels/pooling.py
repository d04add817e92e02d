"""From feature cells to superpixels: the matrices A (contributions) and B (scores).

Bilinear upsampling is linear, so the map itself is never upsampled. With `w(cell, p)`, the bilinear weight of a feature
cell at pixel `p`:

    A[cell, s] = sum_{p in s} w(cell, p) / sum_p w(cell, p)      contribution  K_c = M_c @ A   (rows of A sum to 1)
    B[cell, s] = sum_{p in s} w(cell, p) / |s|                   score         S_c = M_c @ B   (columns of B sum to 1)
"""

from __future__ import annotations

import numpy as np

__all__ = ["bilinear_axis", "centres", "pooling_matrices"]


def bilinear_axis(cells: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolate bilinearly along one axis, with half-pixel centres and clamped edges (`align_corners=False`).

    Parameters
    ----------
    cells : int
        Number of cells along the axis.
    position : ndarray
        `(pixels,)`, centres of the pixels as fractions of the axis, in [0, 1].

    Returns
    -------
    lower, upper : ndarray
        `(pixels,)` int64, the two cells that each pixel lies between.
    weight : ndarray
        `(pixels,)` float64 in [0, 1], the weight of `upper`; `lower` has the rest.
    """
    cell = np.clip(position * cells - 0.5, 0, cells - 1)
    lower = np.floor(cell).astype(np.int64)
    return lower, np.minimum(lower + 1, cells - 1), cell - lower


def centres(cells: np.ndarray, size: tuple[int, ...], map_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of an `(H, W)` picture under the centres of some cells of an `(h, w)` map."""
    (height, width), (rows, columns) = size, map_size
    y = (cells // columns * 2 + 1) * height // (2 * rows)
    return y, (cells % columns * 2 + 1) * width // (2 * columns)


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
        A, `(h * w, S)` float64; rows sum to one. Where the map is finer than the picture, a cell that reaches no pixel
        belongs to the superpixel under its centre.
    mean_score : ndarray
        B, `(h * w, S)` float64; columns sum to one.
    """
    (height, width), (rows, columns) = segments.shape, map_size
    n_segments = int(segments.max()) + 1
    top, _, down = bilinear_axis(rows, (np.arange(height) + 0.5) / height)
    left, _, across = bilinear_axis(columns, (np.arange(width) + 0.5) / width)
    # A row of pixels falls into runs within one superpixel and between the same two cells; runs are far fewer.
    begins = np.ones(segments.shape, dtype=bool)
    np.not_equal(segments[:, 1:], segments[:, :-1], out=begins[:, 1:])
    begins[:, np.flatnonzero(np.diff(left)) + 1] = True
    run = np.flatnonzero(begins)
    y, x = np.divmod(run, width)
    length = np.diff(run, append=segments.size)
    towards_right = np.append(0, np.cumsum(across))
    towards_right = towards_right[x + length] - towards_right[x]
    label = segments.ravel()[run]
    place = (top[y] * columns + left[x]) * n_segments + label
    # On each axis there is one more cell beyond the edge, of weight 0.
    spread = np.zeros((rows + 1, columns + 1, n_segments))
    for below, vertical in enumerate((1 - down[y], down[y])):
        for beside, horizontal in enumerate((length - towards_right, towards_right)):
            each = np.bincount(place, vertical * horizontal, minlength=rows * columns * n_segments)
            spread[below : below + rows, beside : beside + columns] += each.reshape(rows, columns, n_segments)
    weights = spread[:rows, :columns].reshape(rows * columns, n_segments)
    reach = weights.sum(axis=1)
    contribution = weights / np.where(reach > 0, reach, 1)[:, None]
    unseen = np.flatnonzero(reach == 0)
    if unseen.size:
        contribution[unseen, segments[centres(unseen, segments.shape, map_size)]] = 1
    return contribution, weights / np.bincount(label, length, minlength=n_segments)
