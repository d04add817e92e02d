"""Options that several commands share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "activation_option",
    "attribution_option",
    "features_option",
    "labels_option",
    "logits_option",
    "preprocessing_options",
    "token_grid_option",
]


def _rows_and_columns(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", value.strip().lower())
    if match is None:
        raise click.BadParameter(f"{value!r} is no grid; ROWSxCOLUMNS was expected, such as 7x7.")
    return int(match[1]), int(match[2])


logits_option = click.option(
    "--logits",
    metavar="NAME",
    help="Output to explain, where there are several, or any tensor (N, classes) within; explain: or all heads.",
)
activation_option = click.option(
    "--activation",
    type=click.Choice(["auto", "softmax", "sigmoid", "none"]),
    help="What makes probabilities of raw outputs.  [default: what the model says; softmax of several, none of one]",
)
features_option = click.option(
    "--features", metavar="NAME", help="A feature map further up than the default, by tensor name."
)
token_grid_option = click.option(
    "--token-grid",
    metavar="ROWSxCOLUMNS",
    callback=_rows_and_columns,
    help="Of a feature map made of tokens.  [default: as the picture is high and wide]",
)
attribution_option = click.option(
    "--attribution",
    metavar="NAME",
    help="How the map is made: gradient, integrated or masking.  [default: what fits the head]",
)
labels_option = click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Class names: one a line, with or without indices; JSON, CSV, YAML.  [default: what the file, or those "
    "beside it, say]",
)


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        example = "114,114,114 (of 0..255)" if param.name == "pad_color" else "0.485,0.456,0.406"
        raise click.BadParameter(f"{value!r}; numbers, as {example}, or one, were expected.") from None


def _range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}; the values of black and white, as 0,4095, were expected.") from None
    if not low < high < float("inf") or low == float("-inf"):
        raise click.BadParameter(f"{value!r}; two finite numbers, the lower first, were expected.")
    return low, high


def _channels(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not re.fullmatch(r"\s*[1-9]\d{0,2}\s*(,\s*[1-9]\d{0,2}\s*)*", value):
        raise click.BadParameter(f"{value!r}; numbers of channels, counted from 1, as 4,3,2, were expected.")
    return tuple(int(part) for part in value.split(","))


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", value.strip().lower())
    if not found:
        raise click.BadParameter(f"{value!r}; pixels, as 224, or height and width, as 192x256, were expected.")
    return int(found[1]), int(found[2] or found[1])


def _crop(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    if value is None or value.lower() == "none":
        return value and "none"
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r}; a fraction, as 0.875, or none was expected.") from None


def _choice(name: str, *choices: str, **settings: Any) -> Callable[[Any], Any]:
    return click.option(name, type=click.Choice(choices, case_sensitive=False), **settings)


_PREPROCESSING: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--preprocess",
        metavar="PRESET",
        help="torchvision (assumed where nothing says), lite, keras-caffe, keras-tf, unit or raw. The options below "
        "change single settings of it, or of what the file, those beside it or the graph say.",
    ),
    click.option("--mean", metavar="A,B,C", callback=_numbers, help="Of pixels in 0..1; a value above 1: in 0..255."),
    click.option("--std", metavar="A,B,C", callback=_numbers, help="In the same unit. One number: for all channels."),
    click.option("--size", metavar="N|HxW", callback=_size, help="Input in pixels, where the model takes any."),
    click.option(
        "--crop",
        metavar="FRACTION|none",
        callback=_crop,
        help="Shorter side to size / FRACTION, then centre crop; none: the whole picture is stretched.",
    ),
    _choice(
        *("--fit", "crop", "stretch", "letterbox"),
        metavar="NAME",
        help="crop: as --crop says. stretch: the whole picture to size / FRACTION, then centre crop. letterbox: all of "
        "it fitted inside, the rest padded.",
    ),
    click.option(
        "--pad-color", metavar="R,G,B", callback=_numbers, help="Of letterbox, in 0..255, or one number.  [default: 0]"
    ),
    _choice(
        *("--interpolation", "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
        metavar="NAME",
        help="nearest, bilinear, bicubic, lanczos, box or hamming.",
    ),
    _choice("--layout", "NCHW", "NHWC", metavar="NCHW|NHWC", help="Where the shape of the input leaves it open."),
    _choice("--channel-order", "RGB", "BGR", metavar="RGB|BGR", help="Of the input; mean and std follow it."),
    click.option(
        "--value-range",
        metavar="LOW,HIGH",
        callback=_range,
        help="Values of the image that stand for 0 and 255.  [default: of its type, or of a TIFF's tags]",
    ),
    click.option(
        "--channels",
        metavar="A,B,...",
        callback=_channels,
        help="Which channels of the image the model gets, counted from 1.  [default: all]",
    ),
    click.option(
        "--display-channels",
        metavar="A[,B,C]",
        callback=_channels,
        help="Which are shown, as red, green and blue or as grey, and make superpixels.  [default: the first three]",
    ),
)


def preprocessing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--preprocess` and the options of single settings; the command gets them as `preprocessing`, or None."""

    @functools.wraps(command)
    def with_settings(
        *, preprocess: str | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, **others: Any
    ) -> None:
        from secam_onnx.photograph.preprocessing_settings import (
            OF_IMAGES,
            PreprocessingSettings,
            in_pixel_values,
            preset,
        )

        names = ("size", "crop", "fit", "pad_color", "interpolation", "layout", "channel_order", *OF_IMAGES)
        single = {name: others.pop(name) for name in names}
        single["mean"], single["std"] = in_pixel_values(mean, std)
        settings = PreprocessingSettings(**single)
        if preprocess is not None:
            settings = settings.over(preset(preprocess))
        command(preprocessing=settings if settings.given else None, **others)

    return _added(with_settings, _PREPROCESSING)


