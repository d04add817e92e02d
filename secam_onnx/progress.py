"""How what takes long says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

__all__ = ["Progress", "Update", "silent"]

Update = Callable[[int, int], object]
"""Called with the number of images done and their total."""

Progress = Callable[[str], AbstractContextManager[Update | None]]
"""Called with the name of a step, which runs inside the returned context manager; that yields an `Update` or None."""


def silent(_: str) -> AbstractContextManager[None]:
    """A `Progress` that shows nothing."""
    return nullcontext()
