"""One model, measured: everything that takes turns, a folder of photographs, and the memory of fresh processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secam_onnx.bench.candidates import Subject, add_fused, add_lime, open_subject, own_candidates
from secam_onnx.bench.folder import time_folder
from secam_onnx.bench.fresh_process import explain_peak, forward_peak
from secam_onnx.bench.rounds import WARM_UP, Candidate, DropoutError, take_turns
from secam_onnx.errors import OptionError
from secam_onnx.photograph.sample import sample_photograph

if TYPE_CHECKING:
    from secam_onnx.explanation import Explanation

__all__ = ["PeerInput", "Settings", "measure"]

_FOLDER_BATCH = 8  # images per forward pass of the folder, where a call has one image


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    rounds : int
        Rounds that count.
    batch_size : int or None
        Images per call; by default 1, and 32 on a GPU.
    provider : str
        See `runtime.resolve_providers`.
    photograph : Path or None
        What is explained; by default a photograph of a cat from scikit-image.
    lime_samples : int
        Perturbed pictures for LIME; 0 leaves it out.
    lime_rounds : int
        Rounds in which LIME takes part.
    folder_images : int
        Photographs in the folder; 0 leaves it out.
    folder_rounds : int
        Rounds of the folder.
    """

    rounds: int = 20
    batch_size: int | None = None
    provider: str = "cpu"
    photograph: Path | None = None
    lime_samples: int = 1000
    lime_rounds: int = 1
    folder_images: int = 200
    folder_rounds: int = 1

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("batch_size", 1), ("lime_samples", 0), ("folder_images", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(f"{name} is {value}; {least} or more was expected.")


@dataclass(frozen=True)
class PeerInput:
    """What further candidates explain.

    Attributes
    ----------
    picture : ndarray
        `(h, w, 3)` uint8, what the model sees.
    inputs : ndarray
        `(1, 3, h, w)` or `(1, h, w, 3)`, the model's input.
    logits : ndarray
        `(1, classes)`, the model's first output.
    """

    picture: np.ndarray
    inputs: np.ndarray
    logits: np.ndarray


def measure(
    model: str | os.PathLike[str],
    settings: Settings,
    peers: Callable[[PeerInput], tuple[Mapping[str, Candidate], Mapping[str, str]]] | None = None,
) -> dict[str, Any]:
    """Measure one model.

    Parameters
    ----------
    model : path
        An ONNX classifier, explainable or not, or its folder.
    settings : Settings
        How to measure.
    peers : callable, optional
        Gives further candidates for the same input, and the reasons why others are skipped, by name.

    Returns
    -------
    dict
        `ms`, milliseconds per image by candidate: `forward`, `explain` (one class), `explain again` (the same without a
        pause before it), `superpixels`, `skimage slic`, `all classes`, `fused file` (one class, in a session of its
        own), `LIME`, peers; `others_cores`, how many cores other processes kept busy meanwhile; `skipped`, what took
        no part and why; `steps_ms`, the steps of `Explanation.timings`; `superpixels`, how they were made;
        `peak_bytes` of fresh processes; `folder`, see `time_folder`.

    Raises
    ------
    SecamError
        The model or the photograph cannot be read, or the model cannot be measured.
    """
    photograph = settings.photograph or sample_photograph()
    subject = open_subject(model, photograph, provider=settings.provider, batch_size=settings.batch_size)
    explanations: list[Explanation] = []
    candidates = own_candidates(subject, explanations)
    skipped = add_fused(candidates, subject)
    skipped |= add_lime(candidates, subject, samples=settings.lime_samples, rounds=settings.lime_rounds)
    one = subject.inputs(1)
    if peers is not None:
        others, absent = peers(PeerInput(subject.picture, one, subject.plain.forward(one)))
        candidates |= others
        skipped |= absent
    found = take_turns(candidates, settings.rounds)
    counted = explanations[WARM_UP * subject.batch :]
    return {
        "ms": found.ms,
        "others_cores": found.others_cores,
        "skipped": skipped | found.skipped,
        "steps_ms": {step: [entry.timings[step] for entry in counted] for step in counted[0].timings},
        "batch_size": subject.batch,
        "input_size": list(subject.picture.shape[:2]),
        "superpixels": {**counted[0].method["superpixels"], "found": counted[0].segment_scores.shape[1]},
        "providers": list(subject.explainer.providers),
        "peak_bytes": _peaks(subject, one),
        "folder": _folder(subject, one, settings),
    }


def _peaks(subject: Subject, inputs: np.ndarray) -> dict[str, Any]:
    """Peak memory of fresh processes; a failure there spoils nothing that was measured before."""
    providers = subject.explainer.providers
    try:
        return {
            "forward": forward_peak(subject.path, inputs, providers),
            "explain": explain_peak(subject.path, subject.photograph, providers),
        }
    except DropoutError as error:
        return {"skipped": str(error)}


def _folder(subject: Subject, inputs: np.ndarray, settings: Settings) -> dict[str, Any]:
    if not settings.folder_images:
        return {"skipped": "not asked for"}
    return time_folder(
        subject.path,
        subject.plain,
        np.repeat(inputs, subject.batch if subject.batch > 1 else _FOLDER_BATCH, axis=0),
        subject.image,
        images=settings.folder_images,
        rounds=settings.folder_rounds,
        providers=subject.explainer.providers,
    )
