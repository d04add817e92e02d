"""Pooling as ONNX nodes: the same as the matrices of `pooling`, which are tested by themselves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from label_maps import MAP_SIZE, label_maps
from onnx_nodes import evaluate

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels import pooling_matrices
from secam_onnx.superpixels.pooling_nodes import pooled


@given(st.lists(label_maps(), min_size=1, max_size=2), MAP_SIZE, st.integers(1, 3), st.integers(0, 2))
def test_scores_contributions_and_pixels(pictures, map_size, classes, more):
    size = pictures[0].shape
    pictures = [np.resize(picture, size).astype(np.int32) for picture in pictures]
    pictures = [np.unique(picture, return_inverse=True)[1].reshape(size).astype(np.int32) for picture in pictures]
    count = max(picture.max() for picture in pictures) + 1 + more  # more than there are
    maps = np.random.default_rng(0).standard_normal((len(pictures), classes, *map_size)).astype(np.float32)
    n = Nodes()
    names = pooled(n, "cam", "segments", size, map_size, int(count))
    given_ = {"cam": maps, "segments": np.stack(pictures)}
    scores, contributions, pixels = (
        evaluate(n, name, **given_) for name in (names.segment_scores, names.segment_contributions, names.pixels)
    )
    assert scores.shape == contributions.shape == (len(pictures), classes, count)
    for row, picture in enumerate(pictures):
        there = picture.max() + 1
        contribution, mean_score = pooling_matrices(picture, map_size)
        cells = maps[row].reshape(classes, -1)
        np.testing.assert_allclose(scores[row, :, :there], cells @ mean_score, atol=2e-6)
        np.testing.assert_allclose(contributions[row, :, :there], cells @ contribution, atol=1e-5)
        np.testing.assert_allclose(pixels[row, 0, :there], np.bincount(picture.ravel()), rtol=1e-5)
        assert not scores[row, :, there:].any()
        assert not contributions[row, :, there:].any()
        assert not pixels[row, :, there:].any()
