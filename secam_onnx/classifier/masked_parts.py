"""Which parts of a feature map are masked: its cells, or superpixels where that takes far fewer runs of the head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secam_onnx.head import each_cell
from secam_onnx.superpixels.pooling import centres

__all__ = ["masked_parts"]

_WORTH = 2  # superpixels blur the map, so they must save at least half of the runs


def masked_parts(
    label_maps: Sequence[np.ndarray | None], map_size: tuple[int, int], at_once: int
) -> tuple[np.ndarray, list[int | None]]:
    """Choose the parts for each picture; a cell belongs to the superpixel under its centre, whole.

    A normalisation would make a cell that is kept in part as large again as a whole one.

    Parameters
    ----------
    label_maps : sequence of ndarray or None
        For each picture its superpixels `(H, W)`; None where there are none.
    map_size : (int, int)
        Rows and columns of the feature map.
    at_once : int
        The number of masks in one run of the head.

    Returns
    -------
    parts : ndarray
        `(N, h, w)` int64, the number of each cell's part, from 0 without gaps.
    superpixels : list of int or None
        For each picture, how many superpixels are its parts; None where its cells are.
    """
    cells = each_cell(*map_size)[0]
    parts, superpixels = [], []
    for labels in label_maps:
        numbers, own = cells, None
        if labels is not None:
            found, under = np.unique(labels[centres(cells.ravel(), labels.shape, map_size)], return_inverse=True)
            if _WORTH * _runs(len(found), at_once) <= _runs(cells.size, at_once):
                numbers, own = under.reshape(map_size), len(found)
        parts.append(numbers)
        superpixels.append(own)
    return np.stack(parts).astype(np.int64), superpixels


def _runs(parts: int, at_once: int) -> int:
    return -(-(parts + 2) // at_once)
