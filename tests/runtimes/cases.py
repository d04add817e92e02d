"""A fused model with the pictures that all engines get, and what the package says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secam_onnx.explanation import Explanation
from secam_onnx.fusion import Fusion

__all__ = ["TOP", "Case"]

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
