"""What an explanation needs of a photograph: all that is done with bytes of strangers, in one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from secam_onnx.photograph.file_structure.image_formats import DEFAULT_FORMATS
from secam_onnx.photograph.geometry import Geometry
from secam_onnx.photograph.images import MAX_PIXELS, Photograph
from secam_onnx.photograph.load_image import load_image
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["Decode", "Reading", "SeenPhotograph", "read_seen"]


@dataclass(frozen=True)
class Reading:
    """How a photograph is read.

    Attributes
    ----------
    preprocessing : Preprocessing
        How photographs are prepared for the model.
    max_pixels : int
        Larger images are refused before they are decoded.
    eight_bit : bool
        The model gets what is shown, whatever the image was.
    keep_image : bool
        Whether the whole photograph is wanted.
    formats : tuple of str
        The formats of files that are read, of `FORMATS`.
    """

    preprocessing: Preprocessing
    max_pixels: int = MAX_PIXELS
    eight_bit: bool = False
    keep_image: bool = True
    formats: tuple[str, ...] = DEFAULT_FORMATS

    def to_dict(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return vars(self) | {"preprocessing": self.preprocessing.to_dict(), "formats": list(self.formats)}


@dataclass(frozen=True)
class SeenPhotograph:
    """A photograph, and what the model sees of it.

    Attributes
    ----------
    shown : ndarray or None
        `(H, W, 3)` uint8, upright; None if it is not drawn on.
    seen : ndarray
        `(h, w, 3)` uint8, at the model's size.
    values : ndarray or None
        `(h, w, C)` float32, what the model gets; None if it gets what is seen.
    geometry : Geometry
        Where it lies on the photograph.
    source : dict
        What the image file was; see `LoadedImage`.
    """

    shown: np.ndarray | None
    seen: np.ndarray
    values: np.ndarray | None
    geometry: Geometry
    source: dict[str, object]


Decode = Callable[[Photograph, Reading], SeenPhotograph]
"""Reads and crops a photograph: `read_seen`, or the same in another process."""


def read_seen(image: Photograph, how: Reading) -> SeenPhotograph:
    """Read a photograph and crop it to what the model sees.

    Parameters
    ----------
    image : path, bytes, open file, EncodedImage, Image or ndarray
        See `Explainer.explain`.
    how : Reading
        For which model, and within which limits.

    Raises
    ------
    ImageError
        The image cannot be read.
    """
    preprocessing = how.preprocessing
    loaded = load_image(image, preprocessing, max_pixels=how.max_pixels, eight_bit=how.eight_bit, formats=how.formats)
    seen, geometry = preprocessing.crop(loaded.shown)
    values = None if loaded.values is None else preprocessing.crop(loaded.values)[0]
    return SeenPhotograph(loaded.shown if how.keep_image else None, seen, values, geometry, loaded.source)
