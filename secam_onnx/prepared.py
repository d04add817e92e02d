"""One photograph on its way to an explanation: read, cropped to what the model sees, and cut into superpixels."""

from __future__ import annotations

import os
import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from secam_onnx.errors import OptionError
from secam_onnx.geometry import Geometry
from secam_onnx.images import EncodedImage, Photograph, as_rgb, read_image
from secam_onnx.preprocess import Preprocessing
from secam_onnx.superpixels import Segmenter, check_labels, dense_labels, segment

__all__ = ["Prepared", "ms_since", "prepare"]


@dataclass
class Prepared:
    """What is known of a photograph before the network has run.

    Attributes
    ----------
    image : ndarray
        `(H, W, 3)` uint8, upright.
    inputs : ndarray
        `(1, 3, h, w)` or `(1, h, w, 3)` float32, what the network is fed.
    geometry : Geometry
        Where that lies on the photograph.
    segments : Future
        Label map `(h, w)`, and the milliseconds that it took.
    given_labels : ndarray or None
        The numbers that a label map of one's own has for the superpixels.
    segmenter : dict
        How superpixels are made, for the result.
    preprocess_ms : float
        Milliseconds that reading, cropping and normalising took.
    """

    image: np.ndarray
    inputs: np.ndarray
    geometry: Geometry
    segments: Future[tuple[np.ndarray, float]]
    given_labels: np.ndarray | None
    segmenter: dict[str, object]
    preprocess_ms: float


def prepare(
    image: Photograph,
    preprocessing: Preprocessing,
    segmenter: Segmenter,
    own_segments: np.ndarray | None,
    pool: Executor,
) -> Prepared:
    """Read, crop and normalise a photograph, and begin with its superpixels in the background.

    Parameters
    ----------
    image : path, EncodedImage, Image or ndarray
        See `Explainer.explain`.
    preprocessing : Preprocessing
        What the model sees of it.
    segmenter : Segmenter
        How superpixels are made.
    own_segments : ndarray or None
        A label map instead, at the photograph's size or at that of the model's input.
    pool : Executor
        Where superpixels are made.

    Raises
    ------
    ImageError
        The image cannot be read.
    OptionError
        The label map does not fit.
    """
    start = time.perf_counter()
    rgb = read_image(image) if isinstance(image, str | os.PathLike | EncodedImage) else as_rgb(image)
    seen, geometry = preprocessing.crop(rgb)
    # Before the superpixels, which would hold it up for longer than it takes.
    inputs = preprocessing.normalise(seen)
    if own_segments is None:
        segments, given = pool.submit(_timed_segments, seen, segmenter), None
        how = dict(vars(segmenter))
    else:
        fitted = _fit_segments(own_segments, geometry)
        segments, given, how = Future(), np.unique(fitted), {"method": "given label map"}
        segments.set_result((dense_labels(fitted), 0.0))
    return Prepared(rgb, inputs, geometry, segments, given, how, ms_since(start))


def ms_since(start: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - start) * 1e3


def _timed_segments(seen: np.ndarray, segmenter: Segmenter) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    return segment(seen, segmenter), ms_since(start)


def _fit_segments(labels: np.ndarray, geometry: Geometry) -> np.ndarray:
    labels = np.asarray(labels)
    check_labels(labels)
    if labels.shape == geometry.image_size:
        labels = geometry.to_input(labels)
    if labels.shape != geometry.input_size:
        raise OptionError(
            f"The label map has shape {labels.shape}; the photograph's {geometry.image_size} or the model input's "
            f"{geometry.input_size} was expected."
        )
    return labels
