"""Preprocessing and class names that an ONNX file states in its `metadata_props`.

- ONNX's own image metadata, as Windows ML and Custom Vision write it
  (https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md). It does not cover the crop.
- Ultralytics' `task`, `imgsz` and `names`: a classifier gets pixels / 255 and a centre crop.
- OpenVINO's `model_info ...`, as OTX writes it; see `openvino`.
- RapidOCR's `character`, and `labels`, `classes` and the like that anyone may write: class names only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from secam_onnx.errors import ModelError
from secam_onnx.labels.literals import literal
from secam_onnx.labels.objects import in_order, split_names
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars.openvino import LABELS
from secam_onnx.photograph.sidecars.openvino import settings as model_info
from secam_onnx.shown_text import quoted

__all__ = ["label_sources", "preprocessing_inside"]

_FORMAT, _GAMMA, _RANGE = "Image.BitmapPixelFormat", "Image.ColorSpaceGamma", "Image.NominalPixelRange"
_OTHER_NAMES = ("id2label", "labels", "classes", "class_names", "categories")
_ORDERS = {"bgr8": "BGR", "rgb8": "RGB", "rgba8": None, "gray8": None}
_RANGES = {  # mean and std of pixels in 0..255
    "nominalrange_0_255": (0.0, 1.0),
    "normalized_0_1": (0.0, 255.0),
    "normalized_1_1": (127.5, 127.5),
    "nominalrange_16_235": (-16 * 255 / 219, 255 / 219),
}


def preprocessing_inside(metadata: Mapping[str, str]) -> PreprocessingSettings | None:
    """The preprocessing that the file states, or a part of it; None if it states nothing.

    Parameters
    ----------
    metadata : mapping of str to str
        The model's `metadata_props`.

    Raises
    ------
    ModelError
        What it states cannot be done, or makes no sense.
    """
    with _complaint():
        for read in (_ultralytics, model_info, _image):
            found = read(metadata)
            if found is not None:
                return found
    return None


def label_sources(metadata: Mapping[str, str]) -> Iterator[tuple[str, Callable[[], tuple[str, ...]]]]:
    """The entries of a model's `metadata_props` that may hold class names: where each is, and a call that reads it.

    The call raises ValueError where the entry holds none.
    """
    readers: dict[str, Callable[[str], tuple[str, ...]]] = {
        "names": lambda text: in_order(literal(text)),
        "character": lambda text: in_order(split_names(text.rstrip("\n"), "\n")),
        LABELS: lambda text: in_order(split_names(text, None)),
        **dict.fromkeys(_OTHER_NAMES, _listed),
    }
    for key, read in readers.items():
        if key in metadata:
            yield f"the file's metadata ({key})", partial(read, metadata[key])


def _listed(text: str) -> tuple[str, ...]:
    """Names in JSON, in Python's syntax, or separated by commas or lines."""
    if text.lstrip().startswith(("[", "{", "(")):
        return in_order(literal(text))
    return in_order(split_names(text.strip(), "\n" if "\n" in text.strip() else ","))


def _ultralytics(metadata: Mapping[str, str]) -> PreprocessingSettings | None:
    if metadata.get("task") != "classify" or "imgsz" not in metadata:
        return None
    try:
        size = literal(metadata["imgsz"])
    except ValueError as error:
        raise ValueError(f"imgsz is {quoted(metadata['imgsz'])}: {error}") from None
    edges = [size, size] if isinstance(size, int) else size
    good = isinstance(edges, list | tuple) and len(edges) == 2 and all(type(edge) is int for edge in edges)
    if not good or not all(1 <= edge <= 8192 for edge in edges):
        raise ValueError(f"imgsz is {quoted(metadata['imgsz'])} where [height, width] was expected")
    height, width = edges
    square = height == width
    return PreprocessingSettings(
        size=(height, width),
        crop=None if square else "none",
        resize_to=height if square else None,
        interpolation="bilinear",
        mean=(0.0,),
        std=(255.0,),
        channel_order="RGB",
        crop_rounding="even",
        source="read from the file's metadata (Ultralytics' task classify, imgsz)",
    )


def _image(metadata: Mapping[str, str]) -> PreprocessingSettings | None:
    stated = {key: metadata[key] for key in (_FORMAT, _GAMMA, _RANGE) if key in metadata}
    if _FORMAT not in stated and _RANGE not in stated:
        return None
    order = _known(stated, _FORMAT, _ORDERS)
    if stated.get(_GAMMA, "SRGB").casefold() != "srgb":
        raise ValueError(f"{_GAMMA} is {quoted(stated[_GAMMA])}, but photographs are used as they are, in sRGB")
    values = _known(stated, _RANGE, _RANGES)
    said = ", ".join(f"{key} {value}" for key, value in stated.items() if key != _GAMMA)
    return PreprocessingSettings(
        mean=values and values[:1],
        std=values and values[1:],
        channel_order=order,
        source=f"read from the file's metadata ({said})",
    )


def _known(stated: Mapping[str, str], key: str, values: Mapping[str, Any]) -> Any:
    if key not in stated:
        return None
    if stated[key].casefold() not in values:
        raise ValueError(f"{key} is {quoted(stated[key])} where one of ONNX's values was expected")
    return values[stated[key].casefold()]


@contextlib.contextmanager
def _complaint() -> Iterator[None]:
    """Turn a ValueError about the metadata into an error that says what to do."""
    try:
        yield
    except ValueError as error:
        raise ModelError(
            f"The file's metadata says how photographs become the model's input, but {error}. Give --preprocess "
            "(preprocessing in Python), which takes its place."
        ) from error
