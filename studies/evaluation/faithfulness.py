"""Insertion and deletion: superpixels shown and hidden in the order of a ranking, and what the network says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageFilter
from scipy.integrate import trapezoid

__all__ = ["Canvas", "Ranking"]

STEPS = 8
BLUR = 12  # pixels
_BATCH = 16

Score = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""From pictures `(n, H, W, 3)` uint8 to the probability of the explained class, `(n,)`, for each head."""
Ranking = tuple[np.ndarray, np.ndarray]
"""A label map `(H, W)` and the score of each label."""


class Canvas:
    """One picture, of which parts are replaced by its blurred copy or by a plain colour.

    Parameters
    ----------
    picture : ndarray
        `(H, W, 3)` uint8.
    plain : tuple of float, optional
        The colour that the network takes for zero; without it there is the blurred copy alone.
    score : callable
        See `Score`.
    steps : int
        Points of a curve besides the first.
    """

    def __init__(self, picture: np.ndarray, plain: tuple[float, ...] | None, score: Score, steps: int = STEPS) -> None:
        blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(BLUR)))
        self._picture = picture
        self._backgrounds = {"blurred": blurred}
        if plain is not None:
            self._backgrounds["plain"] = np.broadcast_to(np.round(plain).astype(np.uint8), picture.shape)
        self._score, self._steps = score, steps
        self._known: dict[tuple[str, bytes], dict[str, float]] = {}

    def faithfulness(self, rankings: Mapping[str, Ranking]) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
        """Area under both curves over the share of pixels.

        Returns
        -------
        dict
            Ranking -> background -> head -> insertion, deletion.
        """
        shown = {name: _shown(*ranking, self._steps) for name, ranking in rankings.items()}
        self._look([mask for masks in shown.values() for mask in (*masks, *(~mask for mask in masks))])
        return {
            name: {background: self._areas(background, masks) for background in self._backgrounds}
            for name, masks in shown.items()
        }

    def _look(self, masks: list[np.ndarray]) -> None:
        """Run the network on all pictures that it has not seen yet; rankings share many."""
        wanted = {(name, mask.tobytes()): mask for name in self._backgrounds for mask in masks}
        missing = [(key, mask) for key, mask in wanted.items() if key not in self._known]
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            pictures = [np.where(mask[..., None], self._picture, self._backgrounds[name]) for (name, _), mask in part]
            scores = self._score(np.stack(pictures))
            for row, (key, _) in enumerate(part):
                self._known[key] = {head: float(values[row]) for head, values in scores.items()}

    def _areas(self, background: str, masks: list[np.ndarray]) -> dict[str, tuple[float, float]]:
        inserted, deleted = ([self._known[background, m.tobytes()] for m in ms] for ms in (masks, [~m for m in masks]))
        share = np.array([mask.mean() for mask in masks])
        return {
            head: (
                float(trapezoid([entry[head] for entry in inserted], share)),
                float(trapezoid([entry[head] for entry in deleted], share)),
            )
            for head in inserted[0]
        }


def _shown(segments: np.ndarray, scores: np.ndarray, count: int) -> list[np.ndarray]:
    """Masks of growing area, from nothing to everything, highest scores first."""
    rank = np.empty(len(scores), dtype=int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    steps = np.unique(np.round(np.linspace(0, len(scores), count + 1)).astype(int))
    return [rank[segments] < step for step in steps]
