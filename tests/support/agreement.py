"""When two answers are the same: labels equal, numbers within 1e-3 of the largest, pictures within a grey level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx.explanation import Explanation
from secam_onnx.explanation.overlays import kept_overlay
from secam_onnx.superpixels.selection import Selection

if TYPE_CHECKING:
    from cases import Case
    from engines import Result

__all__ = ["agree", "batch_agrees_with_singles", "difference", "explanations_agree"]

CLOSE = 1e-3
EXACT = {"class_ids", "segments", "n_segments"}
PICTURES = {"overlay"}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest number that was expected."""
    largest = np.abs(expected).max(initial=0)
    return float(np.abs(found - expected).max(initial=0) / (largest or 1))


def agree(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Compare all tensors that are expected."""
    for name, wanted in expected.items():
        value = found[name]
        assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), name
        if name in EXACT:
            np.testing.assert_array_equal(value, wanted, err_msg=name)
        elif name in PICTURES:
            assert np.abs(value.astype(int) - wanted).max() <= 1, name
        else:
            assert difference(value, wanted) < CLOSE, name


def explanations_agree(case: Case, results: Sequence[Result]) -> None:
    """Compare what a fused model says of single pictures with what the package says of them."""
    for picture, expected, result in zip(case.pictures, case.explanations, results[: len(case.pictures)], strict=True):
        _agrees_with(expected, result.outputs, picture, case.fusion.selection)


def batch_agrees_with_singles(results: Sequence[Result]) -> None:
    """Compare the last result, of all pictures at once, with the others."""
    *singles, batch = (result.outputs for result in results)
    for index, single in enumerate(singles):
        agree({name: value[index : index + 1] for name, value in batch.items()}, single)


def _agrees_with(
    expected: Explanation, found: Mapping[str, np.ndarray], picture: np.ndarray, selection: Selection
) -> None:
    count = expected.segment_scores.shape[1]
    wanted = {
        "class_ids": np.array([[entry.index for entry in expected.classes]]),
        "class_logits": np.array([[entry.logit for entry in expected.classes]], np.float32),
        "class_probabilities": np.array([[entry.probability for entry in expected.classes]], np.float32),
        "cam": expected.cam[None].astype(np.float32),
        "bias": expected.bias[None].astype(np.float32),
        "segments": expected.segments[None].astype(np.int32),
        "n_segments": np.array([count], np.int32),
        "segment_scores": expected.segment_scores[None].astype(np.float32),
        "segment_contributions": expected.segment_contributions[None].astype(np.float32),
    }
    sums = ("segment_scores", "segment_contributions")
    assert not any(found[name][..., count:].any() for name in sums)
    agree({**found, **{name: found[name][..., :count] for name in sums}}, wanted)
    for drawn, scores, contributions in zip(
        found["overlay"][0], expected.segment_scores, expected.segment_contributions, strict=True
    ):
        kept = kept_overlay(picture, expected.segments, selection.keep(scores, contributions))
        assert np.abs(drawn.astype(int) - kept).max() <= 1
