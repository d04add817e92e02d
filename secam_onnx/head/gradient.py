"""The gradient of the logits with respect to one tensor of the head, as it goes backwards from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Gradient"]


@dataclass(frozen=True)
class Gradient:
    """`dz_c / dt` for every class asked for and one tensor `t` of the head, as a tensor of the contribution model.

    Attributes
    ----------
    name : str
        Tensor name; for a selection, the class ids.
    of : str
        The tensor `t`, by its name in the model.
    form : {'selection', 'dense', 'uniform'}
        `selection`: `t` is the logits themselves, so the gradient is one-hot and not written out.
        `dense`: `(N, K, *t.shape[1:])`.
        `uniform`: the gradient is the same at all positions of a feature map: `(N, K, C)`.
    channel_axis : int
        The axis of `t` that counts channels, where the gradient is uniform.
    """

    name: str
    of: str
    form: Literal["selection", "dense", "uniform"] = "dense"
    channel_axis: int = 1
