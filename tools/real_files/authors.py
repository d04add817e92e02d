"""What the authors of a trained model do with a photograph, step by step as their own code has it.

Nothing of the package that is compared is used here: Pillow, OpenCV and NumPy only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["MANIFEST", "Recipe", "in_pillow", "probabilities", "recipes", "resample"]

MANIFEST = Path(__file__).with_name("trained.toml")


@dataclass(frozen=True)
class Recipe:
    """One entry of `trained.toml`; see there."""

    name: str
    package: str
    file: str
    task: str
    said_in: str
    registry: str = "pypi"
    sha256: str = ""
    convert: str = ""
    resize: str = "stretch"
    to: int | tuple[int, int] = 224
    crop: int | None = None
    filter: str = "pillow bilinear"
    pad: int = 0
    order: str = "RGB"
    grey: bool = False
    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    activation: str = "none"
    output: str | None = None
    labels: tuple[str, ...] | None = None
    refused: str = ""
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the photograph is resized to, in pixels."""
        height, width = (self.to, self.to) if isinstance(self.to, int) else self.to
        return height, width

    def feed(self, photograph: np.ndarray) -> np.ndarray:
        """What the model is given for a photograph.

        Parameters
        ----------
        photograph : ndarray
            `(H, W, 3)` uint8, RGB.

        Returns
        -------
        ndarray
            `(h, w, C)` float32.
        """
        image = photograph if self.order == "RGB" else photograph[..., ::-1]
        if self.grey:
            image = _grey(image, self.filter)
        image = self._resized(np.ascontiguousarray(image)).astype(np.float32)
        if self.crop:
            half = round if self.filter.startswith("pillow") else int  # torchvision's way, and the others'
            top, left = (half((edge - self.crop) / 2) for edge in image.shape[:2])
            image = image[top : top + self.crop, left : left + self.crop]
        image = image.reshape(*image.shape[:2], -1)
        values = (image * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)
        if self.resize == "left":  # zeros follow a line of text
            values = np.pad(values, ((0, 0), (0, self.size[1] - values.shape[1]), (0, 0)))
        return values.astype(np.float32)

    def with_pillow(self) -> Recipe:
        """The same with Pillow's filter of that name, which smooths where a photograph gets smaller."""
        return replace(self, filter=in_pillow(self.filter))

    def _resized(self, image: np.ndarray) -> np.ndarray:
        (height, width), (rows, columns) = image.shape[:2], self.size
        if self.resize == "stretch":
            return resample(image, (rows, columns), self.filter)
        if self.resize == "shorter side":
            ratio, whole = rows / min(height, width), int if self.filter.startswith("pillow") else round
            return resample(image, (whole(height * ratio), whole(width * ratio)), self.filter)
        if self.resize == "left":
            return resample(image, (rows, min(columns, -(-rows * width // height))), self.filter)
        ratio = min(rows / height, columns / width)
        inner = resample(image, (max(1, round(height * ratio)), max(1, round(width * ratio))), self.filter)
        canvas = np.full((rows, columns, *image.shape[2:]), self.pad, image.dtype)
        top, left = (rows - inner.shape[0]) // 2, (columns - inner.shape[1]) // 2
        canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return canvas


def recipes(path: Path = MANIFEST) -> dict[str, Recipe]:
    """The entries of a manifest, by name."""

    def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}

    return {
        name: Recipe(name, **plain(fields)) for name, fields in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }


def in_pillow(filter_: str) -> str:
    """The filter of Pillow that is nearest to one of another library."""
    library, _, name = filter_.partition(" ")
    if library == "pillow":
        return filter_
    return f"pillow {({'lanczos4': 'lanczos', 'cubic': 'bicubic', 'area': 'box'}).get(name, 'bilinear')}"


def probabilities(recipe: Recipe, output: np.ndarray) -> np.ndarray:
    """What the authors make of the model's output `(N, classes)`."""
    if recipe.activation == "softmax":
        powers = np.exp(output - output.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    return 1 / (1 + np.exp(-output)) if recipe.activation == "sigmoid" else output


def resample(image: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    """Resize `(H, W)` or `(H, W, C)` to height and width; `how` is a library and its filter."""
    library, _, name = how.partition(" ")
    if library == "pillow":
        return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[name.upper()]))
    if library == "cv2":
        import cv2

        return cv2.resize(image, size[::-1], interpolation=getattr(cv2, f"INTER_{name.upper()}"))
    return _bilinear(image.astype(np.float32), size, corners=name == "align corners")


def _bilinear(image: np.ndarray, size: tuple[int, int], *, corners: bool) -> np.ndarray:
    """TensorFlow's first `resize_bilinear`: points, no areas, counted from the corner."""
    for axis, (old, new) in enumerate(zip(image.shape[:2], size, strict=True)):
        at = np.arange(new) * ((old - 1) / (new - 1) if corners else old / new)
        low = np.floor(at).astype(int)
        share = (at - low).astype(np.float32).reshape(-1, *[1] * (image.ndim - 1 - axis))
        first, second = (np.take(image, np.minimum(index, old - 1), axis) for index in (low, low + 1))
        image = first * (1 - share) + second * share
    return image


def _grey(image: np.ndarray, how: str) -> np.ndarray:
    if how.startswith("cv2"):
        import cv2

        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(Image.fromarray(image).convert("L"))
