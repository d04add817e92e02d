"""The rule for which superpixels pictures keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secam_onnx.arguments import check_fields
from secam_onnx.errors import OptionError

__all__ = ["DEFAULT_COVERAGE", "Selection"]

DEFAULT_COVERAGE = 0.5


@dataclass(frozen=True)
class Selection:
    """Which superpixels pictures keep, in the order of their scores; at most one rule may be given.

    The paper keeps the superpixels of the highest scores. How many is our own choice: by default those that carry half
    of what speaks for the class (`coverage=0.5`).

    Attributes
    ----------
    top_segments : int or None
        Keep this many superpixels.
    threshold : float or None
        Keep the superpixels that score at least this fraction, in (0, 1], of the highest score.
    coverage : float or None
        Keep the fewest superpixels that carry this share, in (0, 1], of the sum of positive contributions.
    """

    top_segments: int | None = None
    threshold: float | None = None
    coverage: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} were given together; choose one way to select superpixels.")
        if self.top_segments is not None and self.top_segments < 1:
            raise OptionError(f"top_segments is {self.top_segments}; a whole number, 1 or more, was expected.")
        for name in ("threshold", "coverage"):
            value = given.get(name)
            if value is not None and not 0 < value <= 1:
                raise OptionError(f"{name} is {value}; a number above 0 and at most 1 was expected.")

    @property
    def effective_coverage(self) -> float:
        """`coverage`, or the default that applies without any rule."""
        return DEFAULT_COVERAGE if self.coverage is None else self.coverage

    def keep(self, segment_scores: np.ndarray, segment_contributions: np.ndarray) -> np.ndarray:
        """Choose the superpixels to keep for one class.

        Parameters
        ----------
        segment_scores, segment_contributions : ndarray
            `(S,)`, score and contribution of each superpixel.

        Returns
        -------
        ndarray
            `(S,)` bool. `threshold` and `coverage` never keep superpixels that speak against the class; where nothing
            speaks for the class, they keep none.
        """
        # Repeated in fusion/pictures.py (as nodes) and page/explanation.js; test_pictures and test_modules compare.
        order = np.argsort(-segment_scores, kind="stable")
        keep = np.zeros(len(segment_scores), dtype=bool)
        if self.top_segments is not None:
            keep[order[: self.top_segments]] = True
        elif self.threshold is not None:
            keep = (segment_scores > 0) & (segment_scores >= self.threshold * segment_scores.max())
        else:
            share = self.effective_coverage
            order = order[segment_contributions[order] > 0]
            carried = np.cumsum(segment_contributions[order])
            if order.size:
                enough = np.searchsorted(carried, share * carried[-1] * (1 - 1e-9)) + 1
                keep[order[:enough]] = True
        return keep

    def __str__(self) -> str:
        if self.top_segments is not None:
            return f"top {self.top_segments}"
        if self.threshold is not None:
            return f"score at least {self.threshold:.0%} of the highest"
        return f"coverage {self.effective_coverage:.0%}"
