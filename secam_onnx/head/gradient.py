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
    part : (int, int, int) or None
        Where a dense gradient is zero but for some tokens, such as the class token, which alone the tensor holds: the
        axis of `t`, the first of them, and how many are left out behind the last. What a block does to one token costs
        a hundredth of what it does to all.
    """

    name: str
    of: str
    form: Literal["selection", "dense", "uniform"] = "dense"
    channel_axis: int = 1
    part: tuple[int, int, int] | None = None

    @property
    def varies_along(self) -> int | None:
        """The axis of which only a part is held."""
        return None if self.part is None else self.part[0]
