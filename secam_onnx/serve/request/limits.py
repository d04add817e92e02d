"""What one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from secam_onnx.errors import OptionError

__all__ = ["RequestLimits"]


@dataclass(frozen=True)
class RequestLimits:
    """Limits of a single request; all above 0.

    Attributes
    ----------
    max_pixels : int
        Pixels of one photograph.
    max_images : int
        Photographs.
    max_maps : int
        Photographs times classes.
    max_pictures : int
        The same where pictures are asked for.
    max_drawn_pixels : int
        Pixels of all pictures that are as large as their photograph, and of all photographs that are drawn on.
    max_values : int
        Photographs times classes times superpixels.
    max_cells : int
        Values of `cam`, and of `overlay`, whose size depends on the model.
    max_segments : int
        Superpixels that may be asked for.
    max_queries : int
        Classes that may be listed; each name is looked up among all.
    max_name_length : int
        Characters of a class name; near matches are looked for.
    """

    max_pixels: int = 50_000_000
    max_images: int = 16
    max_maps: int = 4000
    max_pictures: int = 64
    max_drawn_pixels: int = 100_000_000
    max_values: int = 400_000
    max_cells: int = 10_000_000
    max_segments: int = 1000
    max_queries: int = 1000
    max_name_length: int = 500

    _zero_allowed: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not value > 0 and not (value == 0 and entry.name in self._zero_allowed):
                raise OptionError(f"{entry.name} is {value}; a number above 0 was expected.")
