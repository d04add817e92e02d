"""The values that the fields of a `Preprocessing` may have, and the errors for others."""

from __future__ import annotations

from typing import Any

from secam_onnx.errors import OptionError
from secam_onnx.photograph.preprocessing_settings import INTERPOLATIONS, MAX_CHANNELS, is_color

__all__ = ["check_channel_order", "check_channels", "check_values"]

_LONGEST_EDGE, _LONGEST_RESIZED = 8192, 16384
_LARGEST = 1e30  # which float32 holds, and its reciprocal
_EXPECTED = {
    "size": f"a height and a width of 1 to {_LONGEST_EDGE} pixels",
    "resize_to": "None, 'letterbox', a length of at least the size, or two",
    "interpolation": f"one of {', '.join(INTERPOLATIONS)}",
    "mean": f"a finite number for each channel (1 to {MAX_CHANNELS}), as many as of std,",
    "std": "a finite number above 0 for each channel",
    "layout": "NCHW or NHWC",
    "channel_order": "RGB or BGR",
    "crop_rounding": "even or down",
    "value_range": "two finite numbers, the lower first,",
    "channels": "a number for each channel of the model, counted from 1,",
    "display_channels": "one channel or three, counted from 1,",
    "pad_color": "with resize_to 'letterbox' one number of 0..255 or one for each channel, else None,",
}


def check_values(fields: Any) -> None:
    """Check all fields of a `Preprocessing`, whose types were checked before.

    Raises
    ------
    OptionError
        A value is outside its range, or does not go with another one; the message names the field.
    """
    size, mean, std = fields.size, fields.mean, fields.std
    checks = {
        "size": len(size) == 2 and all(isinstance(edge, int) and 1 <= edge <= _LONGEST_EDGE for edge in size),
        "resize_to": fields.resize_to in (None, "letterbox") or _is_around_the_crop(fields.resize_to, size),
        "interpolation": fields.interpolation in INTERPOLATIONS,
        "mean": 1 <= len(mean) == len(std) <= MAX_CHANNELS and all(abs(value) <= _LARGEST for value in mean),
        "std": all(1 / _LARGEST <= value <= _LARGEST for value in std),
        "layout": fields.layout in ("NCHW", "NHWC"),
        "channel_order": fields.channel_order in ("RGB", "BGR"),
        "crop_rounding": fields.crop_rounding in ("even", "down"),
        "value_range": fields.value_range is None or _is_range(fields.value_range),
        "channels": _are_channels(fields.channels, len(mean)),
        "display_channels": _are_channels(fields.display_channels, 1, 3),
        "pad_color": _is_padding(fields.pad_color, len(mean))
        if fields.resize_to == "letterbox"
        else fields.pad_color is None,
    }
    for name, good in checks.items():
        if not good:
            raise OptionError(f"Preprocessing: {name} is {getattr(fields, name)!r}; {_EXPECTED[name]} was expected.")
    check_channel_order(fields.channel_order, len(mean))


def check_channel_order(order: str | None, n_channels: int) -> None:
    """Refuse BGR for another number of channels than three.

    Raises
    ------
    OptionError
        The model takes another number of channels.
    """
    if order == "BGR" and n_channels != 3:
        raise OptionError(
            f"channel_order is BGR, which is an order of three channels, and the model takes {n_channels}. Leave "
            f"--channel-order out{', and say with --channels which ones the model gets' * (n_channels > 1)}."
        )


def check_channels(numbers: tuple[int, ...] | None, n_channels: int) -> None:
    """Refuse more or fewer channels than the model takes.

    Raises
    ------
    OptionError
        Their number is wrong.
    """
    if numbers is not None and len(numbers) != n_channels:
        raise OptionError(
            f"The model takes {n_channels} channel{'s' * (n_channels > 1)}, and {len(numbers)} were named (--channels "
            f"{','.join(map(str, numbers))}); name as many, counted from 1."
        )


def _is_around_the_crop(resize_to: object, size: tuple[int, int]) -> bool:
    edges = resize_to if isinstance(resize_to, tuple) else (resize_to, resize_to)
    least = size if isinstance(resize_to, tuple) else (max(size),) * 2
    return len(edges) == 2 and all(
        isinstance(edge, int) and low <= edge <= _LONGEST_RESIZED for edge, low in zip(edges, least, strict=False)
    )


def _is_range(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and -_LARGEST <= values[0] < values[1] <= _LARGEST


def _are_channels(numbers: tuple[int, ...] | None, *counts: int) -> bool:
    if numbers is None:
        return True
    return len(numbers) in counts and all(isinstance(number, int) and 1 <= number <= MAX_CHANNELS for number in numbers)


def _is_padding(color: tuple[float, ...] | None, n_channels: int) -> bool:
    """One number, or one for each channel of the pictures, which are RGB where the model takes one channel."""
    return is_color(color) and len(color or ()) in (1, 3 if n_channels == 1 else n_channels)
