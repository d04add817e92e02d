"""The photograph of a cat that models are tried and measured with, where no other is given."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["sample_photograph"]


def sample_photograph() -> Path:
    """The file of a photograph of a cat, 451 x 300, inside scikit-image's wheel."""
    # skimage.data would ask for pooch or the network, and importing skimage takes 0.3 s.
    folder = importlib.util.find_spec("skimage").submodule_search_locations[0]  # type: ignore[union-attr, index]
    return Path(folder) / "data" / "chelsea.png"
