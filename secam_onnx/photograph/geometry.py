"""Where the model's input lies on the photograph, and how values are carried from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Geometry"]


@dataclass(frozen=True)
class Geometry:
    """Where the model's input lies on the photograph.

    Attributes
    ----------
    image_size : (int, int)
        Height and width of the photograph, in pixels.
    input_size : (int, int)
        Height and width of what the model sees, in pixels.
    box : (float, float, float, float)
        Left, top, right, bottom of what the model sees, in pixels of the photograph; beyond its edges in padding.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    box: tuple[float, float, float, float]

    def positions(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """The rows and columns of the photograph that the model saw, and where their centres lie on its input.

        Returns
        -------
        rows, columns : pair of ndarray
            Indices into the photograph, int64, and positions on the model's input, fractions in [0, 1).
        """
        left, top, right, bottom = self.box
        height, width = self.image_size
        return _seen(height, top, bottom), _seen(width, left, right)

    def to_image(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Carry values from the model's input to the photograph by nearest neighbour.

        Parameters
        ----------
        values : ndarray
            `(h, w)` at the input's size.
        fill : float
            The value of pixels that the model did not see.

        Returns
        -------
        ndarray
            `(H, W)` at the photograph's size, dtype as `values`.
        """
        (rows, y), (columns, x) = self.positions()
        height, width = values.shape
        out = np.full(self.image_size, fill, dtype=values.dtype)
        out[np.ix_(rows, columns)] = values[np.ix_((y * height).astype(int), (x * width).astype(int))]
        return out

    def to_input(self, values: np.ndarray) -> np.ndarray:
        """Carry values `(H, W)` from the photograph to the model's input `(h, w)` by nearest neighbour."""
        left, top, right, bottom = self.box
        (height, width), (rows, columns) = self.image_size, self.input_size
        y = np.floor(top + (np.arange(rows) + 0.5) * (bottom - top) / rows).astype(int).clip(0, height - 1)
        x = np.floor(left + (np.arange(columns) + 0.5) * (right - left) / columns).astype(int).clip(0, width - 1)
        return values[np.ix_(y, x)]

    def on_image(self) -> np.ndarray:
        """Which pixels of the model's input show the photograph, `(h, w)` bool; the others are padding."""
        left, top, right, bottom = self.box
        (height, width), (rows, columns) = self.image_size, self.input_size
        y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        return np.logical_and.outer((y >= 0) & (y < height), (x >= 0) & (x < width))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {key: list(value) for key, value in vars(self).items()}


def _seen(length: int, start: float, stop: float) -> tuple[np.ndarray, np.ndarray]:
    position = (np.arange(length) + 0.5 - start) / (stop - start)
    seen = np.flatnonzero((position >= 0) & (position < 1))
    return seen, position[seen]
