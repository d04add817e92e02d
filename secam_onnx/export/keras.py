"""Keras as a source: networks of `keras.applications`, and models that Keras saved."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.default_model import default_model
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.export.keras_onnx import BACKEND, SIDE, keras, to_onnx
from secam_onnx.export.keras_preprocessing import derive_preprocessing
from secam_onnx.export.keras_weights import FILES, load_weights, one_line
from secam_onnx.export.source import Source
from secam_onnx.files import printable
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["from_keras", "from_keras_file"]

_APPLICATIONS: dict[str, Callable[..., Any]] = {
    name: entry for name, entry in vars(keras.applications).items() if name[0].isupper() and callable(entry)
}


def from_keras(name: str, weights: str = "imagenet", seed: int = 0) -> Source:
    """Build a classifier of `keras.applications` and export it to ONNX.

    Parameters
    ----------
    name : str
        `ResNet50`, `InceptionV3`, `VGG16`, ...; letter case and underscores do not matter.
    weights : str
        `imagenet` (downloaded by Keras), a `.weights.h5`, `.h5` or `.keras` file, or `none`.
    seed : int
        Seed of the random weights for `none`.

    Returns
    -------
    Source
        The model as Keras exports it: channels last, with probabilities as its only output. The weights determine the
        number of classes.

    Raises
    ------
    OptionError
        The network or the weights are unknown.
    ModelError
        The weights cannot be downloaded or read, or do not fit; or the backend cannot build or export the network.
    """
    known = _find(name)
    if known is None:
        raise OptionError(
            f"Keras has no classifier {name!r}; it has {', '.join(_APPLICATIONS)}. For a whole model: FILE.keras."
        )
    build = _APPLICATIONS[known]
    if weights.lower() == "none":
        keras.utils.set_random_seed(seed)
        network = _built(known, weights=None)
        origin = f"random, seed {seed}"
    elif weights.endswith(FILES):
        network = load_weights(lambda **options: _built(known, weights=None, **options), weights, known)
        origin = f"file {printable(Path(weights).name)}"
    elif weights == "imagenet":
        network = _download(known)
        origin = weights
    else:
        raise OptionError(
            f"Unknown weights {weights!r} for {known}; give imagenet, none, or a file: {', '.join(FILES)}."
        )
    model = to_onnx(network)
    return Source(
        model,
        _preprocessing(build, network),
        _imagenet_names(network),
        {"source": f"keras {keras.__version__}, {BACKEND}", "network": known, "weights": origin},
    )


def from_keras_file(path: str | os.PathLike[str]) -> Source:
    """Export a whole model that `model.save` wrote.

    Parameters
    ----------
    path : path
        A `.keras` file of a Sequential or functional model; Lambda layers are refused, since they are code.

    Returns
    -------
    Source
        Has preprocessing and class names only if the model is named like one of `keras.applications`.

    Raises
    ------
    ModelError
        The file cannot be read, needs code that it does not contain, or is not an image classifier.
    """
    file = Path(path)
    if not file.exists():
        raise ModelError(f"{file} does not exist; give the path of a .keras file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelError(
            f"{file} cannot be read as a Keras model ({one_line(error)}). A .keras file without custom layers or "
            "Lambdas was expected, as model.save writes it."
        ) from error
    model = to_onnx(network)
    origin = {"source": f"keras {keras.__version__}, {BACKEND}", "file": printable(file.name), "network": network.name}
    known = _find(re.split(r"_\d", network.name)[0])  # mobilenet_1.00_224
    if known is None:
        return Source(model, origin=origin)
    origin["preprocessing"] = f"assumed: that of Keras's {known}, after which the model is named"
    return Source(model, _preprocessing(_APPLICATIONS[known], network), _imagenet_names(network), origin)


def _find(name: str) -> str | None:
    """Keras's spelling of resnet50, inception_v3, ...; None for an unknown name."""
    spelled = re.sub("[_-]", "", name).lower()
    return next((known for known in _APPLICATIONS if known.lower() == spelled), None)


def _built(name: str, **options: Any) -> Any:
    try:
        return _APPLICATIONS[name](**options)
    except ValueError as error:  # NASNet is not for every backend
        raise ModelError(
            f"Keras cannot build {name} ({one_line(error)}). Try another backend: set the "
            "environment variable KERAS_BACKEND to torch or tensorflow."
        ) from error


def _download(name: str) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the progress bar
            return _APPLICATIONS[name](weights="imagenet")
    except Exception as error:  # Keras raises nothing narrower
        raise ModelError(
            f"Keras cannot build {name} with its ImageNet weights ({one_line(error)}). Fetch that file on another "
            "machine and put it into Keras's cache, ~/.keras/models, or give its path with --weights; or use --weights "
            "none."
        ) from error


def _preprocessing(build: Callable[..., Any], network: Any) -> Preprocessing:
    family = getattr(keras.applications, build.__module__.rpartition(".")[2])
    shape = network.inputs[0].shape
    last = shape[3] == 3  # unless the user's Keras is set to channels first
    height, width = shape[1:3] if last else shape[2:]
    return derive_preprocessing(family.preprocess_input, (height or SIDE, width or SIDE), "NHWC" if last else "NCHW")


def _imagenet_names(network: Any) -> tuple[str, ...] | None:
    """The names of the default model, which are in the same order; Keras would download its own."""
    metadata = ModelMetadata.of(read_model(default_model()))
    names = metadata.labels if metadata else None
    return names if names and [output.shape[-1] for output in network.outputs] == [len(names)] else None
