"""Export Keras networks to ONNX with Keras's own exporter; choose Keras's backend."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Keras reads its backend once, when it is imported; its default is TensorFlow.
if "keras" not in sys.modules and importlib.util.find_spec("torch"):
    os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from onnx import ModelProto

from secam_onnx.errors import MissingDependencyError, ModelError
from secam_onnx.export.keras_weights import one_line
from secam_onnx.export.notes import strip_notes
from secam_onnx.files import temporary_folder
from secam_onnx.graph.onnx_file import read_model

__all__ = ["BACKEND", "SIDE", "keras", "to_onnx"]

BACKEND = keras.backend.backend()
SIDE = 224
"""Height and width for networks that take any size."""


def to_onnx(network: Any) -> ModelProto:
    """Export a network as `network.export` does, with a dynamic batch axis if that can be exported.

    Raises
    ------
    ModelError
        The network takes something other than one image, or cannot be exported.
    MissingDependencyError
        The backend needs another package.
    """
    inputs = [(entry.name, tuple(entry.shape), entry.dtype) for entry in getattr(network, "inputs", None) or ()]
    if [len(shape) for _, shape, _ in inputs] != [4]:
        raise ModelError(
            f"The Keras model {network.name!r} has inputs of shape {[shape for _, shape, _ in inputs]}; one image was "
            "expected. Build it with keras.Input((height, width, 3)) before saving it."
        )
    ((name, (batch, *lengths), dtype),) = inputs
    failures = []
    # With a batch of one, all shapes are constants; PyTorch's exporter needs that for ConvNeXt and Xception.
    for images in (batch,) if batch else (None, 1):
        shape = (images, *(length or SIDE for length in lengths))
        try:
            return _exported(network, keras.InputSpec(shape=shape, dtype=dtype, name=name))
        except ImportError as error:
            raise MissingDependencyError(
                f"Keras, with the {BACKEND} backend, needs one more package to export ONNX ({error}): "
                'pip install "secam-onnx[keras]" for torch, pip install tf2onnx for tensorflow.'
            ) from error
        except Exception as error:
            failures.append(error)
    raise ModelError(
        f"Keras, with the {BACKEND} backend, cannot export {network.name!r} to ONNX ({one_line(failures[0])}). "
        "Try another backend, torch or tensorflow: set the environment variable KERAS_BACKEND."
    ) from failures[0]


def _exported(network: Any, signature: Any) -> ModelProto:
    with temporary_folder() as folder, warnings.catch_warnings(), _no_output():
        warnings.simplefilter("ignore")
        file = folder / "model.onnx"
        network.export(str(file), format="onnx", verbose=False, input_signature=[signature])
        model = read_model(file, weights=True)
    strip_notes(model)
    return model


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Silence PyTorch's exporter.

    When it fails, it prints the graph, thousands of lines, past Python's `sys.stdout`. Without torchvision it logs
    warnings, although it does not need it.
    """
    sys.stdout.flush()
    kept, disabled = os.dup(1), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        logging.disable(disabled)
