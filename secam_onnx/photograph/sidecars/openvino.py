"""OpenVINO's Model API and OTX: `model_info ...` in an ONNX file's metadata, `label_schema.json` beside it.

Model API resizes with OpenCV's linear filter; Pillow's is antialiased, which makes a difference for photographs larger
than the input. OTX feeds RGB, and `reverse_input_channels` makes it BGR; Model API itself feeds BGR.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from secam_onnx.labels.objects import MAX_DIGITS, in_order
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.shown_text import quoted

__all__ = ["LABELS", "SCHEMA", "labels", "settings"]

_PREFIX = "model_info "
LABELS = f"{_PREFIX}labels"
SCHEMA = "label_schema.json"
_STATED = ("mean_values", "scale_values", "resize_type", "reverse_input_channels", "pad_value")
_LONGEST = 1000  # characters of three numbers
_OF_OTX = ("label_ids", "otx_version", "task_type")
_GEOMETRIES: dict[str, dict[str, Any]] = {
    "standard": {"crop": "none"},
    "crop": {"crop": 1.0},
    "fit_to_window_letterbox": {"fit": "letterbox"},
}


def settings(metadata: Mapping[str, str]) -> PreprocessingSettings | None:
    """The preprocessing that `model_info` states, with Model API's defaults; None if it states none.

    Raises
    ------
    ValueError
        What it states cannot be done, or makes no sense; the message is the reason alone.
    """
    info = {key[len(_PREFIX) :]: value for key, value in metadata.items() if key.startswith(_PREFIX)}
    stated = [name for name in _STATED if name in info]
    if not stated:
        return None
    resize = info.get("resize_type", "standard")
    if resize not in _GEOMETRIES:
        raise ValueError(f"resize_type is {quoted(resize)}, which is not supported ({', '.join(_GEOMETRIES)} are)")
    reverse = _flag(info.get("reverse_input_channels", "False"))
    otx = any(name in info for name in _OF_OTX)
    std = _numbers("scale_values", info.get("scale_values", ""), 1.0)
    if min(std) <= 0:
        raise ValueError(f"scale_values is {quoted(info['scale_values'])} where positive numbers were expected")
    geometry = dict(_GEOMETRIES[resize])
    if geometry.get("fit") == "letterbox":
        geometry["pad_color"] = _numbers("pad_value", info.get("pad_value", ""), 0.0)
    order = "" if "reverse_input_channels" in info else f"; {'RGB' if otx else 'BGR'} by default"
    said = ", ".join(stated) + order
    return PreprocessingSettings(
        **geometry,
        interpolation="bilinear",
        mean=_numbers("mean_values", info.get("mean_values", ""), 0.0),
        std=std,
        channel_order="BGR" if reverse == otx else "RGB",
        source=f"read from the file's metadata ({'OTX' if otx else 'OpenVINO'}'s model_info: {said})",
    )


def _numbers(key: str, text: str, default: float) -> tuple[float, ...]:
    try:
        values = [float(part) for part in re.split(r"[\s,]+", text[:_LONGEST].strip("[]() \n")) if part] or [default]
    except ValueError:
        values = []
    if len(text) > _LONGEST or len(values) not in (1, 3) or not all(abs(value) < 1e6 for value in values):
        raise ValueError(f"{key} is {quoted(text)} where one number, or three, were expected")
    return tuple(values)


def _flag(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().casefold() not in known:
        raise ValueError(f"reverse_input_channels is {quoted(text)} where True or False was expected")
    return known[text.strip().casefold()]


def labels(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names of OTX's `label_schema.json`: `label_names`, or the labels of older versions in order of their id.

    Raises
    ------
    ValueError
        There are none, or they are incomplete.
    """
    if "label_names" in data:
        return in_order(data["label_names"])
    entries = data.get("all_labels")
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError("it has neither label_names nor all_labels")
    own = [(key, entry.get("name")) for key, entry in entries.items() if not entry.get("is_empty")]
    return in_order([name for _, name in sorted(own, key=lambda pair: _natural(pair[0]))])


def _natural(key: str) -> list[tuple[int, int, str]]:
    """A sort key by which 10 comes after 9."""
    return [
        (0, int(part), "") if part.isdecimal() and len(part) <= MAX_DIGITS else (1, 0, part.lower())
        for part in re.split(r"(\d+)", key)
    ]
