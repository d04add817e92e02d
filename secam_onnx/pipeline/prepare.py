"""Prepares photographs: reads them, crops them to what the model sees, and starts their superpixels."""

from __future__ import annotations

import dataclasses
import time
import warnings
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from secam_onnx.classifier.opened_model import OpenModel, Segments, ms_since
from secam_onnx.decoding import Decode, Reading
from secam_onnx.errors import OptionError, ShownMessage
from secam_onnx.photograph.geometry import Geometry
from secam_onnx.photograph.images import Photograph
from secam_onnx.superpixels import Segmenter, check_label_map, dense_label_map, segment

__all__ = ["ImageWarning", "PreparedImage", "prepare"]

_NO_IMAGE = np.zeros((0, 0, 3), dtype=np.uint8)


class ImageWarning(ShownMessage, UserWarning):
    """An image may have been read wrongly; its result says so too, in `method["image"]["doubt"]`."""


@dataclass
class PreparedImage:
    """A photograph before the network has run.

    Attributes
    ----------
    image : ndarray
        `(H, W, 3)` uint8, upright, as it is shown; `(0, 0, 3)` if it is not kept.
    inputs : ndarray
        The model's input, with a batch axis of 1.
    geometry : Geometry
        Where the input lies on the photograph.
    segments : Future or None
        Label map `(h, w)`, and the milliseconds that it took; None if the model makes its own, or none is wanted.
    given_segment_ids : ndarray or None
        The user's own labels of the superpixels, if a label map was given; masked for padding, which has none.
    segmenter : dict
        How superpixels are made, for the result; empty if there are none.
    preprocess_ms : float
        Milliseconds for reading, cropping and normalising.
    source : dict
        What the image file was; see `LoadedImage`.
    """

    image: np.ndarray
    inputs: np.ndarray
    geometry: Geometry
    segments: Segments | None
    given_segment_ids: np.ndarray | None
    segmenter: dict[str, object]
    preprocess_ms: float
    source: dict[str, object] = dataclasses.field(default_factory=dict)


def prepare(
    image: Photograph,
    model: OpenModel,
    segmenter: Segmenter | None,
    own_segments: np.ndarray | None,
    pool: Executor,
    how: Reading,
    decode: Decode,
) -> PreparedImage:
    """Read, crop and normalise a photograph, and start its superpixels in the background.

    Parameters
    ----------
    image : path, EncodedImage, Image or ndarray
        See `Explainer.explain`.
    model : OpenModel
        The model.
    segmenter : Segmenter or None
        How superpixels are made; None for none. Nothing is started if the model itself makes the same.
    own_segments : ndarray or None
        A label map to use instead, at the size of the photograph or of the model's input.
    pool : Executor
        Where superpixels are made.
    how : Reading
        How the photograph is read; without `keep_image` no picture can be drawn.
    decode : callable
        Reads and crops it.

    Raises
    ------
    ImageError
        The image cannot be read.
    OptionError
        The label map does not fit.
    """
    start = time.perf_counter()
    found = decode(image, how)
    if "doubt" in found.source:
        warnings.warn(str(found.source["doubt"]), ImageWarning, stacklevel=2)
    # Before the superpixels start, which would slow this down by more than it takes.
    inputs = model.input_of(found.seen if found.values is None else found.values)
    segments: Segments | None = None
    given, made_by = None, dict(vars(segmenter)) if segmenter else {}
    if own_segments is not None:
        fitted, given = _fit_segments(own_segments, found.geometry)
        segments, made_by = Future(), {"method": "given label map"}
        segments.set_result((dense_label_map(fitted), 0.0))
    elif segmenter is not None and segmenter != model.segmenter:
        segments = pool.submit(_timed_segments, found.seen, segmenter)
    shown = _NO_IMAGE if found.shown is None else found.shown
    return PreparedImage(shown, inputs, found.geometry, segments, given, made_by, ms_since(start), found.source)


def _timed_segments(seen: np.ndarray, segmenter: Segmenter) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    return segment(seen, segmenter), ms_since(start)


def _fit_segments(labels: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """A label map at the model's input size, and its own labels, masked for padding, which has none."""
    labels, padding = np.asarray(labels), None
    check_label_map(labels)
    if labels.shape == geometry.image_size:
        labels = geometry.to_input(labels)
        shown = geometry.on_image()
        if not shown.all():  # padding is a superpixel of its own, the last one
            padding = int(labels.max()) + 1
            labels = np.where(shown, labels.astype(np.int64), padding)
    if labels.shape != geometry.input_size:
        raise OptionError(
            f"The label map has shape {labels.shape}; the photograph's {geometry.image_size} or the model input's "
            f"{geometry.input_size} was expected. Resize it, by the nearest label."
        )
    numbers = np.unique(labels)
    return labels, numbers if padding is None else np.ma.masked_equal(numbers, padding)
