"""Every segmenter on every picture: measures of the label map, and how faithful its SeCAM is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from secam_onnx import Explainer, Segmenter
from secam_onnx.superpixels import pooling_matrices, segment
from studies.evaluation.faithfulness import Canvas, Ranking
from studies.segmenters.measures import against_truth, of_shape
from studies.segmenters.scenes import SEEN, Scene

__all__ = ["CAM", "Row", "measure"]

CAM = "plain CAM"  # each pixel a superpixel of its own, so in the order of the upsampled map

Row = dict[str, Any]
"""One segmenter with one aim on one picture."""


def measure(
    scenes_: Iterable[Scene], segmenters: dict[tuple[str, int], Segmenter], confident: float | None
) -> Iterator[Row]:
    """One row for each segmenter and picture, and plain CAM's.

    Parameters
    ----------
    scenes_ : iterable of Scene
        Pictures.
    segmenters : dict
        By name and by the number of superpixels to aim at.
    confident : float or None
        Photographs with at least this probability of their top class are explained; None: none is.
    """
    explainer = Explainer(providers="cpu")
    for scene in scenes_:
        made = {key: segment(scene.picture, segmenter) for key, segmenter in segmenters.items()}
        rows = {}
        for (name, aim), segments in made.items():
            rows[name, aim] = {"kind": scene.kind, "picture": scene.name, "method": name, "aim": aim}
            rows[name, aim] |= of_shape(segments, scene.picture)
            if scene.truth is not None:
                rows[name, aim] |= against_truth(segments, scene.truth)
        if scene.kind == "photographs" and confident is not None:
            found = _faithfulness(explainer, scene.picture, made, confident)
            if found:
                rows[CAM, 0] = {"kind": scene.kind, "picture": scene.name, "method": CAM, "aim": 0}
            for key, values in found.items():
                rows[key] |= values
        yield from rows.values()


def _faithfulness(
    explainer: Explainer, picture: np.ndarray, made: dict[tuple[str, int], np.ndarray], confident: float
) -> dict[tuple[str, int], dict[str, float]]:
    """Insertion minus deletion of the top class for each label map; empty where the model is not sure."""
    classifier, preprocessing = explainer.classifier, explainer.preprocessing

    def answers(pictures: np.ndarray) -> np.ndarray:
        return classifier.forward(np.concatenate([preprocessing.normalise(entry) for entry in pictures]))[2]

    features, _, probabilities = classifier.forward(preprocessing.normalise(picture))
    top = int(probabilities[0].argmax())
    if probabilities[0, top] < confident:
        return {}
    maps, _ = classifier.contribute(features, np.array([[top]]))
    cells = maps[0, 0]
    pixels = np.arange(picture.size // 3).reshape(picture.shape[:2])
    rankings: dict[Any, Ranking] = {
        key: (segments, cells.ravel() @ pooling_matrices(segments, cells.shape)[1])
        for key, segments in {**made, (CAM, 0): pixels}.items()
    }
    canvas = Canvas(picture, SEEN.mean, lambda pictures: {"": answers(pictures)[:, top]})
    found = {}
    for key, areas in canvas.faithfulness(rankings).items():
        differences = {f"faithfulness, {name}": of[""][0] - of[""][1] for name, of in areas.items()}
        found[key] = {**differences, "faithfulness": float(np.mean(list(differences.values())))}
    return found
