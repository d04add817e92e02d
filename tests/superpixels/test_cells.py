import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from plain_kmeans import cell_of

from secam_onnx.superpixels.cells import NOWHERE, Axis, Cells

SIZE = st.tuples(st.integers(4, 600), st.integers(4, 600))
BLOCKS = st.integers(1, 16)
FEW = st.integers(1, 200) | st.tuples(st.integers(1, 15), st.integers(1, 15))


def fitted(counts: st.SearchStrategy) -> st.SearchStrategy[Cells]:
    return st.builds(Cells.fitted, SIZE, counts, BLOCKS)


CELLS = fitted(FEW)


def places(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each cell among the cells."""
    return np.divmod(np.arange(cells.count), cells.across.cells)


@given(fitted(st.integers(1, 10_000)))
def test_cells_cover_the_picture_and_stick_out_by_less_than_one(cells):
    for axis in (cells.down, cells.across):
        beyond = axis.cells * axis.blocks * axis.stride - axis.length
        assert 0 <= beyond < axis.edge
        assert axis.before + axis.after == beyond
        assert 0 <= axis.after - axis.before <= 1
        assert min(axis.cells, axis.blocks, axis.stride) >= 1


@given(SIZE, st.integers(1, 10_000))
def test_about_as_many_as_asked(size, count):
    cells = Cells.fitted(size, count, 8)
    assert cells.count <= 1.5 * count
    edge = np.sqrt(size[0] * size[1] / count)
    if min(size) / 2 >= edge >= 4:  # otherwise a pixel more makes much of a difference
        assert 0.6 * count <= cells.count <= 1.3 * count
        assert 0.5 <= cells.down.edge / cells.across.edge <= 2


@given(st.integers(4, 20), st.integers(100, 600), st.integers(1, 5))
def test_long_pictures_get_no_more_whichever_way_they_lie(short, length, count):
    lying, standing = Cells.fitted((short, length), count, 8), Cells.fitted((length, short), count, 8)
    assert lying.count == standing.count <= count


@pytest.mark.parametrize(
    ("size", "asked", "rows", "columns", "edges"),
    [
        ((224, 224), 50, 7, 7, (32, 32)),
        ((224, 224), (4, 8), 4, 8, (56, 28)),
        ((299, 299), 50, 7, 7, (45, 45)),
        ((224, 224), 1, 1, 1, (224, 224)),
        ((4, 4), 10_000, 4, 4, (1, 1)),
        ((64, 96), (100, 2), 64, 2, (1, 48)),
    ],
)
def test_known_layouts(size, asked, rows, columns, edges):
    cells = Cells.fitted(size, asked, 8)
    assert (cells.down.cells, cells.across.cells) == (rows, columns)
    assert (cells.down.edge, cells.across.edge) == edges


@given(CELLS)
def test_every_pixel_is_in_one_cell_and_in_its_place(cells):
    height, width = cells.down.length, cells.across.length
    cell, pixel = np.nonzero(cells.inside)
    # The axes' positions count from the middle of the picture.
    y, x = (
        np.rint(axis.positions + (axis.length - 1) / 2).astype(int)[number // among * axis.edge + within]
        for axis, number, among, within in (
            (cells.down, cell, cells.across.cells, pixel // cells.across.edge),
            (cells.across, cell % cells.across.cells, 1, pixel % cells.across.edge),
        )
    )
    assert np.array_equal(np.sort(y * width + x), np.arange(height * width))
    np.testing.assert_array_equal(
        cell,
        (y + cells.down.before) // cells.down.edge * cells.across.cells
        + (x + cells.across.before) // cells.across.edge,
    )
    assert cells.inside.any(axis=1).all()


@given(CELLS)
def test_blocks_without_picture(cells):
    counted = np.zeros((cells.down.cells * cells.down.blocks, cells.across.cells * cells.across.blocks), int)
    y = (np.arange(cells.down.length) + cells.down.before) // cells.down.stride
    x = (np.arange(cells.across.length) + cells.across.before) // cells.across.stride
    np.add.at(counted, (y[:, None], x), 1)
    empty = [counted[cell_of(cells) == cell] == 0 for cell in range(cells.count)]
    np.testing.assert_array_equal(cells.empty_blocks, empty)


@given(CELLS)
def test_neighbours_are_the_cells_around(cells):
    rows, columns = places(cells)
    for cell, nine in enumerate(cells.neighbours):
        around = np.flatnonzero((abs(rows - rows[cell]) <= 1) & (abs(columns - columns[cell]) <= 1))
        assert nine[nine != NOWHERE].tolist() == around.tolist()  # in the order of reading
        assert nine[4] == cell


@given(CELLS)
def test_held_by_is_the_inverse_of_neighbours(cells):
    flat = cells.neighbours.ravel()
    for superpixel, where in enumerate(cells.held_by):
        somewhere = where[flat[where] != NOWHERE]
        assert np.sort(somewhere).tolist() == np.flatnonzero(flat == superpixel).tolist()


@given(CELLS)
def test_blocks_know_their_cell(cells):
    row, column = cells.of_block
    assert (row.ravel() == np.repeat(np.arange(cells.down.cells), cells.down.blocks)).all()
    assert (column.ravel() == np.repeat(np.arange(cells.across.cells), cells.across.blocks)).all()
    assert (row.shape, column.shape) == ((row.size, 1), (1, column.size))


@given(CELLS)
def test_patches_are_windows_with_one_block_more_on_each_side(cells):
    down, across = cells.down, cells.across
    framed = np.arange((down.cells * down.blocks + 2) * (across.cells * across.blocks + 2)).reshape(
        down.cells * down.blocks + 2, -1
    )
    windows = sliding_window_view(framed, (down.blocks + 2, across.blocks + 2))[:: down.blocks, :: across.blocks]
    rows, columns = cells.patches
    np.testing.assert_array_equal((rows + columns).reshape(windows.shape), windows)


@given(st.integers(1, 16), st.integers(1, 40))
def test_enlarging_is_bilinear(blocks, stride):
    axis = Axis(blocks * stride, 1, blocks, stride)
    assert axis.enlarging.shape == (blocks + 2, blocks * stride)
    assert (axis.enlarging >= 0).all()
    np.testing.assert_allclose(axis.enlarging.sum(axis=0), 1, rtol=1e-12)
    values = np.random.default_rng(0).random(blocks + 2).astype(np.float32)
    larger = Image.fromarray(values[None]).resize(((blocks + 2) * stride, 1), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(values @ axis.enlarging, np.asarray(larger)[0, stride:-stride], atol=1e-5)


@given(st.integers(1, 16), st.integers(1, 40))
def test_shares_that_should_be_nothing_are(blocks, stride):
    # The smallest share above 0 sets a slope; one of 1e-16 by rounding would make it a cliff.
    shares = Axis(blocks * stride, 1, blocks, stride).enlarging
    least = 1 / stride if stride % 2 else 0.5 / stride
    assert shares[shares > 0].min() == pytest.approx(least, rel=1e-9)
