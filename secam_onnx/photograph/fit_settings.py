"""Fitting settings to a model's input: what they leave open is filled in."""

from __future__ import annotations

from typing import Any, Literal

from secam_onnx.errors import OptionError
from secam_onnx.photograph.preprocessing_fields import check_channels
from secam_onnx.photograph.preprocessing_settings import ASSUMED_OTHER_CHANNELS, PRESETS, PreprocessingSettings

__all__ = ["DEFAULT_EDGE", "by_text", "fit_settings"]

DEFAULT_EDGE = 224
"""Height and width where neither the model nor the settings say."""


def fit_settings(
    settings: PreprocessingSettings,
    size: tuple[int | None, int | None],
    layout: Literal["NCHW", "NHWC"],
    n_channels: int,
) -> dict[str, Any]:
    """The fields of a `Preprocessing`; see `Preprocessing.from_settings` for the parameters.

    Raises
    ------
    OptionError
        The settings are for another size, layout or number of channels.
    """
    source = settings.source or "as given"
    rows, columns = _fit_size(settings.size or size, size, source)
    if settings.layout not in (None, layout):
        raise OptionError(
            f"The model's input is {layout}, but the preprocessing ({source}) makes {settings.layout}; leave the "
            "layout to the model."
        )
    known = settings.with_defaults(PRESETS["torchvision"] if n_channels == 3 else ASSUMED_OTHER_CHANNELS)
    values: dict[str, Any] = {name: getattr(known, name) for name in known.given if name not in ("crop", "fit")}
    if known.resize_to is None:
        values["resize_to"] = _resize_to(known, rows, columns)
    if known.fit == "letterbox":
        values.setdefault("pad_color", (0.0,))
    elif known.pad_color is not None:
        raise OptionError("pad_color is given, and only fit 'letterbox' pads; leave it out, or give that fit.")
    for name in ("mean", "std"):
        given = values[name]
        if len(given) not in (1, n_channels):
            raise OptionError(
                f"The model takes {n_channels} channel{'s' * (n_channels > 1)}, but the preprocessing ({source}) "
                f"has a {name} of {len(given)}; give --{name} one number for all channels, or one for each."
            )
        values[name] = given * n_channels if len(given) == 1 else given
    check_channels(settings.channels, n_channels)
    order = "RGB" if n_channels == 1 else values["channel_order"]  # one channel has no order
    return {**values, "size": (rows, columns), "layout": layout, "channel_order": order}


def by_text(size: tuple[int | None, ...]) -> str:
    """`224 x 224`; `any` for a length that is open."""
    return " x ".join("any" if edge is None else str(edge) for edge in size)


def _fit_size(
    wanted: tuple[int | None, int | None], size: tuple[int | None, int | None], source: str
) -> tuple[int, int]:
    """The model's own height and width, else what the settings say, else the default."""
    if any(None not in pair and pair[0] != pair[1] for pair in zip(size, wanted, strict=True)):
        raise OptionError(
            f"The model takes inputs of {by_text(size)} (height x width), but the preprocessing ({source}) makes "
            f"{by_text(wanted)}. With --size {'x'.join(str(edge or DEFAULT_EDGE) for edge in size)} its other settings "
            "are used."
        )
    rows, columns = (
        next((length for length in pair if length is not None), DEFAULT_EDGE) for pair in zip(size, wanted, strict=True)
    )
    return rows, columns


def _resize_to(
    known: PreprocessingSettings, rows: int, columns: int
) -> int | tuple[int, int] | Literal["letterbox"] | None:
    """`resize_to`, from the share of the photograph that the crop keeps and from `fit`."""
    if known.fit == "letterbox":
        return "letterbox"
    share = known.crop
    if share is None and known.fit == "crop":
        share = 0.875
    if share is None or share == "none":
        return None
    if known.fit == "stretch":
        return round(rows / share), round(columns / share)
    return round(max(rows, columns) / share)
