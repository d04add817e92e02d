"""The interface of an opened model, fused or not, and what a run of it returns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from secam_onnx.classifier.fidelity import Fidelity
from secam_onnx.classifier.metadata import HeadRecord, ModelMetadata
from secam_onnx.errors import ModelError
from secam_onnx.labels.queries import ClassQuery
from secam_onnx.superpixels import Segmenter

__all__ = [
    "ATTRIBUTIONS",
    "ModelOutput",
    "OpenModel",
    "Segments",
    "SuperpixelScores",
    "attribution_in_words",
    "check_logits",
    "ms_since",
    "pad_batch",
    "probabilities_of",
    "softmax",
]

ATTRIBUTIONS = {
    "gradient": "gradient x activation of the head",
    "detached": "gradient x activation, attention weights held",
    "integrated": "integrated gradients of the head, 32 steps from the zero feature map",
    "masking": "the head run again for every cell alone (Recipro-CAM)",
}
"""The ways to make maps, each with its description."""


def attribution_in_words(attribution: str, head: HeadRecord) -> str:
    """How maps of a head are made, for results: one of `ATTRIBUTIONS`, behind attention with what is not counted."""
    if attribution == "detached" and head.attention is not None:
        return f"gradient x activation {head.attention}"
    return ATTRIBUTIONS[attribution]


Segments = Future[tuple[np.ndarray, float]]
"""A label map that is being made, and the milliseconds that it takes."""


@dataclass(frozen=True)
class SuperpixelScores:
    """A class activation map averaged and summed over superpixels.

    Attributes
    ----------
    segments : ndarray
        `(h, w)` int32, labels 0..S-1.
    segment_scores, segment_contributions : ndarray
        `(K, S)` float32.
    """

    segments: np.ndarray
    segment_scores: np.ndarray
    segment_contributions: np.ndarray


@dataclass(frozen=True)
class ModelOutput:
    """The result of a model for one picture.

    Attributes
    ----------
    logits, probabilities : ndarray
        `(classes,)` float32; NaN where there is no probability.
    class_ids : list of int
        The K explained classes.
    cam : ndarray
        `(K, h, w)` float32.
    bias : ndarray
        `(K,)` float32.
    superpixels : SuperpixelScores or None
        None unless the model itself makes superpixels.
    masked : int or None
        The number of superpixels that were masked; None if cells were, or nothing.
    outliers : list of (int, int) or None
        Row and column of tokens of outlying norm (see `outlier_tokens`); None where that was not looked at.
    timings : dict
        Milliseconds of each step; for a batch, the time divided by its size.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    class_ids: list[int]
    cam: np.ndarray
    bias: np.ndarray
    timings: dict[str, float]
    superpixels: SuperpixelScores | None = None
    masked: int | None = None
    outliers: list[tuple[int, int]] | None = None


class OpenModel(Protocol):
    """A model that is ready to be explained.

    Attributes
    ----------
    name : str
        File name, for display.
    metadata : ModelMetadata
        Its metadata, read from the file or found by analysis.
    n_classes : int
        Number of classes.
    batch : int or None
        Number of pictures in one run; None for any number.
    attribution : str
        How maps are made (see `ATTRIBUTIONS`).
    tolerance : float
        The largest completeness error that the precision of the network explains.
    files : tuple of Path
        The files it was read from.
    segmenter : Segmenter or None
        The segmenter inside the model; None if the model makes no superpixels.
    providers : tuple of str
        The execution providers in use, in order.
    fidelity : Fidelity or None
        How its outputs compare with those of the original file; None if they were not compared.
    """

    name: str
    metadata: ModelMetadata
    n_classes: int
    tolerance: float
    fidelity: Fidelity | None
    files: tuple[Path, ...]

    @property
    def batch(self) -> int | None: ...
    @property
    def attribution(self) -> str: ...
    @property
    def segmenter(self) -> Segmenter | None: ...
    @property
    def providers(self) -> tuple[str, ...]: ...

    def input_of(self, picture: np.ndarray) -> np.ndarray:
        """The input tensor, with a batch axis, for a picture of the model's size: `(h, w, 3)` uint8 or `(h, w, C)`."""

    def run(
        self,
        inputs: np.ndarray,
        queries: Sequence[Sequence[ClassQuery]],
        *,
        pool: bool,
        segments: Sequence[Segments | None] = (),
    ) -> list[ModelOutput]:
        """Explain some classes of each picture.

        Parameters
        ----------
        inputs : ndarray
            N results of `input_of`, concatenated.
        queries : sequence of sequence of int or str
            The classes of each picture: indices, names, `"top-K"`, `"all"`.
        pool : bool
            Also return superpixels, if the model makes them.
        segments : sequence of Segments or None
            The superpixels that are being made of each picture. Only a model that masks them waits for them.

        Raises
        ------
        ModelError
            The model fails on these pictures or returns NaN.
        ClassError
            The model does not have one of the classes.
        """


def pad_batch(batch: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last row of a batch until its length is a multiple of `size`."""
    missing = -len(batch) % size
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def check_logits(logits: np.ndarray) -> None:
    """Refuse logits that are not finite.

    Raises
    ------
    ModelError
        They are NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise ModelError("The model's logits are NaN or infinite on this input; check its weights and preprocessing.")


def ms_since(start: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - start) * 1e3


def probabilities_of(logits: np.ndarray, how: str) -> np.ndarray:
    """Probabilities of classes, from their logits.

    Parameters
    ----------
    logits : ndarray
        `(N, classes)` float32.
    how : {'softmax', 'sigmoid', 'none'}
        See `ModelMetadata.probability`.

    Returns
    -------
    ndarray
        `(N, classes)` float32 in [0, 1]; NaN for `'none'`, and for the softmax of a single class, which is always 1.
    """
    if how == "sigmoid":
        return np.exp(-np.logaddexp(np.float32(0), -logits))
    if how == "none" or logits.shape[1] == 1:
        return np.full_like(logits, np.nan)
    return softmax(logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    """`exp(z) / sum exp(z)` over the classes of `(N, classes)`, in the dtype of the logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
