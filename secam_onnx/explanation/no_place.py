"""How much of a logit belongs to no place of the picture, in words."""

from __future__ import annotations

__all__ = ["no_place"]

_MOST = 10  # times the logit, beyond which a share says nothing


def no_place(bias: float, logit: float) -> str:
    """Say how much of a logit belongs to no place: to the class token, to constants, and to what all places share.

    Parameters
    ----------
    bias : float
        That part.
    logit : float
        The whole.

    Returns
    -------
    str
        `34 % of the logit (+2.10) belongs to no place`; without a share where the logit is near 0.
    """
    if abs(bias) > _MOST * abs(logit):
        return f"{bias:+.2f} of the logit belongs to no place"
    return f"{100 * bias / logit if logit else 0:.0f} % of the logit ({bias:+.2f}) belongs to no place"
