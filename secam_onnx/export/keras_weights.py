"""Weights of Keras, from a file into a network, with the file's own number of classes."""

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
"""Endings: `save_weights`, the files that Keras downloads, whole models."""


def load_weights(build: Callable[..., Any], path: str, name: str) -> Any:
    """Build a network and give it the weights of a file, which run no code.

    Parameters
    ----------
    build : callable
        Makes the network, with its usual number of classes or with `classes=`.
    path : str
        One of `FILES`.
    name : str
        What the network is called in messages.

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
    except Exception as error:  # of many types
        raise ModelError(f"The weights in {file} do not fit Keras's {name}: {one_line(error)}.") from error
    if name.startswith("EfficientNetB") and _normalises(network):
        # Built for ImageNet's weights it rescales its input once more, by constants that no file of weights holds.
        raise ModelError(
            f"The weights in {file} are ImageNet's, or began as these, and for them Keras builds {name} with one more "
            "layer. Save the whole model with model.save('NAME.keras') and export that; a file that Keras offers for "
            "download belongs into its cache, ~/.keras/models, and is used with --weights imagenet."
        )
    return network


def _normalises(network: Any) -> bool:
    layers = (layer for layer in network.layers if type(layer).__name__ == "Normalization")
    return any(abs(layer.get_weights()[0]).max() > 0 for layer in layers)


def one_line(error: BaseException) -> str:
    """Keras writes its messages in paragraphs."""
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
    """How often each shape is there, the optimizer's state left out."""
    shapes: Counter[tuple[int, ...]] = Counter()

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("optimizer"):
            shapes[tuple(entry.shape)] += 1

    content.visititems(visit)
    return shapes


def _classes(shapes: Counter[tuple[int, ...]], network: Any) -> int | None:
    """How many classes the file is for; None if as many as the network has.

    Layers are called otherwise in each format, but what is in the file and not in the network can only be the last
    layer's weight and bias.
    """
    odd = shapes - Counter(tuple(variable.shape) for variable in network.variables)
    *inner, _ = next(tuple(variable.shape) for variable in reversed(network.weights) if len(variable.shape) > 1)
    found = [last for *first, last in odd if first == inner and (last,) in odd]
    return found[0] if len(found) == 1 else None
