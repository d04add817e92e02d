"""What to look for in a model; a module of its own, as commands and fused files need it without onnx."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANYTHING", "HeadQuery", "blocks_by_rule"]


@dataclass(frozen=True)
class HeadQuery:
    """What to look for in a model. What is None is chosen by the search.

    Attributes
    ----------
    logits : str, optional
        The model output to explain, or any tensor `(N, classes)` in the graph; needed only where several outputs lead
        to a head.
    features : str or tuple of str, optional
        A feature map further up than the default, by tensor name; or those of several branches.
    token_grid : (int, int), optional
        Rows and columns of a feature map made of tokens, `(N, tokens, C)`.
    blocks : int or tuple of int, optional
        In a transformer, how many of its last attention blocks lie between the feature map and the logits; if there are
        several numbers, the maps of all are averaged.
    """

    logits: str | None = None
    features: str | tuple[str, ...] | None = None
    token_grid: tuple[int, int] | None = None
    blocks: int | tuple[int, ...] | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the wanted feature maps."""
        return (self.features,) if isinstance(self.features, str) else self.features or ()

    @property
    def given(self) -> list[str]:
        """Names of the fields that are not None."""
        return [name for name, value in vars(self).items() if value is not None]


def blocks_by_rule(total: int) -> int:
    """How many attention blocks lie between feature map and logits where no number is asked for.

    A third of them, rounded up (studies/attention).
    """
    return -(-total // 3)


ANYTHING = HeadQuery()
"""The query for a model with a single head."""
