"""Tokens of outlying norm, in which some transformers keep what belongs to no place; they are named, not smoothed.

T. Darcet, M. Oquab, J. Mairal, P. Bojanowski, "Vision transformers need registers", arXiv 2309.16588: in large networks
about one token in fifty, mostly of the background, has several times the usual norm.
"""

from __future__ import annotations

import numpy as np

from secam_onnx.classifier.metadata import HeadRecord

__all__ = ["outlier_tokens"]

_FACTOR = 3.0  # of the median; in DINOv2-small, which has no outliers, no token of 16 photographs has more than 2.3
_MOST = 0.1  # of all tokens; more are no outliers


def outlier_tokens(features: np.ndarray, head: HeadRecord) -> list[list[tuple[int, int]]]:
    """Find the cells whose norm is more than three times the median of a picture, if these are a tenth at most.

    Parameters
    ----------
    features : ndarray
        `(N, tokens, C)` or `(N, C, h, w)` float32, the feature map as the contribution model takes it.
    head : HeadRecord
        The head that takes it.

    Returns
    -------
    list of list of (int, int)
        For each picture, rows and columns on the grid of the map.
    """
    _, rows, columns = head.shape if features.ndim == 3 else (None, *features.shape[2:])
    assert rows is not None
    assert columns is not None
    if features.ndim == 3:
        tokens = features[:, head.prefix : head.prefix + rows * columns]
        norms = np.linalg.norm(tokens, axis=2)
    else:
        norms = np.linalg.norm(features, axis=1).reshape(len(features), -1)
    high = norms > _FACTOR * np.median(norms, axis=1, keepdims=True)
    high &= high.mean(axis=1, keepdims=True) <= _MOST
    return [[divmod(int(place), columns) for place in np.flatnonzero(row)] for row in high]
