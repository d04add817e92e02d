"""What the parameters of a request mean, in either version of the protocol: classes, superpixels, outputs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secam_onnx.errors import OptionError
from secam_onnx.explainer import Explainer
from secam_onnx.labels.queries import ClassQuery, class_codes
from secam_onnx.photograph.images import EncodedImage, announced_pixels
from secam_onnx.serve.request.drawing import PICTURE_KINDS
from secam_onnx.serve.request.limits import RequestLimits
from secam_onnx.shown_text import quoted
from secam_onnx.superpixels import Segmenter

__all__ = [
    "EXTRAS",
    "OUTPUTS",
    "PICTURES",
    "ExplanationRequest",
    "check_names",
    "explanation_request",
    "prediction_request",
]

_SUPERPIXELS = ("segments", "n_segments", "segment_scores", "segment_contributions")
PICTURES = ("overlay", "overlay_png")
_CLASSES = ("class_ids", "class_labels", "class_probabilities", "class_logits")
OUTPUTS = (*_CLASSES, "bias", "cam", *_SUPERPIXELS, "box", "image_size", *PICTURES)
"""The outputs of `infer`; a request that lists none gets all but the pictures."""

EXTRAS = ("cam", "segments", *PICTURE_KINDS)
"""What `:explain` adds to its numbers if it is asked to."""

_PREDICTED = 5


@dataclass(frozen=True)
class ExplanationRequest:
    """A request that was understood and is within its limits.

    Attributes
    ----------
    images : sequence of EncodedImage or ndarray
        The photographs.
    queries : tuple of int or str
        Which classes to explain.
    n_maps : int
        The largest number of classes that `queries` can stand for.
    segmenter : Segmenter or None
        How superpixels are made; None where the outputs need none.
    kept_pixels : int
        Pixels of the photographs that results hold for their pictures; 0 if they hold none.
    outputs : tuple of str
        What to send: of `OUTPUTS` for `infer`, of `EXTRAS` for `:explain`.
    top_k : int
        How many classes a prediction lists.
    """

    images: Sequence[EncodedImage | np.ndarray]
    queries: tuple[ClassQuery, ...]
    n_maps: int
    segmenter: Segmenter | None
    kept_pixels: int = 0
    outputs: tuple[str, ...] = ()
    top_k: int = 0

    @property
    def n_values(self) -> int:
        """The most scores that the answer has: photographs times classes times superpixels."""
        return len(self.images) * self.n_maps * (self.segmenter.n_segments if self.segmenter else 0)


def prediction_request(
    images: Sequence[EncodedImage | np.ndarray], parameters: Mapping[str, Any], explainer: Explainer
) -> ExplanationRequest:
    """Read the parameters of `:predict`, which are `top_k`.

    Raises
    ------
    OptionError
        The message says what was found and what was expected.
    """
    _check_parameters(parameters, ("top_k",))
    n_classes = explainer.classifier.n_classes
    top = _top_k(parameters["top_k"], n_classes) if "top_k" in parameters else min(_PREDICTED, n_classes)
    return ExplanationRequest(images, ("top-1",), 1, None, top_k=top)


def explanation_request(
    images: Sequence[EncodedImage | np.ndarray],
    parameters: Mapping[str, Any],
    explainer: Explainer,
    limits: RequestLimits,
    *,
    outputs: tuple[str, ...] | None = None,
) -> ExplanationRequest:
    """Read the parameters of `:explain`, or of `infer`, which lists its `outputs` apart from them.

    They are `classes`, `top_k`, `n_segments` and, for `:explain`, `outputs`.

    Raises
    ------
    OptionError
        The message says what was found and what was expected.
    ClassError
        A class that the model does not have.
    ImageError
        The size of a photograph cannot be read.
    """
    _check_parameters(parameters, ("classes", "n_segments", "top_k", *(("outputs",) if outputs is None else ())))
    queries, n_maps = _classes(parameters, explainer, limits)
    names = outputs if outputs is not None else _extras(parameters.get("outputs", []))
    pictures = any(name in (*PICTURES, *PICTURE_KINDS) for name in names)
    _check_maps(len(images), n_maps, limits.max_pictures if pictures else limits.max_maps)
    segmenter = (
        _segmenter(parameters["n_segments"], explainer, limits) if "n_segments" in parameters else explainer.segmenter
    )
    needed = outputs is None or pictures or any(name in _SUPERPIXELS for name in names)
    if needed:
        _check_values(len(images), n_maps, segmenter.n_segments, limits)
    if outputs is not None and "overlay" in names:
        _check_overlays(len(images) * n_maps, explainer.preprocessing.size, limits)
    full = ("overlay", "heatmap") if outputs is None else ("overlay_png",)
    drawn = n_maps * sum(name in full for name in names)
    kept = _kept_pixels(images, drawn, limits) if pictures else 0
    return ExplanationRequest(images, queries, n_maps, segmenter if needed else None, kept, names)


def check_names(names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse outputs that do not exist.

    Raises
    ------
    OptionError
        It names the unknown output and all that exist.
    """
    for name in names:
        if name not in known:
            raise OptionError(f"Unknown output {quoted(name)}; there are {', '.join(known)}.")


