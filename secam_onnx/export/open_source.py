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
        For `none`: seed of the random weights, 0 by default.
    source : {'onnx', 'torchvision', 'keras'}, optional
        Whose it is. By default a path is a file's, and any other name is torchvision's.

    Raises
    ------
    ModelError
        The file or the weights cannot be read.
    MissingDependencyError
        PyTorch or Keras is needed and not installed.
    OptionError
        Unknown name or source, or weights for a file that has its own.
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
        raise OptionError(f"{name} is a file with its own weights; weights and seed are for networks by name.")
    if source == "onnx":
        return from_onnx(name)
    if source == "keras":
        return _from_keras(name, weights, seed)
    try:
        from secam_onnx.export.torchvision import from_torchvision
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{name!r} is no ONNX file. If a torchvision network of that name is meant, PyTorch, torchvision and "
            f'onnxscript are needed ({error}): pip install "secam-onnx[export]".'
        ) from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:  # what compiled parts raise that do not fit
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
    except (ImportError, ValueError) as error:  # the latter for a KERAS_BACKEND that there is not
        raise MissingDependencyError(
            f"{name!r} needs Keras and one of its backends, PyTorch or TensorFlow ({error}): "
            'pip install "secam-onnx[keras]".'
        ) from error
    if name.endswith(".keras"):
        return from_keras_file(name)
    return from_keras(name, weights or "imagenet", seed or 0)
