"""How many images go through the network at once, where nobody says."""

from __future__ import annotations

import time

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier import Classifier
from secam_onnx.errors import ModelError
from secam_onnx.explainer import BATCH_SIZE

__all__ = ["choose_batch_size"]

_LARGEST = 64
_WORTH_IT = 1.1  # times the images per second of the batch half as large


def choose_batch_size(classifier: Classifier) -> tuple[int, str]:
    """Choose a batch size for a network on its provider.

    Parameters
    ----------
    classifier : Classifier
        The network.

    Returns
    -------
    size : int
        What a fixed batch axis says; on the CPU, where more are no faster, a few; elsewhere doubled for as long as that
        makes it faster and memory allows it.
    reason : str
        Why, for people.
    """
    if classifier.input.shape[0]:
        return classifier.input.shape[0], "the model's own"
    if classifier.providers[0] == runtime.CPU:
        return BATCH_SIZE, "more are no faster on the CPU"
    best, rate = 1, _images_per_second(classifier, 1)
    while best < _LARGEST:
        try:
            twice = _images_per_second(classifier, 2 * best)
        except ModelError:
            return best, "more do not fit into memory"
        if twice < _WORTH_IT * rate:
            break
        best, rate = 2 * best, twice
    return best, f"measured: {rate:.0f} images/s through the network"


def _images_per_second(classifier: Classifier, batch_size: int) -> float:
    preprocessing = classifier.contract.preprocessing
    picture = np.random.default_rng(0).integers(0, 256, (*preprocessing.size, 3), dtype=np.uint8)
    inputs = np.repeat(preprocessing.normalise(picture), batch_size, axis=0)
    classifier.forward(inputs)  # the first one allocates, and on a GPU chooses kernels
    start = time.perf_counter()
    classifier.forward(inputs)
    return batch_size / (time.perf_counter() - start)
