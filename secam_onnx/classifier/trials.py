"""What is tried on a model that is opened: its outputs beside its file's, and where its probabilities come from."""

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
    """What the untouched file gives for trial images, if `verify` asks for that; see `open_classifier`."""
    if not is_compared(verify, analysed.model, ordinary=ordinary):
        return None
    preprocessing = analysed.metadata.preprocessing
    images = trial_images(preprocessing, photograph_only=verify == "auto")
    session = runtime.open_as_it_is(file, threads)
    return run_reference(session, analysed.input, preprocessing, images, rounding_tolerance(analysed.model))


def check_probabilities(classifier: Classifier, output: ClassOutput, activation: str | None = None) -> None:
    """Settle where a classifier's probabilities come from, in place.

    Parameters
    ----------
    classifier : Classifier
        A classifier of an ordinary model.
    output : ClassOutput
        What its graph says.
    activation : str, optional
        What the user says.

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
