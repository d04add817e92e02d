"""A fused model with the pictures that all engines get, and what the package says of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from engines import ENGINES, Engine

from secam_onnx.explanation import Explanation
from secam_onnx.fusion import Fusion

__all__ = ["TOP", "Case", "engine_or_skip"]

TOP = 3
"""Classes that are explained."""


@dataclass(frozen=True)
class Case:
    """A fused model, what it is asked, and the explainer's answers.

    Attributes
    ----------
    model : Path
        The fused file.
    fusion : Fusion
        What is in it.
    pictures : ndarray
        `(3, H, W, 3)` uint8, as the model sees them.
    explanations : list of Explanation
        Of each, by the model that is not fused.
    batch : int or None
        How many pictures it takes at once.
    """

    model: Path
    fusion: Fusion
    pictures: np.ndarray
    explanations: list[Explanation]
    batch: int | None

    @property
    def feeds(self) -> list[dict[str, np.ndarray]]:
        """Each picture alone, then all at once where the model takes that."""
        pictures = [picture[None] for picture in self.pictures]
        if self.batch is None:
            pictures.append(self.pictures)
        asked = {} if self.fusion.default_classes else {"classes": -1 - np.arange(TOP)[None]}
        return [{"image": picture, **asked} for picture in pictures]


def engine_or_skip(name: str) -> Engine:
    """The engine; where it is missing, the test is skipped, but not in nox's session of the runtimes."""
    missing = ENGINES[name].missing()
    if missing:
        (pytest.fail if os.environ.get("SECAM_TEST_RUNTIMES") == "1" else pytest.skip)(f"needs {missing}")
    return ENGINES[name]