_SELECTION: tuple[Callable[[Any], Any], ...] = (
    click.option("--top-segments", type=int, metavar="K", help="Keep the K highest superpixels."),
    click.option(
        "--threshold", type=float, metavar="FRACTION", help="Keep those of at least this part of the highest."
    ),
    click.option(
        "--coverage", type=float, metavar="SHARE", help="Keep the fewest that carry this share.  [default: 0.5]"
    ),
)
_FUSION: tuple[Callable[[Any], Any], ...] = (
    click.option("--fused", is_flag=True, help="Put all of SeCAM into the graph; the options below go with it."),
    click.option(
        "--top-k",
        type=int,
        metavar="K",
        help="Explain the K highest classes, where the run says nothing.  [default: 1]",
    ),
    click.option("--require-classes", is_flag=True, help="No default: every run says which classes."),
    click.option("--no-overlay", is_flag=True, help="Leave the finished picture out."),
    click.option("--float16", is_flag=True, help="Store weights with 16 bits."),
    click.option("--n-segments", type=int, metavar="N", help="How many superpixels to aim at.  [default: 50]"),
    click.option("--compactness", type=float, metavar="C", help="Higher: rounder superpixels.  [default: 15]"),
    *_SELECTION,
    attribution_option,
)


def _added(command: Callable[..., None], options: tuple[Callable[[Any], Any], ...]) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which superpixels a picture keeps."""
    return _added(command, _SELECTION)


def fusion_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--fused` and what goes with it; the command gets them as `fusion`, or None."""

    @functools.wraps(command)
    def with_fusion(*, fused: bool, **others: Any) -> None:
        from secam_onnx.fusion import Fusion
        from secam_onnx.superpixels import Segmenter
        from secam_onnx.superpixels.selection import Selection

        names = (
            "top_k", "require_classes", "no_overlay", "float16", "n_segments", "compactness", "top_segments",
            "threshold", "coverage", "attribution",
        )  # fmt: skip
        given = {name: value for name in names if (value := others.pop(name)) is not None and value is not False}
        if given and not fused:
            raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --fused.")
        if {"top_k", "require_classes"} <= given.keys():
            raise click.UsageError(
                "--top-k is the default of classes, which --require-classes leaves out; give one of them."
            )
        fusion = None
        if fused:
            fusion = Fusion(
                Segmenter("kmeans", **{name: given[name] for name in ("n_segments", "compactness") if name in given}),
                Selection(*(given.get(name) for name in ("top_segments", "threshold", "coverage"))),
                top_k=given.get("top_k", 1),
                overlay="no_overlay" not in given,
                default_classes="require_classes" not in given,
                float16="float16" in given,
                attribution=given.get("attribution"),
            )
        command(fusion=fusion, **others)

    return _added(with_fusion, _FUSION)
