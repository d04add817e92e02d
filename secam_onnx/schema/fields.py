"""Ranges in the annotations of dataclass fields: `Annotated[int, Within(1, 8)]`, `Annotated[str, OneOf("a", "b")]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

__all__ = ["Finite", "OneOf", "Within"]


@dataclass(frozen=True)
class Within:
    """The range of a number, both ends included.

    Attributes
    ----------
    least, most : float
        The ends.
    """

    least: float
    most: float

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


class OneOf:
    """The words that a text may be, or the values of a number.

    Parameters
    ----------
    *words
        All of them.
    """

    def __init__(self, *words: str | int) -> None:
        self._words = words

    def __contains__(self, value: str | int) -> bool:
        return value in self._words

    def __str__(self) -> str:
        return ", ".join(map(str, self._words))


Finite = Annotated[float, Within(-1e30, 1e30)]
"""A number that float32 can hold, too."""
