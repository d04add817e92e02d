"""Runs of a session for some images and classes at a time, which bound its memory."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.opened_model import pad_batch

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["run_in_chunks"]


def run_in_chunks(
    session: onnxruntime.InferenceSession,
    names: Sequence[str],
    by_image: Mapping[str, np.ndarray],
    classes: tuple[str, np.ndarray],
    chunk: tuple[int, int],
    *,
    fill: bool,
    of_classes: Container[str],
) -> list[np.ndarray]:
    """Run a session for all images and classes, and join the results.

    Parameters
    ----------
    session : InferenceSession
        The session.
    names : sequence of str
        The outputs that are wanted.
    by_image : mapping of str to ndarray
        Inputs `(N, ...)`, by name.
    classes : (str, ndarray)
        Name and value of the input `(N, K)`.
    chunk : (int, int)
        The number of images and of classes in one run, at most.
    fill : bool
        Every run takes that many images: the last image is repeated where some are missing.
    of_classes : container of str
        The outputs `(N, K, ...)`; all others are `(N, ...)`.

    Returns
    -------
    list of ndarray
        The outputs, in the order of `names`.
    """
    images, columns = chunk
    name, ids = classes
    n_images, n_classes = ids.shape
    fed = {key: pad_batch(array, images if fill else 1) for key, array in by_image.items()}
    ids = pad_batch(ids, images if fill else 1)
    parts = [
        [
            runtime.run(
                session,
                names,
                {key: array[row : row + images] for key, array in fed.items()}
                | {name: ids[row : row + images, column : column + columns]},
            )
            for column in range(0, n_classes, columns)
        ]
        for row in range(0, len(ids), images)
    ]
    found = []
    for index, output in enumerate(names):
        rows = [
            _joined([part[index] for part in row], axis=1) if output in of_classes else row[0][index] for row in parts
        ]
        found.append(_joined(rows, axis=0)[:n_images])
    return found


def _joined(parts: list[np.ndarray], axis: int) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
