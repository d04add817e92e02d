"""The batch size of the network, where none is given."""

from __future__ import annotations

import time

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.opened_model import OpenModel
from secam_onnx.errors import ModelError
from secam_onnx.explainer import BATCH_SIZE

__all__ = ["choose_batch_size"]

_LARGEST = 64
_WORTH_IT = 1.1  # how much faster, in images per second, than the batch half as large


def choose_batch_size(model: OpenModel) -> tuple[int, str]:
    """Choose a batch size for a model on its provider.

    Parameters
    ----------
    model : OpenModel
        The model.

    Returns
    -------
    size : int
        The fixed length of the batch axis, if it has one. Otherwise `BATCH_SIZE` on the CPU, where larger batches are
        no faster; elsewhere doubled for as long as that is faster and fits into memory.
    reason : str
        The reason, in words.
    """
    if model.batch:
        return model.batch, "the model's own"
    if model.providers[0] == runtime.CPU:
        return BATCH_SIZE, "larger ones are no faster on the CPU"
    best, rate = 1, _images_per_second(model, 1)
    while best < _LARGEST:
        try:
            twice = _images_per_second(model, 2 * best)
        except ModelError:
            return best, "larger ones do not fit into memory"
        if twice < _WORTH_IT * rate:
            break
        best, rate = 2 * best, twice
    return best, f"measured: {rate:.0f} images/s through the network"


def _images_per_second(model: OpenModel, batch_size: int) -> float:
    preprocessing = model.metadata.preprocessing
    shape = (*preprocessing.size, preprocessing.picture_channels)
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    inputs = np.repeat(model.input_of(picture), batch_size, axis=0)
    model.run(
        inputs, [["top-1"]] * batch_size, pool=True
    )  # the first run allocates memory, and on a GPU chooses kernels
    start = time.perf_counter()
    model.run(inputs, [["top-1"]] * batch_size, pool=True)
    return batch_size / (time.perf_counter() - start)
