import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secam_onnx.errors import OptionError
from secam_onnx.superpixels.selection import DEFAULT_COVERAGE, Selection

# Multiples of 1/8: sums are exact, and ties and zeros come up.
VALUES = st.integers(-40, 40).map(lambda number: number / 8)
PAIRS = hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 9)), elements=VALUES)
SHARES = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])


def best_first(scores: np.ndarray) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


@given(PAIRS, st.integers(1, 12))
def test_top_segments_are_the_highest(pair, count):
    scores, contributions = pair
    keep = Selection(top_segments=count).keep(scores, contributions)
    assert keep.dtype == bool
    assert np.flatnonzero(keep).tolist() == sorted(best_first(scores)[:count])


@given(PAIRS, SHARES)
def test_threshold_is_a_fraction_of_the_highest(pair, share):
    scores, contributions = pair
    keep = Selection(threshold=share).keep(scores, contributions)
    assert keep.tolist() == [score > 0 and score >= share * max(scores) for score in scores]


@given(PAIRS, SHARES)
def test_coverage_is_the_shortest_run_that_carries_the_share(pair, share):
    scores, contributions = pair
    speaking = [index for index in best_first(scores) if contributions[index] > 0]
    wanted = share * sum(contributions[index] for index in speaking)
    runs = (speaking[:length] for length in range(len(speaking) + 1))
    expected = next(run for run in runs if sum(contributions[index] for index in run) >= wanted)
    keep = Selection(coverage=share).keep(scores, contributions)
    assert np.flatnonzero(keep).tolist() == sorted(expected)


@given(hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(1e-3, 1e3)), SHARES)
def test_coverage_needs_the_fewest_when_superpixels_are_of_one_size(values, share):
    # Equal areas make scores and contributions proportional; then no other choice of superpixels is smaller.
    kept = Selection(coverage=share).keep(values, values * 3).sum()
    enough = (
        size
        for size in range(1, len(values) + 1)
        for chosen in itertools.combinations(values, size)
        if sum(chosen) >= share * values.sum() * (1 - 1e-9)
    )
    assert kept == next(enough)


def test_shares_that_are_no_binary_fractions():
    # 0.1 + 0.2 > 0.3 in floating point: the last superpixel must not slip in, or out.
    values = np.array([0.4, 0.3, 0.2, 0.1])
    assert Selection(coverage=0.7).keep(values, values).tolist() == [True, True, False, False]
    assert Selection(coverage=0.9).keep(values, values).tolist() == [True, True, True, False]
    assert Selection(coverage=1.0).keep(values, values).all()


def test_default_is_half():
    values = np.array([5.0, 1.0, 4.0])
    assert DEFAULT_COVERAGE == 0.5
    assert Selection().keep(values, values).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("selection", "kept"),
    [(Selection(), 0), (Selection(coverage=1), 0), (Selection(threshold=0.01), 0), (Selection(top_segments=2), 2)],
)
@pytest.mark.parametrize("values", [[-1.0, -2.0, -0.5], [0.0, 0.0, 0.0]])
def test_nothing_speaks_for_the_class(selection, kept, values):
    keep = selection.keep(np.array(values), np.array(values))
    assert keep.sum() == kept
    if kept:
        assert keep[np.argmax(values)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_segments": 3, "coverage": 0.5}, "top_segments and coverage were given together"),
        ({"top_segments": 3, "threshold": 0.5, "coverage": 0.5}, "top_segments and threshold and coverage"),
        ({"top_segments": 0}, "top_segments is 0; a whole number, 1 or more"),
        ({"threshold": 0.0}, "threshold is 0.0; a number above 0"),
        ({"threshold": 1.01}, "threshold is 1.01"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"coverage": -0.5}, "coverage is -0.5"),
        ({"coverage": 2}, "coverage is 2"),
    ],
    ids=str,
)
def test_bad_options(options, message):
    with pytest.raises(OptionError, match=message):
        Selection(**options)


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection(), "coverage 50%"),
        (Selection(coverage=0.8), "coverage 80%"),
        (Selection(threshold=0.25), "score at least 25% of the highest"),
        (Selection(top_segments=7), "top 7"),
    ],
)
def test_says_what_it_does(selection, text):
    assert str(selection) == text
