"""What is tried on a model that is opened: its outputs beside its file's, and where its probabilities come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto

from secam_onnx import runtime
from secam_onnx.classifier.fidelity import (
    Untouched,
    Verify,
    is_compared,
    rounding_tolerance,
    trial_images,
    untouched,
)
from secam_onnx.classifier.head_search import told
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.output_activation import check_activation
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.graph.index import Graph
from secam_onnx.head import End
from secam_onnx.photograph.model_input import image_input

__all__ = ["check_probabilities", "said_by_the_file"]


def said_by_the_file(
    file: Path,
    model: ModelProto,
    graph: Graph,
    metadata: ModelMetadata,
    verify: Verify,
    threads: int | None,
    *,
    ordinary: bool = True,
) -> Untouched | None:
    """What the untouched file gives, if `verify` asks for that; see `open_classifier`."""
    if not is_compared(verify, model, ordinary=ordinary):
        return None
    images = trial_images(metadata.preprocessing, photograph_only=verify == "auto")
    input_ = image_input(graph, *told(metadata.preprocessing))
    as_it_is = runtime.open_as_it_is(file, threads)
    return untouched(as_it_is, input_, metadata.preprocessing, images, rounding_tolerance(model))


def check_probabilities(classifier: Classifier, end: End, activation: str | None = None) -> None:
    """Settle where a classifier's probabilities come from, in place.

    Parameters
    ----------
    classifier : Classifier
        A classifier of an ordinary model.
    end : End
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
    inputs = (classifier.feed(preprocessing.crop(image)[0]) for image in pictures)

    def forward(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, logits, shares = classifier.forward(given)
        return logits, shares

    classifier.metadata = check_activation(classifier.metadata, end, forward, inputs, activation)