def _check_parameters(parameters: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = set(parameters) - set(known)
    if unknown:
        raise OptionError(f"Unknown parameter {quoted(min(unknown))}; there are {', '.join(known)}.")


def _classes(
    parameters: Mapping[str, Any], explainer: Explainer, limits: RequestLimits
) -> tuple[tuple[ClassQuery, ...], int]:
    """The queries, with names as indices, and the most classes that they stand for."""
    n_classes = explainer.classifier.n_classes
    queries = _listed(parameters["classes"]) if "classes" in parameters else []
    if "top_k" in parameters:
        queries.append(f"top-{_top_k(parameters['top_k'], n_classes)}")
    if len(queries) > limits.max_queries:
        raise OptionError(
            f"'classes' lists {len(queries)} classes; list at most {limits.max_queries}, or ask for 'all'."
        )
    found: list[ClassQuery] = []
    codes: set[int] = set()
    for query in queries or ["top-1"]:
        if isinstance(query, str) and len(query) > limits.max_name_length:
            raise OptionError(f"No class has a name of {len(query)} characters: {quoted(query)}.")
        some = class_codes([query], n_classes, explainer.labels)
        codes.update(some)
        found.append(some[0] if len(some) == 1 and some[0] >= 0 else query)
    return tuple(found), len(codes)


def _listed(given: Any) -> list[Any]:
    """`classes` as a list; it may be one class, or several as a list, as JSON text or with commas."""
    queries = given
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            queries = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"'classes' is not a valid JSON list ({error}): {quoted(given)}.") from error
    elif isinstance(given, str):
        queries = [part.strip() for part in given.split(",") if part.strip()]
    elif not isinstance(given, list):
        queries = [given]
    if not all(isinstance(query, int | str) and not isinstance(query, bool) for query in queries):
        raise OptionError(f"'classes' is {quoted(given)}; names, indices, top-K or all were expected.")
    if not queries:
        raise OptionError("'classes' is empty; give a name, an index, top-K or all.")
    return list(queries)


def _top_k(value: Any, n_classes: int) -> int:
    return _whole(value, "top_k", n_classes)


def _segmenter(value: Any, explainer: Explainer, limits: RequestLimits) -> Segmenter:
    return dataclasses.replace(explainer.segmenter, n_segments=_whole(value, "n_segments", limits.max_segments))


def _whole(value: Any, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise OptionError(f"{name!r} is {quoted(value)}; a whole number from 1 to {most} was expected.")
    return value


def _extras(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"'outputs' is {quoted(given)}; a list of names was expected: {', '.join(EXTRAS)}.")
    check_names(names, EXTRAS)
    return tuple(dict.fromkeys(names))


def _kept_pixels(images: Sequence[EncodedImage | np.ndarray], drawn: int, limits: RequestLimits) -> int:
    """Pixels of photographs on which `drawn` pictures of their size are drawn, before any of them is decoded."""
    sizes = [
        announced_pixels(image) if isinstance(image, EncodedImage) else image.shape[0] * image.shape[1]
        for image in images
    ]
    pixels = sum(size for size in sizes if size <= limits.max_pixels)  # others are refused by name when they are read
    if pixels * max(1, drawn) > limits.max_drawn_pixels:
        raise OptionError(
            f"The pictures would have {pixels * max(1, drawn):,} pixels, over the limit of "
            f"{limits.max_drawn_pixels:,}; ask for fewer classes, or of smaller photographs."
        )
    return max(1, pixels)


def _check_values(images: int, classes: int, segments: int, limits: RequestLimits) -> None:
    values = images * classes * segments
    if values > limits.max_values:
        raise OptionError(
            f"{images} photographs, {classes} classes and {segments} superpixels make {values:,} values, over the "
            f"limit of {limits.max_values:,}; ask for fewer of them."
        )


def _check_overlays(pictures: int, size: tuple[int, int], limits: RequestLimits) -> None:
    values = pictures * size[0] * size[1] * 3
    if values > limits.max_cells:
        raise OptionError(
            f"'overlay' would have {values:,} values, over the limit of {limits.max_cells:,}; ask for fewer classes, "
            "or for 'overlay_png'."
        )


def _check_maps(images: int, classes: int, limit: int) -> None:
    if images * classes > limit:
        raise OptionError(
            f"{images} photographs for {classes} classes are {images * classes} maps, over the limit of {limit} for "
            "these outputs; ask for fewer classes, or for no pictures."
        )
