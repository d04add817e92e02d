"""Photographs that scikit-image ships."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from skimage import data

Photograph = Callable[[tuple[int, int]], np.ndarray]

SOURCES = {
    "astronaut": data.astronaut,
    "coffee": data.coffee,
    "chelsea": data.chelsea,
    "rocket": data.rocket,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
}


@pytest.fixture(scope="session")
def photographs() -> dict[str, Photograph]:
    """The largest square in the middle of each, at any `(height, width)`, `(H, W, 3)` uint8."""
    return {name: resized(load()) for name, load in SOURCES.items()}


@pytest.fixture(scope="session", params=SOURCES)
def photograph(request: pytest.FixtureRequest, photographs: dict[str, Photograph]) -> Photograph:
    """Each of them."""
    return photographs[request.param]


def resized(picture: np.ndarray) -> Photograph:
    image = Image.fromarray(picture)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return lambda size: np.asarray(square.resize(size[::-1], Image.Resampling.BICUBIC))
