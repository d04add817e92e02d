"""Hugging Face's `preprocessor_config.json` and the `id2label` of `config.json`.

What a key means, and what its absence means, depends on the type of the image processor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings, Values
from secam_onnx.photograph.sidecars.values import by_channel, flag, number
from secam_onnx.shown_text import quoted, shown_name

__all__ = ["ACTIVATIONS", "is_image_processor", "settings"]

ACTIVATIONS = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "none",
}
"""What turns raw outputs into probabilities, by the `problem_type` of a `config.json`."""


_HALF, _IMAGENET = [0.5] * 3, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_CLIP = {
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "do_center_crop": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_MOBILENET = {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True, "resample": 2}
_COMMON = {
    "do_resize": True,
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": _HALF,
    "image_std": _HALF,
}
_IMAGENET_STATISTICS = {"image_mean": _IMAGENET[0], "image_std": _IMAGENET[1]}
# The defaults of transformers 5, by type of processor; types with other steps are missing.
_TYPES: dict[str, dict[str, Any]] = {
    "Beit": {"size": 224, "crop_size": 224},
    "Bit": _CLIP,
    "CLIP": _CLIP,
    "ConvNext": {"size": {"shortest_edge": 384}, "crop_pct": 224 / 256},
    "DeiT": {"size": 256, "crop_size": 224, "do_center_crop": True},
    "EfficientNet": {"size": 346, "crop_size": 289, "rescale_offset": False, "include_top": True},
    "Levit": {**_IMAGENET_STATISTICS, "size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True},
    "MobileNetV1": _MOBILENET,
    "MobileNetV2": _MOBILENET,
    "MobileViT": {
        "size": {"shortest_edge": 224},
        "crop_size": 256,
        "do_center_crop": True,
        "do_flip_channel_order": True,
    },
    "PoolFormer": {
        **_IMAGENET_STATISTICS,
        "size": {"shortest_edge": 224},
        "crop_size": 224,
        "crop_pct": 0.9,
        "do_center_crop": True,
    },
    "Pvt": {**_IMAGENET_STATISTICS, "size": 224},
    "Segformer": {**_IMAGENET_STATISTICS, "size": 512, "resample": 2},
    "Siglip": {"size": 224},
    "ViT": {"size": 224, "resample": 2},
}
_SHORTEST_EDGE = ("Bit", "CLIP", "ConvNext", "Levit", "MobileNetV1", "MobileNetV2", "MobileViT", "PoolFormer", "Siglip")
"""Types for which a plain number is the length of the shortest edge."""
_KNOWN_STEPS = {
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order"),
    *("do_convert_rgb", "do_reduce_labels"),  # nothing to do here: photographs are RGB, and these labels are of masks
}
_OF_IMAGES = ("do_resize", "size", "resample", "do_center_crop", "crop_size", "image_mean", "image_std")

Edges = int | tuple[int, int]


def is_image_processor(data: Mapping[str, Any]) -> bool:
    """Whether a `preprocessor_config.json` is of an image processor; others are for sound or text."""
    return _type(data) in _TYPES or any(key in data for key in ("image_processor_type", *_OF_IMAGES))


def settings(data: Mapping[str, Any], source: str) -> PreprocessingSettings:
    """What the image processor does.

    Raises
    ------
    ValueError
        It asks for something that cannot be done exactly, or makes no sense; the message is the reason alone.
    """
    kind = _type(data)
    stated = {key: value for key, value in data.items() if value is not None}
    if not kind:
        steps = {**_plain(stated), **stated}
        source = f"{source} (without a type: plain resize, crop, rescale, normalise)"
    elif kind in _TYPES:
        steps = {**_COMMON, **_TYPES[kind], **stated}
        source = f"{source} ({kind}ImageProcessor)"
    else:
        raise ValueError(f"it is of the type {shown_name(kind)}ImageProcessor, whose steps are not supported")
    for key, value in steps.items():
        if key.startswith("do_") and value is not False and key not in _KNOWN_STEPS:
            raise ValueError(f"it asks for the step {shown_name(key)}, which is not supported")
    size, resize_to = _geometry(kind, steps)
    mean, std = _normalisation(kind, steps)
    return PreprocessingSettings(
        size=size,
        crop="none" if resize_to is None else None,
        resize_to=resize_to,
        interpolation=_interpolation(steps),
        mean=mean,
        std=std,
        channel_order="BGR" if flag(steps, "do_flip_channel_order") else "RGB",
        crop_rounding="down",
        source=source,
    )


def _type(data: Mapping[str, Any]) -> str:
    name = data.get("image_processor_type") or data.get("feature_extractor_type") or ""
    return re.sub(r"(FeatureExtractor|ImageProcessor)(Fast|Pil)?$", "", str(name))


def _plain(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Without a type, a step is done if the file has its values."""
    return {
        **_COMMON,
        "do_resize": "size" in stated,
        "resample": 2,
        "do_center_crop": "crop_size" in stated,
        "do_normalize": "image_mean" in stated,
    }


