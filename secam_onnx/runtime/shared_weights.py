"""Weights that are read once and shared by the sessions that compute with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SharedWeights"]


@dataclass(frozen=True)
class SharedWeights:
    """Values of initializers that a model declares as external data.

    Attributes
    ----------
    shared : dict of str to ndarray
        Values that files hold as well, in writeable arrays. Sessions compute with these very arrays and keep alive
        those that they need; they look into the files only while they optimise the graph.
    root : str
        The folder that the files' locations are relative to.
    copied : dict of str to ndarray
        Values that no file holds, so that their location means nothing; each session copies them.
    """

    shared: dict[str, np.ndarray] = field(default_factory=dict)
    root: str = ""
    copied: dict[str, np.ndarray] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.shared or self.copied)

    def get(self, name: str) -> np.ndarray | None:
        """The value of an initializer, if it is among them."""
        return self.shared.get(name, self.copied.get(name))
