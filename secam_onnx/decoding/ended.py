"""Why an image got no answer from its decoder, in words for whoever sent it."""

from __future__ import annotations

import signal
from typing import Literal

from secam_onnx.decoding.decoder_limits import DecoderLimits
from secam_onnx.errors import ImageError

__all__ = ["EndedError", "ended", "too_large"]

_OUT_OF_TIME, _KILL = getattr(signal, "SIGPROF", -1), getattr(signal, "SIGKILL", -1)

Reason = Literal["time", "memory", "crash", "cancelled"]


class EndedError(ImageError):
    """An image whose decoder was ended, or ended itself.

    Attributes
    ----------
    reason : {'time', 'memory', 'crash', 'cancelled'}
        Why.
    """

    def __init__(self, message: str, reason: Reason = "crash") -> None:  # unpickled with the message alone
        super().__init__(message)
        self.reason = reason


def ended(name: str, code: int | None, limits: DecoderLimits, *, stopped: bool, late: bool) -> EndedError:
    """The error for an image whose decoder gave no answer.

    Parameters
    ----------
    name : str
        The image's name.
    code : int or None
        The exit code of the process, negative for a signal; None if it ran still.
    limits : DecoderLimits
        What the image may take.
    stopped, late : bool
        Whether it was ended from elsewhere, and whether it took too long by the clock.
    """
    if stopped:
        return EndedError(f"{name} was given up while it was decoded.", "cancelled")
    if late or code == -_OUT_OF_TIME:
        return EndedError(
            f"{name} takes more than the {limits.seconds:g} s that decoding may take; it is damaged or made "
            "to be slow. Save it again, as an ordinary JPEG or PNG.",
            "time",
        )
    if code == -_KILL:
        return EndedError(
            f"The system ended the process that decoded {name}, which it does where memory runs out; make the image "
            "smaller, or give it more memory.",
            "memory",
        )
    return EndedError(
        f"{name} crashes the decoder (exit code {code}); it is damaged. Save it again, as an ordinary JPEG or PNG.",
        "crash",
    )


def too_large(name: str, limits: DecoderLimits) -> EndedError:
    """The error for an image that takes more memory than it may."""
    return EndedError(
        f"{name} takes more than the {limits.memory >> 20:,} MB of memory that decoding may take; make it smaller, or "
        "save it as 8-bit RGB.",
        "memory",
    )
