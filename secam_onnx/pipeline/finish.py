"""Finishes explanations: the one place where a model's output becomes a result."""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from secam_onnx.classifier.opened_model import ModelOutput, OpenModel, SuperpixelScores, attribution_in_words, ms_since
from secam_onnx.explanation import Explanation, Prediction
from secam_onnx.labels.queries import class_name
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.superpixels import pooling_matrices
from secam_onnx.superpixels.selection import Selection

__all__ = ["describe", "finish", "highest"]

_TOP = 5  # predictions in a result
_ROWS = 32  # classes in one product


def finish(model: OpenModel, job: PreparedImage, output: ModelOutput, selection: Selection) -> Explanation:
    """Wait for the superpixels and carry the maps to them.

    Parameters
    ----------
    model : OpenModel
        The model, which has names and method.
    job : PreparedImage
        The photograph.
    output : ModelOutput
        What the model gave for the photograph.
    selection : Selection
        Which superpixels the pictures keep.

    Warns
    -----
    RuntimeWarning
        The map does not add up to the logit as exactly as it should.
    """
    superpixels, timings = _pooled(job, output)
    explanation = Explanation(
        image=job.image,
        geometry=job.geometry,
        predictions=highest(output, model.metadata.labels, _TOP),
        classes=_predictions(output.class_ids, output, model.metadata.labels),
        cam=output.cam,
        segments=superpixels.segments,
        given_segment_ids=job.given_segment_ids,
        segment_scores=superpixels.segment_scores,
        segment_contributions=superpixels.segment_contributions,
        bias=output.bias,
        selection=selection,
        method=describe(model)
        | ({"attribution": _of_superpixels(output)} if output.masked else {})
        | ({} if output.outliers is None else {"outlier_tokens": [list(place) for place in output.outliers]})
        | {"map_size": list(output.cam.shape[1:]), "superpixels": job.segmenter, "image": job.source}
        | ({} if model.fidelity is None else {"fidelity": dict(model.fidelity)}),
        timings={"preprocess": job.preprocess_ms, **output.timings, **timings},
        labels=model.metadata.labels,
    )
    _check(explanation, model)
    return explanation


def _of_superpixels(output: ModelOutput) -> str:
    cells = math.prod(output.cam.shape[1:])
    return f"the head run again for the cells of every superpixel alone, {output.masked} for {cells} (Recipro-CAM)"


def _pooled(job: PreparedImage, output: ModelOutput) -> tuple[SuperpixelScores, dict[str, float]]:
    """The maps on superpixels, and how many milliseconds that took."""
    if job.segments is None:
        assert output.superpixels is not None
        return output.superpixels, {}
    segments, superpixels_ms = job.segments.result()
    start = time.perf_counter()
    contribution, mean_score = pooling_matrices(segments, output.cam.shape[1:])
    cells = output.cam.reshape(len(output.class_ids), -1)
    superpixels = SuperpixelScores(segments, _product(cells, mean_score), _product(cells, contribution))
    return superpixels, {"superpixels": superpixels_ms, "scores": ms_since(start)}


def describe(model: OpenModel) -> dict[str, object]:
    """How results were made, except for what depends on the photograph; plain JSON types."""
    metadata, attention = model.metadata, model.metadata.head.attention
    told = {"note": metadata.origin.get("preprocessing"), "warning": metadata.origin.get("preprocessing_warning")}
    return {
        "name": "SeCAM",
        "model": model.name,
        "head": metadata.head.kind,
        "explained": metadata.explained,
        "probability": metadata.probability_note,
        "attribution": attribution_in_words(model.attribution, metadata.head),
        **(
            {"attention_blocks": {"passed": list(attention.passed), "total": attention.total}}
            if attention and model.attribution == "detached"
            else {}
        ),
        "features": " + ".join(metadata.head.all_features),
        **({"features_warning": warning} if (warning := metadata.origin.get("features_warning")) else {}),
        "map_size": None,
        "superpixels": None,
        "preprocessing": {**metadata.preprocessing.to_dict(), **told},
        "providers": list(model.providers),
        "version": _version(),
    }


@functools.cache
def _version() -> str:
    return version("secam-onnx")  # reads a file


def highest(output: ModelOutput, labels: Sequence[str] | None, number: int) -> tuple[Prediction, ...]:
    """The classes with the highest logits of a photograph, best first; `labels` are the model's names, if any."""
    order = np.argsort(-output.logits, kind="stable")[:number].tolist()
    return _predictions(order, output, labels)


def _predictions(ids: Sequence[int], output: ModelOutput, labels: Sequence[str] | None) -> tuple[Prediction, ...]:
    names = [class_name(labels, index) for index in ids]
    shares = [None if math.isnan(share) else share for share in output.probabilities[ids].tolist()]
    return tuple(map(Prediction, ids, names, shares, output.logits[ids].tolist()))


def _check(explanation: Explanation, model: OpenModel) -> None:
    error, tolerance = explanation.completeness_error, model.tolerance
    head = model.metadata.head
    rounds = head.attention is not None and head.attention.rounds
    exact = head.algebra in ("piecewise linear", "detached") and not rounds
    if exact and model.attribution in ("gradient", "detached") and not error <= tolerance:
        warnings.warn(
            f"The map differs from the logit by {error:.1e}, relative; at most {tolerance:g} was expected. "
            "Low-precision kernels (TF32, float16) can cause that; compare with providers='cpu'.",
            RuntimeWarning,
            stacklevel=7,  # whoever called `Explainer.explain`
        )


def _product(cells: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    # A few rows at a time: for many, BLAS starts threads, which takes ten times as long as the product.
    matrix = matrix.astype(np.float32)
    return np.concatenate([cells[start : start + _ROWS] @ matrix for start in range(0, len(cells), _ROWS)])
