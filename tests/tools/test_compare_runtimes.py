"""The pictures and figures of the comparison of engines; the engines themselves are tested in `tests/runtimes`."""

import numpy as np
import pytest
from compare_runtimes import HEADER, compared, views
from engines import Result


def answer(label: int, contribution: float, brightness: int) -> Result:
    return Result(
        {
            "segment_contributions": np.array([[[contribution, -4.0]]], np.float32),
            "segment_scores": np.ones((1, 1, 2), np.float32),
            "cam": np.ones((1, 1, 2, 2), np.float32),
            "class_ids": np.array([[3]]),
            "segments": np.array([[[0, label]]], np.int32),
            "overlay": np.array([100, brightness], np.uint8),
        }
    )


def test_views_are_the_same_each_time_and_differ_from_each_other() -> None:
    pictures = views((40, 60), 6)
    assert (pictures.shape, pictures.dtype) == ((6, 40, 60, 3), np.uint8)
    np.testing.assert_array_equal(pictures, views((40, 60), 6))
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_differences_are_counted() -> None:
    expected = [answer(1, 2.0, 100)] * 3
    results = [answer(1, 2.0, 101), answer(1, 2.04, 98), answer(0, 3.0, 0)]
    row = dict(zip(HEADER[1:], compared(results, expected, 30, 20), strict=True))
    assert row["labels differ in"] == "1 of 3"
    assert float(row["labels"]) == pytest.approx(1 / 6, rel=0.05)
    assert float(row["contributions"]) == 0.01  # of 4, the largest
    assert float(row["contributions, other labels"]) == 0.25
    assert float(row["overlay"]) == 0.25  # a grey level may differ
    assert (row["classes"], row["ms"], row["/ forward"]) == ("equal", "30", "1.50")
