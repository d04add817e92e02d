"""The proof that a head was understood: maps and bias against the logits, on random and on real input."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np

from secam_onnx.classifier import Classifier
from secam_onnx.completeness import completeness_error
from secam_onnx.errors import HeadError
from secam_onnx.images import read_image

__all__ = ["Completeness", "prove"]

_RANDOM_IMAGES = 2
_INTEGRATED_CLASSES = 5
_INTEGRAL_TOLERANCE = 0.1  # of the quadrature; a wrong gradient misses by the whole of the logit


class Completeness(TypedDict):
    """What a proof found."""

    max_relative_error: float
    attribution: str
    identity_error: float
    images: list[str]
    classes: int
    tolerance: float


def prove(classifier: Classifier) -> Completeness:
    """Compare maps and logits on random images and on a photograph.

    For every class, maps, bias and gap must be the logit: the nodes of the head were understood, or run again, as the
    network runs them. In a quantised head, each number may have been rounded to the other side there. A head that is
    not linear on pieces is also integrated from the zero feature map: only a right gradient gives the logit there, too.

    Raises
    ------
    HeadError
        An error is over the tolerance, or not a number.
    """
    preprocessing, contribute = classifier.contract.preprocessing, classifier.contribute
    classes = np.arange(classifier.n_classes)[None]
    identity, measured = [], []
    images = _images(preprocessing.size)
    for image in images.values():
        features, logits, _ = classifier.forward(preprocessing.normalise(preprocessing.crop(image)[0]))
        maps, bias, gap = contribute.local(features, classes)
        cells = maps[0].reshape(classifier.n_classes, -1)
        allowed = contribute.rounding(features, classes)[0]
        identity.append(completeness_error(cells, (bias + gap)[0], logits[0], allowed))
        if contribute.way == "integrated":
            ids = np.argsort(-logits, axis=1)[:, :_INTEGRATED_CLASSES]
            maps, bias = contribute(features, ids)
            measured.append(completeness_error(maps[0].reshape(ids.shape[1], -1), bias[0], logits[0, ids[0]]))
        else:
            measured.append(completeness_error(cells, bias[0], logits[0]))
    kind = classifier.contract.head.kind
    if not max(identity) <= classifier.tolerance:
        raise HeadError(
            f"The head was read as {kind}, but its map does not add up to the logits: relative error "
            f"{max(identity):.1e}, at most {classifier.tolerance:g} was expected. Please report this model."
        )
    if contribute.way == "integrated" and not max(measured) <= _INTEGRAL_TOLERANCE:
        raise HeadError(
            f"The head was read as {kind}, but its gradient does not integrate to the logits: relative error "
            f"{max(measured):.1e}, at most {_INTEGRAL_TOLERANCE:g} was expected. Please report this model."
        )
    return {
        "max_relative_error": float(max(measured)),
        "attribution": contribute.way,
        "identity_error": float(max(identity)),
        "images": list(images),
        "classes": classifier.n_classes,
        "tolerance": classifier.tolerance,
    }


def _images(size: tuple[int, int]) -> dict[str, np.ndarray]:
    import skimage

    random = np.random.default_rng(0)
    noise = {f"random {index}": random.integers(0, 256, (*size, 3), dtype=np.uint8) for index in range(_RANDOM_IMAGES)}
    # The wheel of scikit-image carries this photograph; skimage.data would ask for pooch or the network.
    return {**noise, "photograph (skimage chelsea)": read_image(Path(skimage.__file__).parent / "data" / "chelsea.png")}
