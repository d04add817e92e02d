"""A tensor that is still the picture, on its way through the first nodes of a graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Channel", "PictureTensor", "numbers"]


@dataclass(frozen=True)
class Channel:
    """`scale * value + shift` of an input channel; `seen` is the mean and std of the training data, if known."""

    index: int
    scale: float = 1.0
    shift: float = 0.0
    seen: tuple[float, float] | None = None

    def then(self, scale: float, shift: float) -> Channel:
        return replace(self, scale=scale * self.scale, shift=scale * self.shift + shift)

    @property
    def mean_and_std(self) -> tuple[float, float]:
        return self.seen or (-self.shift / self.scale, 1 / abs(self.scale))


@dataclass(frozen=True)
class PictureTensor:
    """A tensor that is still the picture: its axes, its channels, and the steps so far."""

    axes: str
    channels: tuple[Channel, ...]
    steps: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # counts only if another step follows: it may be a convolution's padding
    size: tuple[int, int] | None = None
    whole: bool = False  # rounded to integers before anything else
    grid: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # scale and zero point, if it is quantised
    keeps: tuple[float, float] | None = None  # range of input values; others are clipped

    def after(self, step: str, **changes: object) -> PictureTensor:
        return replace(self, steps=(*self.steps, *self.pending, step), pending=(), **changes)  # type: ignore[arg-type]


def numbers(values: np.ndarray) -> str:
    """Numbers in words; one if all are the same."""
    shown = values[:1] if np.all(values == values[0]) else values
    return ", ".join(f"{value:.6g}" for value in shown[:8]) + (", ..." if len(shown) > 8 else "")
