"""How much of a logit belongs to no place of the picture, in words."""

from __future__ import annotations

__all__ = ["no_place"]


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
        `34 % of the logit (+2.10) belongs to no place`; where that is no part of a whole, as places and the rest speak
        against each other, `of the logit +6.00, +8.10 belongs to places and -2.10 to none`.
    """
    if logit and 0 <= bias / logit <= 1:
        return f"{100 * bias / logit:.0f} % of the logit ({bias:+.2f}) belongs to no place"
    return f"of the logit {logit:+.2f}, {logit - bias:+.2f} belongs to places and {bias:+.2f} to none"
