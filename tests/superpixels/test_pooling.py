import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_maps import MAP_SIZE, label_maps

from secam_onnx.superpixels import bilinear_axis, pooling_matrices


def tents(cells: int, pixels: int) -> np.ndarray:
    """Bilinear weights, `(cells, pixels)`, as tents around each cell's centre: np.interp clamps at the ends."""
    centres = (np.arange(pixels) + 0.5) / pixels * cells - 0.5
    return np.array([np.interp(centres, np.arange(cells), hat) for hat in np.eye(cells)])


def slow_sums(segments: np.ndarray, map_size: tuple[int, int]) -> np.ndarray:
    """`(h * w, S)`: the weight of every cell, summed over each superpixel, pixel by pixel."""
    (height, width), (rows, columns) = segments.shape, map_size
    down, across = tents(rows, height), tents(columns, width)
    sums = np.zeros((rows, columns, segments.max() + 1))
    for y in range(height):
        for x in range(width):
            sums[:, :, segments[y, x]] += np.outer(down[:, y], across[:, x])
    return sums.reshape(rows * columns, -1)


@given(label_maps(), MAP_SIZE)
def test_both_matrices_against_the_double_loop(segments, map_size):
    contribution, mean_score = pooling_matrices(segments, map_size)
    sums, areas = slow_sums(segments, map_size), np.bincount(segments.ravel())
    np.testing.assert_allclose(mean_score, sums / areas, atol=1e-12)
    reach = sums.sum(axis=1)
    seen = reach > 1e-12
    np.testing.assert_allclose(contribution[seen], sums[seen] / reach[seen, None], atol=1e-9)


@given(label_maps(), MAP_SIZE)
def test_what_must_sum_to_one_does(segments, map_size):
    contribution, mean_score = pooling_matrices(segments, map_size)
    assert contribution.shape == mean_score.shape == (map_size[0] * map_size[1], segments.max() + 1)
    assert contribution.min() >= 0
    assert mean_score.min() >= 0
    np.testing.assert_allclose(contribution.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(mean_score.sum(axis=0), 1, rtol=1e-12)


@given(label_maps(), MAP_SIZE, st.data())
def test_contributions_add_up_to_the_map(segments, map_size, data):
    values = data.draw(hnp.arrays(np.float64, map_size, elements=st.floats(-100, 100)))
    contribution, _ = pooling_matrices(segments, map_size)
    assert (values.ravel() @ contribution).sum() == pytest.approx(values.sum(), abs=1e-9)


@given(label_maps(), MAP_SIZE, st.floats(-50, 50))
def test_a_constant_map_gives_that_constant_everywhere(segments, map_size, value):
    _, mean_score = pooling_matrices(segments, map_size)
    np.testing.assert_allclose(np.full(map_size, value).ravel() @ mean_score, value, rtol=1e-9, atol=1e-9)


@given(MAP_SIZE, st.integers(1, 7), st.integers(1, 7))
def test_a_cell_belongs_most_to_the_superpixel_that_lies_over_it(map_size, down, across):
    cells = np.arange(map_size[0] * map_size[1], dtype=np.int32).reshape(map_size)
    segments = np.kron(cells, np.ones((down, across), dtype=np.int32))
    contribution, mean_score = pooling_matrices(segments, map_size)
    assert contribution.argmax(axis=1).tolist() == cells.ravel().tolist()
    assert mean_score.argmax(axis=1).tolist() == cells.ravel().tolist()
    if down == across == 1:
        np.testing.assert_array_equal(contribution, np.eye(cells.size))
        np.testing.assert_array_equal(mean_score, np.eye(cells.size))


@given(label_maps(), MAP_SIZE)
def test_cells_between_the_pixels_go_to_the_superpixel_under_their_centre(segments, map_size):
    contribution, _ = pooling_matrices(segments, map_size)
    (height, width), (rows, columns) = segments.shape, map_size
    unreached = slow_sums(segments, map_size).sum(axis=1) == 0
    for cell in np.flatnonzero(unreached):
        y, x = ((cell // columns) + 0.5) / rows * height, ((cell % columns) + 0.5) / columns * width
        assert contribution[cell, segments[int(y + 1e-9), int(x + 1e-9)]] == 1


def test_there_are_cells_between_the_pixels():
    # Or else the property above would hold for want of cases.
    contribution, mean_score = pooling_matrices(np.array([[0, 1]]), (1, 8))
    assert (mean_score.sum(axis=1) == 0).sum() == 4
    assert contribution.argmax(axis=1).tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("size", "map_size"), [((224, 224), (7, 7)), ((299, 299), (8, 8)), ((97, 130), (14, 5)), ((6, 9), (11, 4))]
)
def test_mean_score_is_that_of_the_upsampled_map(size, map_size):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    maps = random.standard_normal((3, *map_size))
    segments = np.unique(random.integers(0, 40, size), return_inverse=True)[1].reshape(size)
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=size, mode="bilinear", align_corners=False
    )[0].numpy()
    expected = [[upsampled[row][segments == label].mean() for label in range(segments.max() + 1)] for row in range(3)]
    _, mean_score = pooling_matrices(segments, map_size)
    np.testing.assert_allclose(maps.reshape(3, -1) @ mean_score, expected, rtol=0, atol=1e-9)


@given(st.integers(1, 20), hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_axis_weights_interpolate_between_neighbours(cells, position):
    lower, upper, weight = bilinear_axis(cells, position)
    assert lower.min() >= 0
    assert upper.max() < cells
    assert ((upper - lower >= 0) & (upper - lower <= 1)).all()
    values = np.random.default_rng(0).standard_normal(cells)
    expected = np.interp(position * cells - 0.5, np.arange(cells), values)
    np.testing.assert_allclose(values[lower] * (1 - weight) + values[upper] * weight, expected, atol=1e-9)
