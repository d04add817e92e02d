"""What decoding one image may take, and how it is ended from elsewhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from secam_onnx.errors import OptionError
from secam_onnx.photograph.images import MAX_PIXELS

__all__ = ["Cancellation", "DecoderLimits"]

_BASE_BYTES, _PIXEL_BYTES = 256 << 20, 72  # 16-bit RGBA with a value range takes 68


@dataclass(frozen=True)
class DecoderLimits:
    """What decoding one image may take.

    Attributes
    ----------
    seconds : float
        Processor time, which Linux and macOS enforce. Twice as much and a second may pass on the clock, everywhere.
    memory : int
        Bytes, which Linux enforces.
    """

    seconds: float = 10.0
    memory: int = _BASE_BYTES + _PIXEL_BYTES * MAX_PIXELS

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory <= 0:
            raise OptionError(f"Decoding may take {self.seconds} s and {self.memory} bytes; both must be above 0.")

    @classmethod
    def for_pixels(cls, max_pixels: int, seconds: float = 10.0) -> DecoderLimits:
        """Enough memory for the most expensive valid image of so many pixels: 256 MB and 72 bytes a pixel."""
        return cls(seconds, _BASE_BYTES + _PIXEL_BYTES * max_pixels)

    @property
    def patience_s(self) -> float:
        """Seconds on the clock after which a decoder is ended: it may have had to wait for a processor."""
        return 2 * self.seconds + 1


class Cancellation:
    """Ends what one caller has running, from any thread; what begins afterwards ends at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """End it."""
        with self._lock:
            self.cancelled = True
            ends = list(self._ends)
        for end in ends:
            end()

    @contextlib.contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Have a function called by `cancel`, while the block lasts."""
        with self._lock:
            self._ends.append(end)
        try:
            if self.cancelled:
                end()
            yield
        finally:
            with self._lock:
                self._ends.remove(end)
