"""Load a file of Keras weights into a network, with the file's number of classes."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from secam_onnx.errors import ModelError

__all__ = ["FILES", "load_weights", "one_line"]

FILES = (".weights.h5", ".h5", ".keras")
"""File endings: of `save_weights`, of the files that Keras downloads, of whole models."""


def load_weights(build: Callable[..., Any], path: str, name: str) -> Any:
    """Build a network and load weights into it; no code of the file runs.

    Parameters
    ----------
    build : callable
        Builds the network, with its usual number of classes or with `classes=`.
    path : str
        One of `FILES`.
    name : str
        The network's name, for messages.

    Raises
    ------
    ModelError
        The file is missing, damaged, or does not fit.
    """
    file = Path(path)
    if not file.exists():
        raise ModelError(f"{file} does not exist; give the path of a {' or '.join(FILES)} file.")
    try:
        with _opened(file) as content:
            shapes = _shapes(content)
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        raise ModelError(f"{file} cannot be read as weights ({one_line(error)}); fetch or save it again.") from error
    network = build()
    classes = _classes(shapes, network)
    if classes is not None:
        network = build(classes=classes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.load_weights(file)
    except Exception as error:  # Keras raises many types
        raise ModelError(
            f"The weights in {file} do not fit Keras's {name}: {one_line(error)}. Give the "
            "network that they were saved from, or save the whole model with model.save('NAME.keras') and export that."
        ) from error
    if name.startswith("EfficientNetB") and _normalises(network):
        # For ImageNet's weights Keras adds a layer that rescales the input, by constants that no file of weights holds.
        raise ModelError(
            f"The weights in {file} are ImageNet's or were trained from them, and for these Keras builds {name} with "
            "one more layer. Save the whole model with model.save('NAME.keras') and export that. If it is Keras's own "
            "download, put it into Keras's cache, ~/.keras/models, and use --weights imagenet."
        )
    return network


def _normalises(network: Any) -> bool:
    layers = (layer for layer in network.layers if type(layer).__name__ == "Normalization")
    return any(abs(layer.get_weights()[0]).max() > 0 for layer in layers)


def one_line(error: BaseException) -> str:
    """An error message in one line; Keras writes paragraphs."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[h5py.File]:
    with contextlib.ExitStack() as stack:
        source: Any = file
        if file.suffix == ".keras":
            source = stack.enter_context(stack.enter_context(zipfile.ZipFile(file)).open("model.weights.h5"))
        yield stack.enter_context(h5py.File(source, "r"))


def _shapes(content: h5py.File) -> Counter[tuple[int, ...]]:
    """Count the shapes in the file, without the state of the optimizer."""
    shapes: Counter[tuple[int, ...]] = Counter()

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("optimizer"):
            shapes[tuple(entry.shape)] += 1

    content.visititems(visit)
    return shapes


def _classes(shapes: Counter[tuple[int, ...]], network: Any) -> int | None:
    """The number of classes of the file; None if it is that of the network.

    Layer names differ by format, but the only shapes in the file that the network lacks are those of the last layer's
    weight and bias.
    """
    odd = shapes - Counter(tuple(variable.shape) for variable in network.variables)
    *inner, _ = next(tuple(variable.shape) for variable in reversed(network.weights) if len(variable.shape) > 1)
    found = [last for *first, last in odd if first == inner and (last,) in odd]
    return found[0] if len(found) == 1 else None
