"""timm's `config.json`: `pretrained_cfg`, or the same keys at the top as older versions wrote them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from secam_onnx.photograph.preprocessing_settings import INTERPOLATIONS, PreprocessingSettings
from secam_onnx.photograph.sidecars.values import by_channel, number
from secam_onnx.shown_text import quoted

__all__ = ["is_config", "settings"]

_DEFAULTS = {  # of timm.data.resolve_data_config
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_pct": 0.875,
    "crop_mode": "center",
}


def is_config(data: Mapping[str, Any]) -> bool:
    """Whether this is a `config.json` of timm."""
    flat = isinstance(data.get("architecture"), str) and not {"input_size", "mean", "crop_pct"}.isdisjoint(data)
    return isinstance(data.get("pretrained_cfg"), dict) or flat


def settings(data: Mapping[str, Any], source: str) -> PreprocessingSettings:
    """What `timm.data.create_transform` does for evaluation; a larger `test_input_size` is left alone, as timm does.

    Raises
    ------
    ValueError
        It asks for something that cannot be done exactly, or makes no sense; the message is the reason alone.
    """
    given = _nested(data)
    config = {**_DEFAULTS, **{key: value for key, value in given.items() if value}}
    height, width = _size(config, data.get("model_args"))
    share = number(config, "crop_pct")
    around = math.floor(height / share), math.floor(width / share)
    mode, interpolation = config["crop_mode"], config["interpolation"]
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation is {quoted(interpolation)} where one of {', '.join(INTERPOLATIONS)} was expected"
        )
    if mode not in ("center", "squash", "border"):
        raise ValueError(f"crop_mode is {quoted(mode)}, which is not supported (center, squash and border are)")
    if mode == "border" and share != 1:
        raise ValueError(f"crop_mode is 'border' with a crop_pct of {share}, which is supported for 1 only")
    if share > 1:
        raise ValueError(f"crop_pct is {share}, which pads the picture with black; that is not supported")
    if mode == "center" and height != width:
        raise ValueError(f"crop_mode is 'center' for {height} x {width} pixels, which is supported for squares only")
    mean, std = by_channel(config, "mean"), by_channel(config, "std")
    if min(std) <= 0:
        raise ValueError(f"std is {list(std)} where positive numbers were expected")
    resize_to: int | tuple[int, int] | None = around[0] if mode == "center" else around
    if resize_to == (height, width):
        resize_to = None
    letterbox = {"fit": "letterbox", "pad_color": tuple(float(round(255 * value)) for value in mean)}
    stretch: dict[str, Any] = {"crop": "none" if resize_to is None else None, "resize_to": resize_to}
    return PreprocessingSettings(
        size=(height, width),
        **(letterbox if mode == "border" else stretch),
        interpolation=interpolation,
        mean=tuple(255 * value for value in mean),
        std=tuple(255 * value for value in std),
        channel_order="RGB",
        crop_rounding="even",
        source=f"{source} (timm)",
    )


def _nested(data: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = data.get("pretrained_cfg")
    return nested if isinstance(nested, dict) else data


def _size(config: Mapping[str, Any], arguments: Any) -> tuple[int, int]:
    size = config["input_size"]
    own = arguments.get("img_size") if isinstance(arguments, dict) and config.get("fixed_input_size") else None
    if own:  # the network was built for another size than its weights were first trained for
        size = [3, own, own] if isinstance(own, int) else [3, *own] if isinstance(own, list) else own
    good = isinstance(size, list) and len(size) == 3 and all(type(edge) is int and 1 <= edge <= 8192 for edge in size)
    if not good:
        raise ValueError(f"input_size is {quoted(size)} where [channels, height, width] was expected")
    return size[1], size[2]
