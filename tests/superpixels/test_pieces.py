"""On label maps drawn by hand and at random; no two distances are equal, so that the result is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_nodes import evaluate
from plain_kmeans import cell_of, plainly_held_together

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels.cells import NOWHERE, Axis, Cells
from secam_onnx.superpixels.pieces import FAR, held_together


def layout(rows: int, columns: int, blocks: tuple[int, int], beyond: tuple[int, int] = (0, 0)) -> Cells:
    """So many cells of so many blocks of one pixel; so many blocks have no picture."""
    counts = zip((rows, columns), blocks, beyond, strict=True)
    return Cells(*(Axis(n * b - more, n, b, 1) for n, b, more in counts))


def in_cells(picture: np.ndarray, cells: Cells) -> np.ndarray:
    """`(rows, columns)` of blocks to `(K, blocks)`."""
    return np.stack([picture[cell_of(cells) == cell] for cell in range(cells.count)])


def area(cells: Cells) -> np.ndarray:
    """1 where a block has picture, else 0, `(rows, columns)`."""
    return np.outer(cells.down.inside, cells.across.inside).astype(int)


def from_middles(labels: np.ndarray, cells: Cells) -> np.ndarray:
    """Squared distances to nearly the middle of the cell where a block's superpixel is at home."""
    row, column = np.divmod(labels, cells.across.cells)
    y, x = np.indices(labels.shape)
    down, across = y - (row + 0.45) * cells.down.blocks, x - (column + 0.4) * cells.across.blocks
    return down**2 + 1.01 * across**2


def cleaned(labels: np.ndarray, distances: np.ndarray, cells: Cells) -> list[np.ndarray]:
    """What the nodes make of the labels of blocks: the highest and the lowest ones."""
    members = in_cells(labels, cells)[:, None] == cells.neighbours[:, :, None]
    away = np.where(cells.empty_blocks, FAR, in_cells(distances, cells)).astype(np.float32)
    n = Nodes()
    both = n.op("Concat", held_together(n, "members", "distances", cells), axis=0)
    return list(evaluate(n, both, members=members[None], distances=away[None, :, None]))


def drawn(text: str) -> np.ndarray:
    return np.array([[int(letter) for letter in line] for line in text.split()])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("00011111 00011111 00000111 22000111 22223333 22333333 22333333 22222223", None, id="connected"),
        pytest.param(
            "00001111 00001101 00001111 00001111 22223333 20223333 22223333 22223333",
            "00001111 00001111 00001111 00001111 22223333 22223333 22223333 22223333",
            id="two single blocks",
        ),
        pytest.param(
            "00001111 00001111 00000011 22200011 22200011 22200033 22222233 22222233", None, id="round two corners"
        ),
        pytest.param(
            "00000000 00000000 00000000 00000000 22220000 22220000 22220033 22220033", None, id="1 has nothing"
        ),
        pytest.param(
            "00001110 00001100 00001111 22221111 22223333 22223333 02223333 00223333",
            "00001111 00001111 00001111 22221111 22223333 22223333 22223333 22223333",
            id="pieces in corners",
        ),
    ],
)
def test_drawn_by_hand(before, after):
    cells, labels = layout(2, 2, (4, 4)), drawn(before)
    for found in cleaned(labels, from_middles(labels, cells), cells):
        np.testing.assert_array_equal(found, drawn(after or before))


def test_wide_stray_pieces_are_filled_four_blocks_deep():
    # Between two columns of 1, of which the left one is nearer to the middle, a wide piece of 0.
    before = np.repeat([[0] * 16 + [1] + [0] * 14 + [1] + [2] * 16], 16, axis=0)
    after = np.repeat([[0] * 16 + [1] * 5 + [0] * 7 + [2] * 20], 16, axis=0)
    cells = layout(1, 3, (16, 16))
    for found in cleaned(before, from_middles(before, cells), cells):
        np.testing.assert_array_equal(found, after)


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Cells]:
    """Home cells with rectangles of neighbours' labels on them, and distances in random order."""
    side = st.integers(1, 8)
    blocks = draw(st.tuples(side, side))
    beyond = tuple(draw(st.integers(0, min(n - 1, 5))) for n in blocks)
    cells = layout(draw(st.integers(1, 6)), draw(st.integers(1, 6)), blocks, beyond)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = cell_of(cells)
    for _ in range(draw(st.integers(0, 60))):
        label = random.integers(cells.count)
        top, left = (random.integers(length) for length in labels.shape)
        window = np.zeros(labels.shape, bool)
        window[top : top + random.integers(1, 9), left : left + random.integers(1, 9)] = True
        labels[window & (cells.neighbours[cell_of(cells)] == label).any(axis=2)] = label
    # Below what counts as far.
    return labels, random.permutation(labels.size).reshape(labels.shape) / 2, cells


@given(label_maps())
def test_the_same_as_plainly(case):
    labels, distances, cells = case
    whole = area(cells)
    own = np.where(whole, labels, NOWHERE)
    away = np.where(own == np.arange(cells.count)[:, None, None], distances, np.inf)
    expected = plainly_held_together(own, away, cells, whole)
    for found, one in zip(cleaned(labels, distances, cells), expected, strict=True):
        np.testing.assert_array_equal(found[whole > 0], one[whole > 0])


@given(label_maps())
def test_every_label_is_one_around_and_nobody_loses_all(case):
    labels, distances, cells = case
    whole = area(cells) > 0
    for found in cleaned(labels, distances, cells):
        assert (found[..., None] == cells.neighbours[cell_of(cells)]).any(axis=2)[whole].all()
        assert set(found[whole]) == set(labels[whole])
