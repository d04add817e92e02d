"""`--preprocess` and the options for single settings of the preprocessing, which a command gets as one value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from secam_onnx.cli.options import grouped

if TYPE_CHECKING:
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

__all__ = ["preprocessing_options"]


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        example = "114,114,114 (of 0..255)" if param.name == "pad_color" else "0.485,0.456,0.406"
        raise click.BadParameter(f"{value!r}; one number, or several such as {example}, were expected.") from None


def _range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}; the values of black and white, such as 0,4095, were expected.") from None
    if not low < high < float("inf") or low == float("-inf"):
        raise click.BadParameter(f"{value!r}; two finite numbers, the lower first, were expected.")
    return low, high


def _channels(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not re.fullmatch(r"\s*[1-9]\d{0,2}\s*(,\s*[1-9]\d{0,2}\s*)*", value):
        raise click.BadParameter(f"{value!r}; numbers of channels, counted from 1, such as 4,3,2, were expected.")
    return tuple(int(part) for part in value.split(","))


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", value.strip().lower())
    if not found:
        raise click.BadParameter(
            f"{value!r}; pixels, such as 224, or height and width, such as 192x256, were expected."
        )
    return int(found[1]), int(found[2] or found[1])


def _crop(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    if value is None or value.lower() == "none":
        return value and "none"
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r}; a fraction, such as 0.875, or none was expected.") from None


def _settings(
    preprocess: str | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, **single: Any
) -> PreprocessingSettings | None:
    """The settings that were given; None where none was."""
    from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings, in_pixel_values, preset

    single["mean"], single["std"] = in_pixel_values(mean, std)
    settings = PreprocessingSettings(**single)
    if preprocess is not None:
        settings = settings.with_defaults(preset(preprocess))
    return settings if settings.given else None


def _choice(*choices: str) -> click.Choice[str]:
    return click.Choice(choices, case_sensitive=False)


preprocessing_options = grouped(
    "preprocessing",
    _settings,
    click.option(
        "--preprocess",
        metavar="PRESET",
        help="Preprocess as torchvision (assumed where nothing else is known), lite, keras-caffe, keras-tf, unit or "
        "raw. The options below change single settings of the preset, or of what the model file, the files beside it "
        "or the graph say.",
    ),
    click.option(
        "--mean",
        metavar="A,B,C",
        callback=_numbers,
        help="Subtract this mean; pixels are in 0..1, or in 0..255 if a value is above 1.",
    ),
    click.option(
        "--std",
        metavar="A,B,C",
        callback=_numbers,
        help="Divide by this, in the unit of the mean; one number stands for all channels.",
    ),
    click.option(
        "--size", metavar="N|HxW", callback=_size, help="Give the model pictures of this size, if it takes any size."
    ),
    click.option(
        "--crop",
        metavar="FRACTION|none",
        callback=_crop,
        help="Resize the shorter side to size / FRACTION and crop the centre; none stretches the whole picture.",
    ),
    click.option(
        "--fit",
        type=_choice("crop", "stretch", "letterbox"),
        metavar="NAME",
        help="crop does what --crop says; stretch resizes the whole picture to size / FRACTION and crops the centre; "
        "letterbox fits all of it inside and pads the rest.",
    ),
    click.option(
        "--pad-color",
        metavar="R,G,B",
        callback=_numbers,
        help="Pad a letterbox with this colour, in 0..255, or with one number for all channels.  [default: 0]",
    ),
    click.option(
        "--interpolation",
        type=_choice("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
        metavar="NAME",
        help="Resize by nearest, bilinear, bicubic, lanczos, box or hamming.",
    ),
    click.option(
        "--layout",
        type=_choice("NCHW", "NHWC"),
        metavar="NCHW|NHWC",
        help="Feed this layout, if the shape of the model's input fits both.",
    ),
    click.option(
        "--channel-order",
        type=_choice("RGB", "BGR"),
        metavar="RGB|BGR",
        help="Feed channels in this order; mean and std follow it.",
    ),
    click.option(
        "--value-range",
        metavar="LOW,HIGH",
        callback=_range,
        help="Take these values of the image as 0 and 255.  [default: those of its type, or of a TIFF's tags]",
    ),
    click.option(
        "--channels",
        metavar="A,B,...",
        callback=_channels,
        help="Feed these channels of the image, counted from 1.  [default: all]",
    ),
    click.option(
        "--display-channels",
        metavar="A[,B,C]",
        callback=_channels,
        help="Show these channels, as red, green and blue or as grey, and make superpixels of them.  [default: the "
        "first three]",
    ),
)
