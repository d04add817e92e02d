"""Trial runs of a model when it is opened: reference outputs of its file, and a check of its probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.classifier.fidelity import (
    ReferenceOutputs,
    Verify,
    is_compared,
    rounding_tolerance,
    run_reference,
    trial_images,
)
from secam_onnx.classifier.output_activation import check_activation
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.head import ClassOutput

__all__ = ["check_probabilities", "reference_of"]


def reference_of(
    file: Path, analysed: AnalysedModel, verify: Verify, threads: int | None, *, ordinary: bool = True
) -> ReferenceOutputs | None:
    """The outputs of the original file for the trial images; None if `verify` asks for no comparison.

    See `open_classifier` for `verify`; a model that is not `ordinary` was compared when it was exported.
    """
    if not is_compared(verify, analysed.model, ordinary=ordinary):
        return None
    preprocessing = analysed.metadata.preprocessing
    images = trial_images(preprocessing, photograph_only=verify == "auto")
    session = runtime.open_as_it_is(file, threads)
    return run_reference(session, analysed.input, preprocessing, images, rounding_tolerance(analysed.model))


def check_probabilities(classifier: Classifier, output: ClassOutput, activation: str | None = None) -> None:
    """Check by trial runs where the probabilities come from, and correct the metadata in place.

    Parameters
    ----------
    classifier : Classifier
        An ordinary model.
    output : ClassOutput
        Its output, as the graph has it.
    activation : str, optional
        The user's choice.

    Raises
    ------
    ModelError
        See `check_activation`.
    """
    preprocessing = classifier.metadata.preprocessing
    pictures = trial_images(preprocessing).values()
    inputs = (classifier.input_of(preprocessing.crop(image)[0]) for image in pictures)

    def forward(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, logits, probabilities = classifier.forward(given)
        return logits, probabilities

    classifier.metadata = check_activation(classifier.metadata, output, forward, inputs, activation)
