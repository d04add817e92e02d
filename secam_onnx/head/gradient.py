"""The gradient of the logits with respect to a tensor of the head, which goes backwards from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Gradient"]


@dataclass(frozen=True)
class Gradient:
    """`dz_c / dt`, for the classes asked for and a tensor `t` of the head, as a tensor of the contribution model.

    Attributes
    ----------
    name : str
        Name of the tensor; for a selection, that of the class ids.
    of : str
        Name of `t` in the model.
    form : {'selection', 'dense', 'uniform'}
        `selection`: `t` is the logits, so the gradient is one-hot, and the tensor is the class ids.
        `dense`: `(N, K, *t.shape[1:])`.
        `uniform`: `(N, K, C)`, as the gradient is the same at all positions of a feature map.
    channel_axis : int
        The axis of `t` that counts channels, if the gradient is uniform.
    """

    name: str
    of: str
    form: Literal["selection", "dense", "uniform"] = "dense"
    channel_axis: int = 1
