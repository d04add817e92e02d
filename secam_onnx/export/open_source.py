"""Open a source by its name: an ONNX or Keras file, or a network of torchvision or Keras."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from secam_onnx.arguments import checked
from secam_onnx.errors import MissingDependencyError, OptionError
from secam_onnx.export.source import Source, from_onnx

__all__ = ["SOURCES", "open_source"]

SOURCES = ("onnx", "torchvision", "keras")


@checked()
def open_source(
    name: str | os.PathLike[str], weights: str | None = None, seed: int | None = None, source: str | None = None
) -> Source:
    """Open a model file by its path or its folder's, or a network of torchvision or Keras by its name.

    Parameters
    ----------
    name : str or path
        Path of an `.onnx` file, of a folder with one, or of a `.keras` file; or `resnet50`, `vgg16`, ...
    weights : str, optional
        For torchvision: `DEFAULT` or another of its names, a `.pth` or `.safetensors` file, or `none`. For Keras:
        `imagenet`, a `.weights.h5`, `.h5` or `.keras` file, or `none`.
    seed : int, optional
        Seed of the random weights for `none`; 0 by default.
    source : {'onnx', 'torchvision', 'keras'}, optional
        Where to look for `name`. By default a path is a file, and any other name a network of torchvision.

    Raises
    ------
    ModelError
        The file or the weights cannot be read.
    MissingDependencyError
        PyTorch or Keras is needed but not installed.
    OptionError
        The name or source is unknown, or weights were given for a file, which has its own.
    """
    name = os.fspath(name)
    ending = Path(name).suffix.lower()
    if source is None:
        kinds = {".onnx": "onnx", ".keras": "keras"}
        file = Path(name).exists() or ending or os.sep in name  # no network's name has a dot
        source = kinds.get(ending, "onnx" if file else "torchvision")
    if source not in SOURCES:
        raise OptionError(f"Unknown source {source!r}; there are {', '.join(SOURCES)}.")
    if (source == "onnx" or ending == ".keras") and (weights is not None or seed is not None):
        raise OptionError(f"{name} is a file with its own weights; weights and seed go with the name of a network.")
    if source == "onnx":
        return from_onnx(name)
    if source == "keras":
        return _from_keras(name, weights, seed)
    try:
        from secam_onnx.export.torchvision import from_torchvision
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{name!r} is not an ONNX file. If a network of torchvision is meant, PyTorch, torchvision and "
            f'onnxscript are needed ({error}): pip install "secam-onnx[export]".'
        ) from error
    except (
        ImportError,
        RuntimeError,
        OSError,
        AttributeError,
    ) as error:  # from compiled parts that do not fit
        installed = ", ".join(f"{package} {_version(package)}" for package in ("torch", "torchvision", "onnxscript"))
        raise MissingDependencyError(
            f"PyTorch's packages do not fit each other ({' '.join(str(error).split())}); installed are {installed}. "
            "Install them again together: pip install --upgrade --force-reinstall torch torchvision onnxscript."
        ) from error
    return from_torchvision(name, weights or "DEFAULT", seed or 0)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(missing)"


def _from_keras(name: str, weights: str | None, seed: int | None) -> Source:
    try:
        from secam_onnx.export.keras import from_keras, from_keras_file
    except (ImportError, ValueError) as error:  # the latter for an unknown KERAS_BACKEND
        raise MissingDependencyError(
            f"{name!r} needs Keras and one of its backends, PyTorch or TensorFlow ({error}): "
            'pip install "secam-onnx[keras]".'
        ) from error
    if name.endswith(".keras"):
        return from_keras_file(name)
    return from_keras(name, weights or "imagenet", seed or 0)
