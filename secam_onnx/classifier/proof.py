"""The proofs of an export: the head is read correctly, and a fused model agrees with the explainer."""

from __future__ import annotations

import numpy as np

from secam_onnx.classifier.fidelity import ReferenceOutputs, trial_images
from secam_onnx.classifier.fused import FusedModel
from secam_onnx.classifier.metadata import Agreement, Completeness
from secam_onnx.classifier.opened_model import OpenModel
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.completeness import completeness_error
from secam_onnx.errors import REPORT_MODEL, HeadError, ModelError
from secam_onnx.progress import Update
from secam_onnx.superpixels import pooling_matrices, segment

__all__ = [
    "pooled_error",
    "prove",
    "prove_fused",
]

_INTEGRATED_CLASSES = 5
_DETACHED_CLASSES = 16
_COMPARED = 5  # classes
_SQUARES = 7  # on each edge
_FLOAT16_TOLERANCE = 0.1  # for rounded weights; how far outputs move with them is reported, not judged
_INTEGRAL_TOLERANCE = 0.1  # of the quadrature; with a wrong gradient the error is as large as the logit


def prove(classifier: Classifier, update: Update | None = None) -> Completeness:
    """Compare maps with logits on noise and on a photograph.

    For every class (behind attention: for sixteen), map, bias and gap must add up to the logit: then the rules read the
    head as the network runs it. In a quantised head, each number may have been rounded to the other side. A smooth head
    is also integrated from the zero feature map, which gives the logit only with a correct gradient.

    Parameters
    ----------
    classifier : Classifier
        The model.
    update : callable, optional
        See `Update`.

    Raises
    ------
    HeadError
        An error exceeds the tolerance or is NaN.
    """
    preprocessing, contribute = classifier.metadata.preprocessing, classifier.contribute
    classes = np.arange(classifier.n_classes)[None]
    if contribute.attribution == "detached":  # each class takes a third of a backward pass
        classes = np.unique(np.linspace(0, classifier.n_classes - 1, _DETACHED_CLASSES).astype(int))[None]
    identity, measured = [], []
    images = trial_images(preprocessing)
    for done, image in enumerate(images.values()):
        if update is not None:
            update(done, len(images))
        picture, _ = preprocessing.crop(image)
        features, logits, _ = classifier.forward(preprocessing.normalise(picture))
        # Masking each of many cells would take longer than all explanations that follow.
        parts, _ = classifier.parts(features, [_squares(picture.shape[0], picture.shape[1])])
        maps, bias, gap, allowed = contribute.with_rounding(features, classes, parts)
        cells, explained = maps[0].reshape(classes.size, -1), logits[0, classes[0]]
        identity.append(completeness_error(cells, (bias + gap)[0], explained, allowed[0]))
        if contribute.attribution == "integrated":
            ids = np.argsort(-logits, axis=1)[:, :_INTEGRATED_CLASSES]
            maps, bias = contribute(features, ids)
            measured.append(completeness_error(maps[0].reshape(ids.shape[1], -1), bias[0], logits[0, ids[0]]))
        else:
            measured.append(completeness_error(cells, bias[0], explained))
    kind = classifier.metadata.head.kind
    if not max(identity) <= classifier.tolerance:
        raise HeadError(
            f"The head was read as {kind}, but its map does not add up to the logits: relative error "
            f"{max(identity):.1e}, at most {classifier.tolerance:g} was expected. {REPORT_MODEL}"
        )
    if contribute.attribution == "integrated" and not max(measured) <= _INTEGRAL_TOLERANCE:
        raise HeadError(
            f"The head was read as {kind}, but its gradient does not integrate to the logits: relative error "
            f"{max(measured):.1e}, at most {_INTEGRAL_TOLERANCE:g} was expected. {REPORT_MODEL}"
        )
    return {
        "max_relative_error": float(max(measured)),
        "attribution": contribute.attribution,
        "identity_error": float(max(identity)),
        "images": list(images),
        "classes": classes.size,
        "tolerance": classifier.tolerance,
    }


def _squares(height: int, width: int) -> np.ndarray:
    """A label map of 7 x 7 squares, in place of superpixels."""
    rows, columns = (np.arange(length) * _SQUARES // length for length in (height, width))
    return rows[:, None] * _SQUARES + columns


def prove_fused(fused: FusedModel, classifier: Classifier, file: ReferenceOutputs) -> Agreement:
    """Compare a fused model with the separate steps of the explainer, on noise and on a photograph.

    Superpixels must be equal in every pixel. Contributions may differ by rounding, that of the weights included, and so
    may the model's own outputs from those of the original file.

    Raises
    ------
    ModelError
        They do not agree.
    """
    record = fused.metadata.fused
    assert record is not None
    tolerance = _FLOAT16_TOLERANCE if record.float16 else max(classifier.tolerance, record.tolerance)
    attention = classifier.metadata.head.attention
    if attention is not None and attention.rounds:  # what is held may be rounded to the other side
        tolerance = max(tolerance, file.tolerance)
    fused.compare(file.outputs, max(tolerance, file.tolerance))
    differences, probabilities = [], []
    images = trial_images(classifier.metadata.preprocessing)
    for name, image in images.items():
        picture, _ = classifier.metadata.preprocessing.crop(image)
        queries = [f"top-{min(_COMPARED, classifier.n_classes)}"]
        (wanted,) = classifier.run(classifier.input_of(picture), [queries])
        (found,) = fused.run(fused.input_of(picture), [wanted.class_ids], pool=True)
        segments = segment(picture, record.segmenter)
        assert found.superpixels is not None
        differ = float((found.superpixels.segments != segments).mean())
        if differ:
            raise ModelError(
                f"{differ:.2%} of the pixels of {name} lie in other superpixels than the explainer's. Please report "
                "this model."
            )
        contribution, _ = pooling_matrices(segments, record.map_size)
        expected = wanted.cam.reshape(len(wanted.class_ids), -1) @ contribution
        scale = max(float(np.abs(expected).max()), 1e-30)
        differences.append(float(np.abs(found.superpixels.segment_contributions - expected).max()) / scale)
        differ_by = np.abs(found.probabilities - wanted.probabilities)
        probabilities.append(0.0 if np.isnan(wanted.probabilities).all() else float(differ_by.max()))
    if not max(differences) <= tolerance:
        raise ModelError(
            f"The fused model's contributions differ from the explainer's by {max(differences):.1e}, relative; at most "
            f"{tolerance:g} was expected. {REPORT_MODEL}"
        )
    return {
        "max_relative_difference": max(differences),
        "max_probability_difference": max(probabilities),
        "images": list(images),
        "classes": min(_COMPARED, classifier.n_classes),
        "tolerance": tolerance,
    }


def pooled_error(model: OpenModel) -> float:
    """The completeness error of a fused model's contributions, on the same images; see `completeness_error`."""
    errors = []
    for image in trial_images(model.metadata.preprocessing).values():
        picture, _ = model.metadata.preprocessing.crop(image)
        (found,) = model.run(model.input_of(picture), [[f"top-{min(_COMPARED, model.n_classes)}"]], pool=True)
        assert found.superpixels is not None
        errors.append(
            completeness_error(found.superpixels.segment_contributions, found.bias, found.logits[found.class_ids])
        )
    return max(errors)
