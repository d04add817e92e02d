"""One class of a model and what a photograph got for it."""

from __future__ import annotations

from dataclasses import dataclass

from secam_onnx.shown_text import shown_name

__all__ = ["Prediction", "signed"]


@dataclass(frozen=True)
class Prediction:
    """One class of the model and what the photograph got for it.

    Attributes
    ----------
    index : int
        Class index.
    label : str
        Class name.
    probability : float or None
        In [0, 1]; None where the model gives no probabilities and its outputs cannot be turned into any.
    logit : float
        The explained number: the output before the softmax or sigmoid, or the output itself (`method["explained"]`).
    """

    index: int
    label: str
    probability: float | None
    logit: float

    def __str__(self) -> str:
        number = signed(self.logit) if self.probability is None else f"{self.probability:.3f}"
        return f"{shown_name(self.label)} ({self.index}) {number}"


def signed(value: float) -> str:
    """Format a number with its sign for people: two decimals, or three digits from 10,000 on."""
    text = f"{value:+.2f}" if abs(value) < 1e4 else f"{value:+.3g}"
    return "0" if float(text) == 0 else text
