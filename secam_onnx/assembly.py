"""From the network's answer for some photographs to their explanations: the one place where results are made."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from secam_onnx.attribution import ATTRIBUTIONS
from secam_onnx.classifier import Classifier
from secam_onnx.explanation import Explanation, Prediction
from secam_onnx.labels import ClassQuery, class_name, resolve_classes
from secam_onnx.prepared import Prepared, ms_since
from secam_onnx.selection import Selection
from secam_onnx.superpixels import pooling_matrices

__all__ = ["Answer", "answers", "describe", "put_together"]

_TOP = 5  # predictions in a result
_ROWS = 32


@dataclass(frozen=True)
class Answer:
    """What the network and its contribution model gave for one photograph.

    Attributes
    ----------
    logits, probabilities : ndarray
        `(classes,)` float32.
    class_ids : list of int
        The K classes to explain.
    maps : ndarray
        `(K, h, w)` float32.
    bias : ndarray
        `(K,)` float32.
    timings : dict
        Milliseconds of each step; of a batch, its time divided by its size.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    class_ids: list[int]
    maps: np.ndarray
    bias: np.ndarray
    timings: dict[str, float]


def answers(classifier: Classifier, jobs: Sequence[Prepared], queries: Sequence[ClassQuery]) -> list[Answer]:
    """Run the network and its contribution model on some photographs at once.

    Parameters
    ----------
    classifier : Classifier
        The two models.
    jobs : sequence of Prepared
        One or more photographs.
    queries : sequence of int or str
        Classes: indices, names, `"top-K"`, `"all"`.

    Raises
    ------
    ModelError
        The model fails on these photographs or gives NaN.
    ClassError
        A class that the model does not have.
    """
    start = time.perf_counter()
    inputs = np.concatenate([job.inputs for job in jobs]) if len(jobs) > 1 else jobs[0].inputs
    features, logits, probabilities = classifier.forward(inputs)
    forward_ms = ms_since(start) / len(jobs)

    start = time.perf_counter()
    chosen = [resolve_classes(queries, row, classifier.contract.labels) for row in logits]
    # top-K and names can overlap in one image and not in another; the shorter rows repeat their last class.
    longest = max(map(len, chosen))
    class_ids = np.array([ids + ids[-1:] * (longest - len(ids)) for ids in chosen], dtype=np.int64)
    maps, bias = classifier.contribute(features, class_ids)
    contribution_ms = ms_since(start) / len(jobs)
    timings = {"forward": forward_ms, "contribution": contribution_ms}
    return [
        Answer(
            logits[row], probabilities[row], ids, maps[row, : len(ids)].copy(), bias[row, : len(ids)].copy(), timings
        )
        for row, ids in enumerate(chosen)
    ]


def put_together(classifier: Classifier, job: Prepared, answer: Answer, selection: Selection) -> Explanation:
    """Carry the maps to the superpixels, once these are there.

    Parameters
    ----------
    classifier : Classifier
        For names and the method.
    job : Prepared
        The photograph; its superpixels are waited for.
    answer : Answer
        What the network gave for it.
    selection : Selection
        Which superpixels the pictures keep.
    """
    segments, superpixels_ms = job.segments.result()
    start = time.perf_counter()
    contribution, mean_score = pooling_matrices(segments, answer.maps.shape[1:])
    cells = answer.maps.reshape(len(answer.class_ids), -1)
    order = np.argsort(-answer.logits, kind="stable")[:_TOP].tolist()
    explanation = Explanation(
        image=job.image,
        geometry=job.geometry,
        predictions=_predictions(order, answer, classifier.contract.labels),
        classes=_predictions(answer.class_ids, answer, classifier.contract.labels),
        maps=answer.maps,
        segments=segments,
        given_labels=job.given_labels,
        scores=_product(cells, mean_score),
        contributions=_product(cells, contribution),
        bias=answer.bias,
        selection=selection,
        method=describe(classifier) | {"map_size": list(answer.maps.shape[1:]), "superpixels": job.segmenter},
        timings={
            "preprocess": job.preprocess_ms,
            **answer.timings,
            "superpixels": superpixels_ms,
            "scores": ms_since(start),
        },
    )
    _check(explanation, classifier)
    return explanation


def describe(classifier: Classifier) -> dict[str, object]:
    """What results say about how they were made, but for what depends on the photograph; plain JSON types."""
    contract = classifier.contract
    return {
        "name": "SeCAM",
        "model": classifier.name,
        "head": contract.head.kind,
        "attribution": ATTRIBUTIONS[classifier.contribute.way],
        "features": contract.head.features,
        "map_size": None,
        "superpixels": None,
        "preprocessing": {**contract.preprocessing.to_dict(), "note": contract.origin.get("preprocessing")},
        "providers": list(classifier.providers),
        "version": _version(),
    }


@functools.cache
def _version() -> str:
    return version("secam-onnx")  # reads a file


def _predictions(ids: Sequence[int], answer: Answer, labels: Sequence[str] | None) -> tuple[Prediction, ...]:
    names = [class_name(labels, index) for index in ids]
    numbers = (values[ids].tolist() for values in (answer.probabilities, answer.logits))
    return tuple(map(Prediction, ids, names, *numbers))


def _check(explanation: Explanation, classifier: Classifier) -> None:
    error, tolerance = explanation.completeness_error, classifier.tolerance
    exact = classifier.contract.head.algebra == "piecewise linear"
    if exact and classifier.contribute.way == "gradient" and not error <= tolerance:
        warnings.warn(
            f"The map misses the logit by {error:.1e}, relative; at most {tolerance:g} was expected. "
            "Low-precision kernels (TF32, float16) can cause that; compare with providers='cpu'.",
            RuntimeWarning,
            stacklevel=4,
        )


def _product(cells: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    # A few rows at a time: for many at once BLAS starts threads, which costs ten times what the product does.
    matrix = matrix.astype(np.float32)
    return np.concatenate([cells[start : start + _ROWS] @ matrix for start in range(0, len(cells), _ROWS)])
