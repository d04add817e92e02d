"""What `secam-onnx explain` says before it begins: what was assumed, what takes long, and what was not done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from secam_onnx.cli.console import say, say_json

if TYPE_CHECKING:
    from secam_onnx.explainer import Explainer

__all__ = ["say_notes"]


def say_notes(explainers: Iterable[Explainer], verify: bool | None, *, as_json: bool) -> None:
    """Write the notes on one head or several to stderr; notes that several share appear once."""
    for note in dict.fromkeys(note for explainer in explainers for note in _notes(explainer, verify)):
        if as_json:
            say_json({"event": "note", "message": note}, err=True)
        else:
            say(note, err=True)


def _notes(explainer: Explainer, verify: bool | None) -> Iterator[str]:
    from secam_onnx.classifier.fidelity import NOT_COMPARED

    metadata = explainer.classifier.metadata
    if (explainer.preprocessing_note or "").startswith("assumed"):
        again = "" if metadata.fused is None else "export it --fused again, with "
        yield f"Preprocessing {explainer.preprocessing_note}. To change it: {again}--preprocess PRESET."
    for warning in filter(None, (explainer.preprocessing_warning, explainer.features_warning)):
        yield f"Warning: {warning}"
    if metadata.probability_note.startswith(("assumed", "none")):
        yield f"Probability {metadata.probability_note}."
    if metadata.labels is None and (why := metadata.origin.get("labels")):
        yield f"Class names: {why}. Give them with --labels FILE."
    if explainer.classifier.attribution == "masking":
        yield _of_masking(explainer)
    if explainer.classifier.attribution == "detached":
        yield f"Maps are made {metadata.head.attention}."
    if verify and (found := explainer.fidelity) is not None:
        yield (
            f"Verified: on {len(found['images'])} images {', '.join(found['outputs'])} differ from the outputs of the "
            f"file in plain ONNX Runtime by at most {found['max_relative_difference']:.2g}, relative."
        )
    if verify is None and explainer.fidelity is None and not metadata.completeness:  # which exported files have
        yield f"Not verified: {NOT_COMPARED} (--verify does that)."


def _of_masking(explainer: Explainer) -> str:
    """Why maps are made by masking, and how many runs of the head that takes."""
    metadata = explainer.classifier.metadata
    head = metadata.head
    why = "The head is not understood, so maps are" if head.algebra == "unknown" else "Maps are"
    shapes = [head.shape[1:], *(entry.shape[1:] for entry in head.further)]
    lengths = [length for shape in shapes for length in shape]
    times = "once for each cell of the feature map"
    if None not in lengths:
        runs = sum(math.prod(length or 0 for length in shape) + 2 for shape in shapes)
        cells = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
        times = f"{runs} times ({cells} cells{', each' * (len(shapes) > 1)} alone, then none and all)"
    fewer = "" if metadata.fused else ", or only once for each superpixel where that halves its runs"
    return f"{why} made by masking, which runs the head {times} for each image or batch of images{fewer}."
