"""The layout of K-means: a picture in rectangular cells, each of which is the home of one superpixel.

A pixel belongs to one of the nine superpixels of its cell and the cells around it. Each cell consists of
`rows x columns` blocks of `stride` pixels; the blocks form the coarse picture on which the superpixels are found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["NOWHERE", "Axis", "Cells"]

NOWHERE = -1
"""Stands for a superpixel beyond the edge of the picture."""

_AROUND = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]


@dataclass(frozen=True)
class Axis:
    """One axis of the picture.

    Attributes
    ----------
    length : int
        Pixels.
    cells, blocks, stride : int
        Cells along the axis, blocks along a cell, pixels along a block; their product is at least `length`.
    """

    length: int
    cells: int
    blocks: int
    stride: int

    @classmethod
    def fitted(cls, length: int, cells: int, blocks: int) -> Axis:
        """Fit about so many cells of about so many blocks, with as few pixels beyond the picture as possible."""
        edge = length / cells

        def cost(stride: int) -> float:
            needed = math.ceil(edge / stride)
            return needed * stride / edge + 0.1 * abs(math.log2(needed / blocks))

        stride = min(range(1, math.ceil(edge) + 1), key=cost)
        blocks = math.ceil(edge / stride)
        return cls(length, math.ceil(length / (blocks * stride)), blocks, stride)

    @property
    def edge(self) -> int:
        """Pixels along a cell."""
        return self.blocks * self.stride

    @property
    def before(self) -> int:
        """Pixels of the first cell that lie before the picture."""
        return (self.cells * self.edge - self.length) // 2

    @property
    def after(self) -> int:
        """Pixels of the last cell that lie after the picture."""
        return self.cells * self.edge - self.length - self.before

    @property
    def positions(self) -> np.ndarray:
        """Position of each pixel relative to the middle of the picture, `(cells * edge,)`."""
        return np.arange(self.cells * self.edge) - self.before - (self.length - 1) / 2

    @property
    def inside(self) -> np.ndarray:
        """Which pixels lie in the picture, `(cells * edge,)` bool."""
        place = np.arange(self.cells * self.edge) - self.before
        return (place >= 0) & (place < self.length)

    @property
    def enlarging(self) -> np.ndarray:
        """Linear interpolation from a cell's blocks, with one more at each end, to its pixels: `(blocks + 2, edge)`."""
        place = (np.arange(self.edge) + 0.5) / self.stride + 0.5
        return np.maximum(0, 1 - abs(np.arange(self.blocks + 2)[:, None] - place))


@dataclass(frozen=True)
class Cells:
    """Both axes, and the tables of which superpixel is where.

    The K cells, and the blocks and pixels of a cell, are in reading order: row by row.
    """

    down: Axis
    across: Axis

    @classmethod
    def fitted(cls, size: tuple[int, int], n_segments: int | tuple[int, int], blocks: int) -> Cells:
        """Fit nearly square cells, about as many as asked for, or in about so many rows and columns.

        Parameters
        ----------
        size : (int, int)
            Height and width of the picture, in pixels.
        n_segments : int or (int, int)
            How many cells to aim at, or rows and columns.
        blocks : int
            How many blocks along a cell's edge to aim at.
        """
        height, width = size
        if isinstance(n_segments, tuple):
            rows, columns = n_segments
        else:
            rows = min(n_segments, max(1, round(math.sqrt(n_segments * height / width))))
            columns = max(1, round(n_segments / rows))
        return cls(Axis.fitted(height, min(height, rows), blocks), Axis.fitted(width, min(width, columns), blocks))

    @property
    def count(self) -> int:
        """K."""
        return self.down.cells * self.across.cells

    @property
    def blocks(self) -> int:
        """Blocks of a cell."""
        return self.down.blocks * self.across.blocks

    @property
    def pixels(self) -> int:
        """Pixels of a cell."""
        return self.down.edge * self.across.edge

    @cached_property
    def neighbours(self) -> np.ndarray:
        """The superpixels that each cell's pixels may belong to, `(K, 9)` int64, or `NOWHERE`."""
        rows, columns = self.down.cells, self.across.cells
        table = np.full((rows, columns, 9), NOWHERE)
        for index, (down, across) in enumerate(_AROUND):
            y, x = np.arange(rows)[:, None] + down, np.arange(columns) + across
            table[..., index] = np.where((y >= 0) & (y < rows) & (x >= 0) & (x < columns), y * columns + x, NOWHERE)
        return table.reshape(-1, 9)

    @cached_property
    def held_by(self) -> np.ndarray:
        """Where superpixel k is among the nine of each cell around it: `(K, 9)`, indices into `(K * 9,)`.

        Beyond the edge of the picture the index leads to an entry that is `NOWHERE`.
        """
        nobody = int(np.flatnonzero(self.neighbours == NOWHERE)[0])
        # The cell at offset i from k has k at the opposite offset, 8 - i.
        return np.where(self.neighbours == NOWHERE, nobody, self.neighbours * 9 + 8 - np.arange(9))

    @property
    def of_block(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the cell of every block of the picture, `(rows, 1)` and `(1, columns)`."""
        rows = np.arange(self.down.cells * self.down.blocks) // self.down.blocks
        columns = np.arange(self.across.cells * self.across.blocks) // self.across.blocks
        return rows[:, None], columns[None]

    @property
    def patches(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of each cell's blocks and of those around them, as two terms of a sum.

        They count the blocks of the picture in reading order, with one more block on each side. The term of rows is
        `(rows of cells, 1, blocks + 2, 1)`, that of columns `(1, columns of cells, 1, blocks + 2)`.
        """
        down, across = self.down, self.across
        width = across.cells * across.blocks + 2
        y = np.arange(down.cells)[:, None] * down.blocks + np.arange(down.blocks + 2)
        x = np.arange(across.cells)[:, None] * across.blocks + np.arange(across.blocks + 2)
        return y[:, None, :, None] * width, x[None, :, None, :]

    @property
    def inside(self) -> np.ndarray:
        """Which pixels of the cells lie in the picture: `(K, pixels)` bool."""
        return self._in_cells(self.down.inside[:, None] & self.across.inside)

    @property
    def shares(self) -> np.ndarray:
        """How much of each block lies in the picture: `(K, blocks)`, 0 to 1."""
        down, across = self.down, self.across
        parts = self.inside.reshape(-1, down.blocks, down.stride, across.blocks, across.stride)
        return parts.mean(axis=(2, 4)).reshape(self.count, -1)

    @property
    def empty_blocks(self) -> np.ndarray:
        """Which blocks lie wholly outside the picture: `(K, blocks)` bool."""
        return self.shares == 0

    def _in_cells(self, values: np.ndarray) -> np.ndarray:
        """Rearrange `(rows, columns)` of pixels into `(K, pixels)`."""
        down, across = self.down, self.across
        parts = values.reshape(down.cells, down.edge, across.cells, across.edge)
        return parts.transpose(0, 2, 1, 3).reshape(self.count, -1)
