"""Insertion and deletion of a score whose curves are known, and the bootstrap interval."""

import numpy as np
import pytest

from studies.evaluation.faithfulness import Canvas
from studies.evaluation.intervals import interval, text

WHITE = np.full((8, 16, 3), 255, dtype=np.uint8)
STRIPS = np.tile(np.repeat(np.arange(8), 2), (8, 1))


def left_half(pictures: np.ndarray) -> dict[str, np.ndarray]:
    return {"": pictures[:, :, :8].mean(axis=(1, 2, 3)) / 255}


@pytest.mark.parametrize(("direction", "insertion"), [(-1, 0.75), (1, 0.25)])
def test_areas_of_a_score_that_sees_the_left_half_only(direction: int, insertion: float) -> None:
    canvas = Canvas(WHITE, (0.0, 0.0, 0.0), left_half)
    found = canvas.faithfulness({"ranking": (STRIPS, direction * np.arange(8.0))})["ranking"]
    assert found["plain"][""] == pytest.approx((insertion, 1 - insertion))
    assert found["blurred"][""] == pytest.approx((1, 1))  # white stays white


def test_pixels_are_ranked_as_superpixels_of_their_own() -> None:
    canvas = Canvas(WHITE, (0.0, 0.0, 0.0), left_half)
    pixels = np.arange(128).reshape(8, 16)
    by_pixel = canvas.faithfulness({"": (pixels, -STRIPS.ravel().astype(float))})[""]
    by_strip = canvas.faithfulness({"": (STRIPS, -np.arange(8.0))})[""]
    assert by_pixel["plain"][""] == pytest.approx(by_strip["plain"][""])


def test_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400).tolist()
    mean, low, high = interval(values)
    assert mean == pytest.approx(np.mean(values))
    # The standard error is 2 / 20; the interval has 1.96 of them on each side.
    assert (mean - low, high - mean) == pytest.approx((0.196, 0.196), rel=0.15)
    assert text((0.5, -1, 2), "+.1f") == "+0.5 [-1.0, +2.0]"


def test_members_of_a_group_are_no_samples_of_their_own() -> None:
    values, groups = [0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"]
    assert interval(values, groups) == (0.5, 0.0, 1.0)
