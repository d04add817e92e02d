"""Class vectors, one for each class, and the fully connected layer that compares an embedding with them.

logits = scale * e V^T + bias, where `e` is the embedding and `V` the vectors `(classes, D)`, both divided by their L2
norms if they are normalised. Scale and norms of the vectors go into the layer's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secam_onnx.errors import OptionError

__all__ = ["ClassLayer", "class_layer"]

_TALLEST = 1e30  # weights beyond overflow in float32 once they are multiplied and added up


@dataclass(frozen=True, eq=False)
class ClassLayer:
    """A fully connected layer on an embedding, or on its direction.

    Attributes
    ----------
    weights : ndarray
        `(classes, D)` float32.
    bias : ndarray
        `(classes,)` float32.
    normalise : bool
        Whether the embedding is divided by its L2 norm first.
    labels : tuple of str
        The names of the classes.
    note : str
        How the logits are made, for people.
    """

    weights: np.ndarray
    bias: np.ndarray
    normalise: bool
    labels: tuple[str, ...]
    note: str

    @property
    def shape(self) -> tuple[int, int]:
        """`(classes, D)`."""
        return self.weights.shape[0], self.weights.shape[1]


def class_layer(vectors: Any, labels: Sequence[str] | None, *, scale: float, bias: Any, normalise: bool) -> ClassLayer:
    """Check class vectors, and make a layer of them.

    Parameters
    ----------
    vectors : array_like
        `(classes, D)`, or `(D,)` for one class; of any type of numbers.
    labels : sequence of str or None
        A name for each class; None for "class 0", "class 1", ...
    scale, bias, normalise
        See `with_classes`.

    Raises
    ------
    OptionError
        A shape, a type or a value is wrong; the message says which.
    """
    values = _numbers(vectors, "The class vectors")
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise OptionError(
            f"The class vectors have the shape {np.shape(vectors)}; (classes, D), one row for each class, was expected."
        )
    n_classes = len(values)
    if labels is not None and len(labels) != n_classes:
        raise OptionError(
            f"There are {len(labels)} labels for {n_classes} class vectors {values.shape}; give one name for each row."
        )
    if not (np.isfinite(scale) and scale > 0):
        raise OptionError(f"scale is {scale}; a finite number above 0 was expected.")
    offsets = _numbers(bias, "The bias")
    if offsets.shape not in ((), (n_classes,)):
        raise OptionError(f"The bias has the shape {offsets.shape}; one number, or one for each class, was expected.")
    names = tuple(f"class {index}" for index in range(n_classes)) if labels is None else tuple(labels)
    if normalise:
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        if not norms.all():
            row = int((norms == 0).argmax())
            raise OptionError(
                f"The class vector of row {row} ({names[row]!r}) is zero, so it has no direction. Leave that class "
                "out, or do not normalise."
            )
        values = values / norms
    weights = values * scale
    if np.abs(weights).max() > _TALLEST or np.abs(offsets).max() > _TALLEST:
        raise OptionError(f"The class vectors times the scale go beyond {_TALLEST:g}; give smaller ones.")
    factor = f"{scale:g} x " * (scale != 1)
    added = " + a bias for each class" if offsets.ndim else f" + {offsets:g}" * bool(offsets)
    kind = "cosine" if normalise else "dot product"
    return ClassLayer(
        weights.astype(np.float32),
        np.broadcast_to(offsets, n_classes).astype(np.float32),
        normalise,
        names,
        f"{factor}{kind} with {n_classes} vector{'s' * (n_classes > 1)} of {values.shape[1]} numbers{added}",
    )


def _numbers(values: Any, what: str) -> np.ndarray:
    """Finite numbers as float64."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of different lengths; PyTorch's with gradients
        raise OptionError(f"{what} cannot be read as an array ({error}); give an array of numbers.") from error
    if array.dtype.kind not in "fiu":
        kind = "bfloat16 or other raw bytes" if array.dtype.kind == "V" else str(array.dtype)
        if array.dtype.name != "bfloat16":  # of ml_dtypes, which NumPy can convert
            raise OptionError(f"{what} are of type {kind}; numbers, such as float32, were expected.")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        at = f" in row {place[0]}" if place else ""
        raise OptionError(f"{what}: {array[place]} was found{at}; finite numbers were expected.")
    return array
