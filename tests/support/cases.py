"""A fused model with the pictures that all engines get, and what the package says of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from engines import ENGINES, Engine

from secam_onnx.explanation import Explanation
from secam_onnx.fusion import Fusion

__all__ = ["TOP", "Case", "engine_or_skip", "not_here"]

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
    """The engine, if it is there."""
    if missing := ENGINES[name].missing():
        not_here(missing)
    return ENGINES[name]


def not_here(missing: str) -> NoReturn:
    """Skip the test, but fail it in nox's session of the runtimes."""
    if os.environ.get("SECAM_TEST_RUNTIMES") == "1":
        pytest.fail(f"needs {missing}")
    pytest.skip(f"needs {missing}")
