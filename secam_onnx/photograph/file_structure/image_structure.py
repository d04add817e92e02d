"""What is known of an image file before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ImageStructure"]


@dataclass(frozen=True)
class ImageStructure:
    """An image file by its structure.

    Attributes
    ----------
    format : str
        Pillow's name of the format, or NPY.
    width, height : int
        Pixels, as stored; the larger where an animation's first frame is larger than its canvas.
    channels : int
        Channels of all pages that are read, where these are kept as they are; 3 or fewer of photographs.
    itemsize : int
        Bytes of a value.
    by_pillow : bool
        Whether Pillow reads this kind of file as it is.
    """

    format: str
    width: int
    height: int
    channels: int = 3
    itemsize: int = 1
    by_pillow: bool = True

    @property
    def pixels(self) -> int:
        """Pixels of the picture."""
        return self.width * self.height
