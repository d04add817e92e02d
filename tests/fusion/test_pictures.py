"""Pictures as ONNX nodes: the same as Preprocessing, Selection and the renderer make."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nodes import evaluate

from secam_onnx.explanation.overlays import kept_overlay
from secam_onnx.fusion.pictures import normalised, overlay
from secam_onnx.graph.nodes import Nodes
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.superpixels.pooling_nodes import Pooled
from secam_onnx.superpixels.selection import Selection

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channel_order", ["RGB", "BGR"])
@pytest.mark.parametrize("preset", ["torchvision", "lite", "keras-caffe", "raw"])
def test_the_network_is_fed_the_same_numbers(layout, channel_order, preset):
    preprocessing = Preprocessing.preset(preset, (9, 14), layout, channel_order=channel_order)
    image = RANDOM.integers(0, 256, (2, 9, 14, 3), dtype=np.uint8)
    n = Nodes()
    inputs = evaluate(n, normalised(n, "image", preprocessing, TensorProto.FLOAT), image=image)
    expected = np.concatenate([preprocessing.normalise(picture) for picture in image])
    np.testing.assert_array_equal(inputs, expected)


def test_other_types_of_input():
    preprocessing = Preprocessing.preset("raw", (5, 5))
    image = RANDOM.integers(0, 256, (1, 5, 5, 3), dtype=np.uint8)
    for elem_type, dtype in ((TensorProto.UINT8, np.uint8), (TensorProto.FLOAT16, np.float16)):
        n = Nodes()
        inputs = evaluate(n, normalised(n, "image", preprocessing, elem_type), image=image)
        assert inputs.dtype == dtype
        np.testing.assert_array_equal(inputs, preprocessing.normalise(image[0]).astype(dtype))


SELECTIONS = {
    "half": Selection(),
    "all of it": Selection(coverage=1.0),
    "a little": Selection(coverage=0.01),
    "first three": Selection(top_segments=3),
    "more than there are": Selection(top_segments=100),
    "threshold": Selection(threshold=0.6),
    "only the best": Selection(threshold=1.0),
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_the_overlay_is_what_the_renderer_draws(selection):
    size, segments = (12, 10), 8
    image = RANDOM.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    counts = (segments, 5)  # the second picture has fewer superpixels
    labels = np.stack([RANDOM.permutation(np.arange(120) % count).reshape(size) for count in counts]).astype(np.int32)
    scores = RANDOM.standard_normal((2, 4, segments)).astype(np.float32)
    scores[:, 1] = -abs(scores[:, 1])  # nothing speaks for that class
    scores[:, 2] = abs(scores[:, 2])
    scores[:, 3, 1::2] = scores[:, 3, ::2]  # ties
    contributions = scores * RANDOM.uniform(0.5, 2, (2, 1, segments)).astype(np.float32)
    pixels = np.stack([np.bincount(picture.ravel(), minlength=segments) for picture in labels])
    scores[1, :, 5:] = contributions[1, :, 5:] = 0
    n = Nodes()
    name = overlay(n, "image", "segments", Pooled("segment_scores", "segment_contributions", "pixels"), selection, size)
    drawn = evaluate(
        n,
        name,
        image=image,
        segments=labels,
        segment_scores=scores,
        segment_contributions=contributions,
        pixels=pixels[:, None].astype(np.float32),
    )
    assert drawn.shape == (2, 4, *size, 3)
    for row, count in enumerate(counts):
        for k in range(4):
            keep = selection.keep(scores[row, k, :count], contributions[row, k, :count])
            np.testing.assert_array_equal(drawn[row, k], kept_overlay(image[row], labels[row], keep))
