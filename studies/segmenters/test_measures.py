"""Measures of superpixels against closed forms, the definitions written out with sets, and scikit-image."""

import math

import numpy as np
import pytest
from skimage.segmentation import find_boundaries

from studies.segmenters.measures import against_truth, boundaries, boundary_recall, of_shape, undersegmentation
from studies.segmenters.report import at_equal_counts

BLACK = np.zeros((12, 12, 3), dtype=np.uint8)


def columns(*widths: int, rows: int) -> np.ndarray:
    return np.tile(np.repeat(np.arange(len(widths)), widths), (rows, 1))


def random_map(seed: int, labels: int, size: int = 9) -> np.ndarray:
    values = np.random.default_rng(seed).integers(labels, size=(size, size))
    values.flat[:labels] = np.arange(labels)
    return values


def test_undersegmentation_of_one_superpixel_across_a_border() -> None:
    # 12 pixels wide superpixel: 8 in one region, 4 in the other.
    assert undersegmentation(columns(3, 1, rows=4), columns(2, 2, rows=4)) == (8 / 16, 4 / 16)


def test_superpixels_within_the_regions_are_without_error() -> None:
    truth, segments = columns(4, 8, rows=12), columns(2, 2, 3, 5, rows=12)
    found = against_truth(segments, truth)
    assert found["undersegmentation"] == found["corrected undersegmentation"] == 0
    assert found["boundary recall"] == found["boundary recall, 2 px"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_undersegmentation_is_what_the_papers_define(seed: int) -> None:
    segments, truth = random_map(seed, 7), random_map(seed + 100, 4)
    parts = [{*np.flatnonzero(segments == label)} for label in range(7)]
    regions = [{*np.flatnonzero(truth == label)} for label in range(4)]
    both_sides = sum(min(len(s & g), len(s - g)) for g in regions for s in parts if s & g)
    achievable = sum(max(len(s & g) for g in regions) for s in parts)
    assert undersegmentation(segments, truth) == pytest.approx((both_sides / 81, 1 - achievable / 81))


@pytest.mark.parametrize(("radius", "recall"), [(0, 0), (1, 0), (2, 0.5), (3, 1)])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_boundary_recall_of_a_border_three_pixels_away(radius: int, recall: float, turns: int) -> None:
    segments, truth = columns(8, 2, rows=10), columns(5, 5, rows=10)
    assert boundary_recall(np.rot90(segments, turns), np.rot90(truth, turns), radius) == recall


def test_the_tolerance_is_a_share_of_the_diagonal() -> None:
    # 0.0025 of 316.8 pixels is one pixel, of 84.9 none.
    for size, recall in ((224, 1.0), (60, 0.5)):
        half = size // 2
        segments, truth = columns(half + 1, half - 1, rows=size), columns(half, half, rows=size)
        assert against_truth(segments, truth)["boundary recall"] == recall


@pytest.mark.parametrize("seed", range(3))
def test_boundaries_are_those_of_scikit_image(seed: int) -> None:
    labels = np.kron(random_map(seed, 5), np.ones((3, 3), dtype=int))
    np.testing.assert_array_equal(boundaries(labels), find_boundaries(labels, connectivity=1, mode="thick"))


def test_explained_variation() -> None:
    picture = np.repeat(np.array([[0, 0, 9, 9]], dtype=np.uint8)[..., None], 3, axis=2)
    for labels, explained in (([0, 0, 0, 0], 0), ([0, 0, 1, 1], 1), ([0, 0, 0, 1], 1 / 3)):
        assert of_shape(np.array([labels]), picture)["explained variation"] == pytest.approx(explained)
    assert of_shape(np.zeros((12, 12), dtype=int), BLACK)["explained variation"] == 1


def test_compactness_of_squares_and_strips() -> None:
    squares = np.kron(np.arange(9).reshape(3, 3), np.ones((4, 4), dtype=int))
    assert of_shape(squares, BLACK)["compactness"] == pytest.approx(math.pi / 4)
    strips = columns(*[1] * 12, rows=12)
    assert of_shape(strips, BLACK)["compactness"] == pytest.approx(4 * math.pi * 12 / 26**2)


def test_stray_pieces_are_what_does_not_hang_together_across_an_edge() -> None:
    labels = np.zeros((12, 12), dtype=int)
    labels[:, 5:7] = 1  # cuts label 0 into 60 and 60 pixels
    labels[0, 0] = labels[1, 1] = 1  # two pieces that touch at a corner only
    found = of_shape(labels, BLACK)
    assert (found["superpixels"], found["stray pieces"]) == (2, 3)
    assert found["stray area"] == pytest.approx(1 - (60 + 24) / 144)
    whole = of_shape(columns(5, 7, rows=12), BLACK)
    assert (whole["stray pieces"], whole["stray area"]) == (0, 0)


def test_equal_counts_are_reached_in_the_logarithm() -> None:
    counts, values = [100.0, 25.0, 400.0], [3.0, 1.0, 4.0]
    assert at_equal_counts(counts, values, 50) == pytest.approx(2)
    assert at_equal_counts(counts, values, 200) == pytest.approx(3.5)
    assert at_equal_counts(counts, values, 100) == 3
    assert math.isnan(at_equal_counts(counts, values, 24))
    assert math.isnan(at_equal_counts(counts, values, 401))
