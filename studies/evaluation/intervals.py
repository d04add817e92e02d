"""Means with bootstrap intervals, over groups whose members are no independent samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["interval", "text"]

DRAWS = 4000


def interval(values: Sequence[float], groups: Sequence[str] | None = None) -> tuple[float, float, float]:
    """Mean over groups of the means within, and its 95 % interval by drawing groups with replacement.

    Parameters
    ----------
    values : sequence of float
        One number a sample.
    groups : sequence of str, optional
        The group of each; default: each sample is a group of its own.
    """
    of_group: dict[object, list[float]] = {}
    for value, group in zip(values, range(len(values)) if groups is None else groups, strict=True):
        of_group.setdefault(group, []).append(value)
    means = np.array([np.mean(entry) for entry in of_group.values()])
    drawn = means[np.random.default_rng(0).integers(len(means), size=(DRAWS, len(means)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(means.mean()), float(low), float(high)


def text(values: tuple[float, float, float], form: str = ".3f") -> str:
    """`mean [low, high]`."""
    mean, low, high = values
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"
