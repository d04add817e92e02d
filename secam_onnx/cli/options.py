"""Options that several commands share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["features_option", "labels_option", "logits_option", "preprocessing_options"]

logits_option = click.option("--logits", metavar="NAME", help="Model output to explain, where there are several.")
features_option = click.option(
    "--features", metavar="NAME", help="A feature map further up than the default, by tensor name."
)
labels_option = click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Class names: a text file, one a line, JSON or CSV.  [default: of a config.json beside the model]",
)


class _Numbers(click.ParamType):
    """One number, or one for each channel."""

    name = "A,B,C"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no number and no three numbers with commas, as 0.485,0.456,0.406.", param, ctx)


class _Size(click.ParamType):
    """A number of pixels, or height and width."""

    name = "N|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value.strip().lower())
        if not found:
            self.fail(f"{value!r} is no size; 224 or 192x256 (height, width) was expected.", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class _Crop(click.ParamType):
    """A fraction, or none."""

    name = "FRACTION|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value.lower() == "none":
            return "none"
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is no fraction; 0.875, 1 or none was expected.", param, ctx)


_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")  # as in settings, without its import
_PREPROCESSING: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--preprocess",
        metavar="PRESET",
        help="For a file that does not say, nor one beside it: torchvision (assumed), lite, keras-caffe, keras-tf, unit "
        "or raw. The options below change single settings of it.",
    ),
    click.option("--mean", type=_Numbers(), help="Subtracted from the pixels, of 0..1; above 1: of 0..255."),
    click.option("--std", type=_Numbers(), help="Then the divisor, in the same unit; one number: for all channels."),
    click.option("--size", type=_Size(), help="Of the input in pixels, where the model takes any."),
    click.option(
        "--crop",
        type=_Crop(),
        help="Shorter side resized to size / FRACTION, then centre crop; none: the whole picture is stretched.",
    ),
    click.option("--interpolation", type=click.Choice(_INTERPOLATIONS), metavar="NAME", help="bilinear, bicubic, ..."),
    click.option(
        "--layout", type=click.Choice(("NCHW", "NHWC"), case_sensitive=False), help="Where the shape is open."
    ),
    click.option(
        "--channel-order", type=click.Choice(("RGB", "BGR"), case_sensitive=False), help="Mean and std follow it."
    ),
)


def preprocessing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--preprocess` and the options of single settings; the command gets them as `preprocessing`, or None."""

    @functools.wraps(command)
    def with_settings(
        *, preprocess: str | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, **others: Any
    ) -> None:
        from secam_onnx.settings import PreprocessingSettings, in_pixel_values, preset

        names = ("size", "crop", "interpolation", "layout", "channel_order")
        single = {name: others.pop(name) for name in names}
        single["mean"], single["std"] = in_pixel_values(mean, std)
        settings = PreprocessingSettings(**single)
        if preprocess is not None:
            settings = settings.over(preset(preprocess))
        command(preprocessing=settings if settings.given else None, **others)

    for option in reversed(_PREPROCESSING):
        with_settings = option(with_settings)
    return with_settings
