"""Images as they are stored: any number of channels, any type of number.

What stands for black and for white is what the caller says, or what a file's tags say, or what the type implies: 0 and
255 for 8 bits, 0 and 1 for fractions. Of 16 bits it is assumed to be 0 and 65535; where that leaves the upper half
unused, the result says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from secam_onnx.errors import ImageError

__all__ = ["DARK", "MAX_ASPECT", "MAX_PIXELS", "MIN_SIDE", "Raster", "check_size", "make_raster", "undecodable"]

MAX_PIXELS = 100_000_000
"""The largest image that is decoded, in pixels (about 300 MB as RGB); fewer with more than three channels."""

MIN_SIDE = 4
"""The shortest side that superpixels can be made of, in pixels."""

MAX_ASPECT = 50
"""The longest side over the shortest; resizing would blow up a thinner strip to gigabytes."""

_SIXTEEN = 0xFFFF
_DIM = 1 / 16  # of the range; reflectances of dark scenes use as little as a tenth of theirs
DARK = (
    "Pixels of more than 8 bits use less than half of 0..65535, the range that was assumed, so that they are dark. "
    "Give the values of black and white, as --value-range 0,4095 (value_range in Python)."
)
"""The doubt about an image that is dark in the range that was assumed."""

_SAY_RANGE = "Give the values of black and white, as --value-range LOW,HIGH (value_range in Python)."


@dataclass(frozen=True)
class Raster:
    """An image as it is stored.

    Attributes
    ----------
    pixels : ndarray
        `(H, W, C)`, upright.
    black, white : float
        The values that stand for 0 and 255.
    alpha : bool
        Whether the last channel is transparency.
    doubt : str
        Why the range that was assumed or given may be wrong; empty if it looks right.
    """

    pixels: np.ndarray
    black: float
    white: float
    alpha: bool = False
    doubt: str = ""

    @property
    def channels(self) -> int:
        """Number of channels, transparency included."""
        return int(self.pixels.shape[2])

    def picked(self, numbers: tuple[int, ...]) -> Raster:
        """Some of the channels, counted from 1.

        Raises
        ------
        ImageError
            There are fewer.
        """
        if max(numbers) > self.channels:
            raise ImageError(f"Channel {max(numbers)} was asked for, but the image has {self.channels}.")
        return replace(self, pixels=self.pixels[..., [number - 1 for number in numbers]], alpha=False)

    def values(self) -> np.ndarray:
        """Float32, black at 0 and white at 255; not rounded, and not clipped where values lie beyond."""
        scale = np.float32(255 / (self.white - self.black))
        # Integers beyond 2^24 would lose their last bits before the subtraction.
        wide = self.pixels.dtype.itemsize > 2 and self.pixels.dtype.kind in "iuf" and self.pixels.dtype != np.float32
        values: np.ndarray = self.pixels.astype(np.float64 if wide else np.float32)
        return np.asarray((values - self.black) * scale, dtype=np.float32)

    def bytes(self) -> np.ndarray:
        """The same as uint8, rounded and clipped."""
        if self.pixels.dtype == np.uint8 and (self.black, self.white) == (0, 255):
            return self.pixels
        return np.clip(np.rint(self.values()), 0, 255).astype(np.uint8)


def make_raster(
    pixels: np.ndarray,
    alpha: bool,
    known: tuple[float, float] | None,
    asked: tuple[float, float] | None,
    name: str,
    *,
    file: bool = False,
) -> Raster:
    """Find the values of black and white: those asked for, those known from the file, or what the type implies."""
    _check_sides(pixels.shape[0], pixels.shape[1], name)
    if pixels.dtype.kind not in "buif" or pixels.dtype.itemsize > 8:
        raise ImageError(f"{name} has dtype {pixels.dtype}; integers or floating point were expected.")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ImageError(f"{name} holds NaN or infinity; finite pixels were expected. Replace them, by 0 for instance.")
    if asked is not None:
        return Raster(pixels, *asked, alpha, _misfit(pixels[..., :-1] if alpha else pixels, *asked))
    if pixels.dtype in (bool, np.uint8):
        return Raster(pixels, 0, 1 if pixels.dtype == bool else 255, alpha)
    if known is not None:
        return Raster(pixels, *known, alpha)
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind == "f":
        if low < 0 or high > 1:
            raise ImageError(
                f"{name} holds values from {low:g} to {high:g}; floating-point pixels must lie in [0, 1]. {_SAY_RANGE}"
            )
        return Raster(pixels, 0, 1, alpha)
    wide = pixels.dtype.itemsize > 1
    if pixels.dtype != np.uint16 and not (file and wide and low >= 0 and high <= _SIXTEEN):
        raise ImageError(
            f"{name} has dtype {pixels.dtype}; uint8, uint16, bool or floating point in [0, 1] was expected. Its "
            f"values are {low:g} to {high:g}. {_SAY_RANGE}"
        )
    return Raster(pixels, 0, _SIXTEEN, alpha, DARK if 0 < high <= _SIXTEEN // 2 else "")


def _misfit(pixels: np.ndarray, black: float, white: float) -> str:
    """Why a range that was given may be wrong: most values lie outside, or almost all are black."""
    if np.mean((pixels < black) | (pixels > white)) > 0.5:
        return (
            f"Most values lie outside {black:g}..{white:g}, the range that was given; pictures show those as black "
            f"or white. {_SAY_RANGE}"
        )
    if black < float(pixels.max()) <= black + (white - black) * _DIM:
        return (
            f"All values lie in the lowest sixteenth of {black:g}..{white:g}, the range that was given, so that pixels "
            f"are almost black. {_SAY_RANGE}"
        )
    return ""


def undecodable(name: str, error: Exception) -> ImageError:
    """The error for a damaged file."""
    return ImageError(f"{name} cannot be decoded ({error}); it may be cut off. Get the file again.")


def check_size(size: tuple[int, ...], name: str, max_pixels: int) -> None:
    """Refuse a height, width and number of channels that are too large, too small or too thin.

    Raises
    ------
    ImageError
        The message has the reason.
    """
    height, width, channels = size
    pixels = height * width * max(1, math.ceil(channels / 3))
    if pixels > max_pixels:
        more = f" x {channels} channels" if channels > 3 else ""
        raise ImageError(
            f"{name} has {height * width:,} pixels ({width} x {height}{more}), over the limit of {max_pixels:,}; "
            "make it smaller."
        )
    _check_sides(height, width, name)


def _check_sides(height: int, width: int, name: str) -> None:
    short, long = sorted((height, width))
    if short < MIN_SIDE or long > MAX_ASPECT * short:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE} on each side and at most {MAX_ASPECT} : 1 was "
            "expected. Give a photograph."
        )