def _interpolation(steps: Mapping[str, Any]) -> str:
    resample = steps["resample"]
    try:
        return Image.Resampling(resample if type(resample) is int else -1).name.lower()
    except ValueError:
        raise ValueError(
            f"resample is {quoted(resample)} where one of Pillow's filters, 0 to 5, was expected"
        ) from None


def _geometry(kind: str, steps: Mapping[str, Any]) -> tuple[tuple[int, int], Edges | None]:
    """The input's size, and the size to which the photograph is resized before the crop."""
    if not flag(steps, "do_resize"):
        raise ValueError("it does not resize (do_resize is false)")
    square = steps.get("default_to_square", kind not in _SHORTEST_EDGE)
    edges = _edges(steps, "size", square=square is not False)
    crop = _pair(_edges(steps, "crop_size", square=True)) if flag(steps, "do_center_crop") else None
    if kind == "ConvNext":
        if not isinstance(edges, int):
            raise ValueError("size has no shortest_edge, which a ConvNextImageProcessor needs")
        own = edges, edges
        edges = int(edges / number(steps, "crop_pct")) if edges < 384 else own
        if crop not in (None, own):
            raise ValueError(f"it crops twice, to {own[0]} pixels and to crop_size; that is not supported")
        crop = own
    elif kind == "PoolFormer":
        share = number(steps, "crop_pct")
        square = isinstance(edges, int) or edges[0] == edges[1]
        height, width = _pair(edges)
        edges = int(height / share) if square else (int(height / share), int(width / share))
    elif kind == "Levit" and isinstance(edges, int):
        edges = int(256 / 224 * edges)
    if crop is None:
        if isinstance(edges, int):
            raise ValueError("it neither crops nor stretches, so that the input's size depends on the picture")
        return edges, None
    least = (edges, edges) if isinstance(edges, int) else edges
    if crop[0] > least[0] or crop[1] > least[1]:
        raise ValueError(
            f"it crops {crop[0]} x {crop[1]} pixels from fewer, which needs padding; that is not supported"
        )
    return crop, None if edges == crop else edges


def _pair(edges: Edges) -> tuple[int, int]:
    return (edges, edges) if isinstance(edges, int) else edges


def _edges(steps: Mapping[str, Any], key: str, *, square: bool) -> Edges:
    """Length of the shortest edge, or height and width."""
    value = steps.get(key)
    entries = {name: edge for name, edge in value.items() if edge is not None} if isinstance(value, dict) else {}
    if set(entries) == {"shortest_edge"}:
        edges = [entries["shortest_edge"]]
    elif set(entries) == {"height", "width"}:
        edges = [entries["height"], entries["width"]]
    else:
        edges = value if isinstance(value, list) and len(value) == 2 else [value, value] if square else [value]
    if not all(isinstance(edge, int) and not isinstance(edge, bool) and 1 <= edge <= 8192 for edge in edges):
        raise ValueError(
            f"{key} is {quoted(value)} where a length, height and width, or shortest_edge alone was expected"
        )
    return edges[0] if len(edges) == 1 else (edges[0], edges[1])


def _normalisation(kind: str, steps: Mapping[str, Any]) -> tuple[Values, Values]:
    """Mean and std for pixels in 0..255 that do all steps at once."""
    factor, offset = 1.0, 0.0
    if flag(steps, "do_rescale"):
        factor = number(steps, "rescale_factor")
        offset = 1.0 if kind == "EfficientNet" and flag(steps, "rescale_offset") else 0.0
    mean: Values = (0.0,)
    std: Values = (1.0,)
    if flag(steps, "do_normalize") and kind != "MobileViT":  # which has no such step
        mean, std = by_channel(steps, "image_mean"), by_channel(steps, "image_std")
    if kind == "EfficientNet" and flag(steps, "include_top"):  # these networks divide a second time
        again = by_channel(steps, "image_std")
        std = tuple(one * other for one, other in zip(std * len(again) if len(std) == 1 else std, again, strict=True))
    if min(std) <= 0:
        raise ValueError(f"image_std is {quoted(steps['image_std'])} where positive numbers were expected")
    return tuple((value + offset) / factor for value in mean), tuple(value / factor for value in std)
