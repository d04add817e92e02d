"""The outputs of `infer`, made from the results of one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from secam_onnx.classifier.opened_model import ModelOutput
from secam_onnx.errors import OptionError
from secam_onnx.explainer import Explainer
from secam_onnx.explanation import Explanation, overlays
from secam_onnx.labels.queries import class_name
from secam_onnx.photograph.geometry import Geometry
from secam_onnx.serve.request.drawing import drawn
from secam_onnx.serve.request.limits import RequestLimits

__all__ = ["ExplainedImage", "check_maps", "output_tensors"]


@dataclass(frozen=True)
class ExplainedImage:
    """The result for one photograph.

    Attributes
    ----------
    output : ModelOutput
        What the model gave.
    geometry : Geometry
        Where the model's input lies on the photograph.
    explanation : Explanation or None
        With superpixels; None where the request needs none.
    """

    output: ModelOutput
    geometry: Geometry
    explanation: Explanation | None = None

    @property
    def with_superpixels(self) -> Explanation:
        """The explanation, which the request asked for."""
        assert self.explanation is not None
        return self.explanation


def output_tensors(
    names: Sequence[str], results: Sequence[ExplainedImage], explainer: Explainer
) -> dict[str, np.ndarray]:
    """The outputs of `infer`, by name.

    Where photographs differ in their number of classes or superpixels, the shorter ones are filled up: `class_ids`
    with -1, `class_labels` and `overlay_png` with nothing, the others with 0.
    """
    return {name: _TENSORS[name](results, explainer) for name in names}


def check_maps(names: Sequence[str], results: Sequence[ExplainedImage], limits: RequestLimits) -> None:
    """Refuse maps that are too large to send, which depends on the model.

    Raises
    ------
    OptionError
        The message says how large they are.
    """
    cells = sum(result.output.cam.size for result in results) if "cam" in names else 0
    if cells > limits.max_cells:
        raise OptionError(
            f"'cam' would have {cells:,} values, over the limit of {limits.max_cells:,}; ask for fewer classes, or "
            "leave it out."
        )


def _stacked(rows: Sequence[np.ndarray], fill: object = 0) -> np.ndarray:
    shape = tuple(max(lengths) for lengths in zip(*(row.shape for row in rows), strict=True))
    stacked = np.full((len(rows), *shape), fill, dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        stacked[place][tuple(slice(length) for length in row.shape)] = row
    return stacked


def _of_classes(
    values: Callable[[ExplainedImage], np.ndarray],
) -> Callable[[Sequence[ExplainedImage], Explainer], np.ndarray]:
    return lambda results, _: _stacked([np.asarray(values(result), dtype=np.float32) for result in results])


def _class_ids(results: Sequence[ExplainedImage], _: Explainer) -> np.ndarray:
    return _stacked([np.array(result.output.class_ids, dtype=np.int64) for result in results], -1)


def _class_labels(results: Sequence[ExplainedImage], explainer: Explainer) -> np.ndarray:
    rows = [[class_name(explainer.labels, index).encode() for index in result.output.class_ids] for result in results]
    return _stacked([_strings(row) for row in rows], b"")


def _overlay(results: Sequence[ExplainedImage], explainer: Explainer) -> np.ndarray:
    """On what the model saw, which has one size for all photographs."""
    pictures = []
    for explanation in (result.with_superpixels for result in results):
        seen, _ = explainer.preprocessing.crop(explanation.image)
        kept = [explanation.keep(entry.index) for entry in explanation.classes]
        pictures.append(np.stack([overlays.kept_overlay(seen, explanation.segments, keep) for keep in kept]))
    return _stacked(pictures)


def _overlay_png(results: Sequence[ExplainedImage], _: Explainer) -> np.ndarray:
    """On the whole photograph, at its own size."""
    rows = []
    for explanation in (result.with_superpixels for result in results):
        rows.append(_strings([drawn(explanation, entry.index, "overlay") for entry in explanation.classes]))
    return _stacked(rows, b"")


def _strings(values: Sequence[bytes]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


_TENSORS: dict[str, Callable[[Sequence[ExplainedImage], Explainer], np.ndarray]] = {
    "class_ids": _class_ids,
    "class_labels": _class_labels,
    "class_probabilities": _of_classes(lambda result: result.output.probabilities[result.output.class_ids]),
    "class_logits": _of_classes(lambda result: result.output.logits[result.output.class_ids]),
    "bias": _of_classes(lambda result: result.output.bias),
    "cam": _of_classes(lambda result: result.output.cam),
    "segments": lambda results, _: np.stack([result.with_superpixels.segments for result in results]),
    "n_segments": lambda results, _: np.array(
        [result.with_superpixels.segment_scores.shape[1] for result in results], dtype=np.int32
    ),
    "segment_scores": _of_classes(lambda result: result.with_superpixels.segment_scores),
    "segment_contributions": _of_classes(lambda result: result.with_superpixels.segment_contributions),
    "box": lambda results, _: np.array([result.geometry.box for result in results], dtype=np.float64),
    "image_size": lambda results, _: np.array([result.geometry.image_size for result in results], dtype=np.int32),
    "overlay": _overlay,
    "overlay_png": _overlay_png,
}
