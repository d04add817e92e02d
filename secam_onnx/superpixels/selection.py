"""Which superpixels are kept in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secam_onnx.arguments import check_fields
from secam_onnx.errors import OptionError

__all__ = ["DEFAULT_COVERAGE", "Selection"]

DEFAULT_COVERAGE = 0.5


@dataclass(frozen=True)
class Selection:
    """At most one rule for keeping superpixels, always those of the highest mean score first.

    The paper keeps the highest superpixels; how many is our own choice: those that carry half of what speaks for the
    class (`coverage=0.5`).

    Attributes
    ----------
    top_segments : int or None
        Keep this many.
    threshold : float or None
        Keep those that score at least this fraction, in (0, 1], of the highest score.
    coverage : float or None
        Keep as few as carry this share, in (0, 1], of the sum of positive contributions.
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
        """`coverage`, or the default share that applies when no rule was given."""
        return DEFAULT_COVERAGE if self.coverage is None else self.coverage

    def keep(self, segment_scores: np.ndarray, segment_contributions: np.ndarray) -> np.ndarray:
        """Choose among the superpixels of one class.

        Parameters
        ----------
        segment_scores, segment_contributions : ndarray
            `(S,)`, mean score and contribution of each superpixel.

        Returns
        -------
        ndarray
            `(S,)` bool. Superpixels that speak against the class are never kept by `threshold` or `coverage`; where
            nothing speaks for it, nothing is.
        """
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
