"""The part of the picture that a feature map lies on, and how maps of several parts or sizes are added exactly.

The value of a cell is split over the cells of the common grid that it overlaps, in proportion to the area, so that the
sum over all cells stays the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["WHOLE_PICTURE", "Span", "common_size", "spread_matrix"]


@dataclass(frozen=True)
class Span:
    """A rectangle of the picture. If an end comes before its start, the map is mirrored.

    Attributes
    ----------
    rows, columns : (float, float)
        Start and end, as shares of the picture's edge.
    """

    rows: tuple[float, float] = (0.0, 1.0)
    columns: tuple[float, float] = (0.0, 1.0)

    @property
    def edges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Those of the rows and those of the columns."""
        return self.rows, self.columns

    def part(self, axis: int, ends: tuple[float, float]) -> Span:
        """The span of a part of it, which is cut out along rows (0) or columns (1)."""
        edges = list(self.edges)
        start, end = edges[axis]
        edges[axis] = (start + (end - start) * ends[0], start + (end - start) * ends[1])
        return Span(*edges)

    def like(self, other: Span, tolerance: float = 1e-9) -> bool:
        """Whether both are the same part."""
        return bool(np.allclose(self.edges, other.edges, rtol=0, atol=tolerance))


WHOLE_PICTURE = Span()
"""All of the picture, not mirrored."""


def common_size(sizes: list[tuple[int, int]], spans: list[Span]) -> tuple[int, int]:
    """Rows and columns of a grid over the whole picture that is as fine as the finest map.

    Parameters
    ----------
    sizes : list of (int, int)
        Rows and columns of each map.
    spans : list of Span
        The span of each map.
    """
    edges = (
        max(
            math.ceil(size[axis] / abs(span.edges[axis][1] - span.edges[axis][0]) - 1e-6)
            for size, span in zip(sizes, spans, strict=True)
        )
        for axis in (0, 1)
    )
    rows, columns = edges
    return rows, columns


def spread_matrix(cells: int, ends: tuple[float, float], target: int) -> np.ndarray:
    """The share that each cell along an edge gives to each cell of the common grid.

    Parameters
    ----------
    cells : int
        The number of cells of the map along the edge.
    ends : (float, float)
        Their span.
    target : int
        The number of cells of the common grid along the whole edge.

    Returns
    -------
    ndarray
        `(target, cells)` float32, whose columns sum to 1.
    """
    bounds = (ends[0] + (ends[1] - ends[0]) * np.arange(cells + 1) / cells) * target
    low, high = np.minimum(bounds[:-1], bounds[1:]), np.maximum(bounds[:-1], bounds[1:])
    places = np.arange(target)[:, None]
    overlap = np.clip(np.minimum(high, places + 1) - np.maximum(low, places), 0, None)
    return (overlap / overlap.sum(axis=0)).astype(np.float32)
