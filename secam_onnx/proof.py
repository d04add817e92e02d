"""The proof that a head was understood: `sum(M_c) + b_c == z_c` for every class, on random and on real input."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np

from secam_onnx.classifier import Classifier
from secam_onnx.completeness import TOLERANCE, completeness_error
from secam_onnx.errors import HeadError
from secam_onnx.images import read_image

__all__ = ["Completeness", "prove"]

_RANDOM_IMAGES = 2


class Completeness(TypedDict):
    """What a proof found."""

    max_relative_error: float
    images: list[str]
    classes: int
    tolerance: float


def prove(classifier: Classifier) -> Completeness:
    """Compare map and logits for every class on random images and on a photograph.

    Raises
    ------
    HeadError
        The error is over the tolerance, or not a number.
    """
    preprocessing = classifier.contract.preprocessing
    errors = []
    images = _images(preprocessing.size)
    for image in images.values():
        features, logits, _ = classifier.forward(preprocessing.normalise(preprocessing.crop(image)[0]))
        maps, bias = classifier.contribute(features, np.arange(classifier.n_classes)[None])
        errors.append(completeness_error(maps[0].reshape(classifier.n_classes, -1), bias[0], logits[0]))
    worst = float(np.max(errors))
    if not worst <= TOLERANCE:
        raise HeadError(
            f"The head was read as {classifier.contract.head.kind}, but its map does not add up to the logits: "
            f"relative error {worst:.1e}, at most {TOLERANCE:g} was expected. Please report this model."
        )
    return {
        "max_relative_error": worst,
        "images": list(images),
        "classes": classifier.n_classes,
        "tolerance": TOLERANCE,
    }


def _images(size: tuple[int, int]) -> dict[str, np.ndarray]:
    import skimage

    random = np.random.default_rng(0)
    noise = {f"random {index}": random.integers(0, 256, (*size, 3), dtype=np.uint8) for index in range(_RANDOM_IMAGES)}
    # The wheel of scikit-image carries this photograph; skimage.data would ask for pooch or the network.
    return {**noise, "photograph (skimage chelsea)": read_image(Path(skimage.__file__).parent / "data" / "chelsea.png")}
