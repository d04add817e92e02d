"""What takes turns: the plain forward pass, the package's own work on the same photograph, and LIME."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx.bench.fused_file import fused_run
from secam_onnx.bench.lime import lime_explanation
from secam_onnx.bench.plain_model import PlainModel
from secam_onnx.bench.rounds import Candidate
from secam_onnx.classifier.opened_model import softmax
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.errors import MissingDependencyError, ModelError, SecamError
from secam_onnx.explainer import Explainer
from secam_onnx.graph.locate import model_file
from secam_onnx.photograph.images import read_image
from secam_onnx.runtime import CPU
from secam_onnx.superpixels import Segmenter, segment

if TYPE_CHECKING:
    from secam_onnx.explanation import Explanation

__all__ = ["Subject", "add_fused", "add_lime", "open_subject", "own_candidates"]

_GPU_BATCH = 32


@dataclass(frozen=True)
class Subject:
    """A model that is measured, and the photograph that it is measured with.

    Attributes
    ----------
    path : Path
        The ONNX file.
    explainer : Explainer
        The model, opened by this package.
    plain : PlainModel
        The model, in a bare session.
    photograph : Path
        The photograph's file.
    image : ndarray
        `(H, W, 3)` uint8, the photograph.
    picture : ndarray
        `(h, w, 3)` uint8, what the model sees of it.
    batch : int
        Images per call.
    """

    path: Path
    explainer: Explainer
    plain: PlainModel
    photograph: Path
    image: np.ndarray
    picture: np.ndarray
    batch: int

    def inputs(self, count: int) -> np.ndarray:
        """The model's input for that many copies of the picture."""
        return self.plain.inputs([self.picture] * count, self.explainer.preprocessing)


def open_subject(
    model: str | os.PathLike[str], photograph: Path, *, provider: str, batch_size: int | None = None
) -> Subject:
    """Open a model for the benchmark.

    Parameters
    ----------
    model : path
        An ONNX classifier, explainable or not, or its folder.
    photograph : Path
        What is explained.
    provider : str
        See `runtime.resolve_providers`.
    batch_size : int, optional
        Images per call; by default 1, and 32 on a GPU.

    Raises
    ------
    ModelError
        The model is fused, or does not take ordinary photographs.
    SecamError
        The model or the photograph cannot be read.
    """
    path, image = model_file(model), read_image(photograph)
    explainer = Explainer(path, providers=provider)
    opened = explainer.classifier
    if opened.metadata.fused is not None:
        raise ModelError(
            f"{path} is a fused model, whose forward pass cannot be timed by itself. Measure the model that it was "
            "made of; its fused file is then measured, too."
        )
    if not explainer.preprocessing.takes_rgb or (isinstance(opened, Classifier) and opened.input.dropped):
        channels = explainer.preprocessing.n_channels
        raise ModelError(
            f"{path} takes {channels} channel{'s' * (channels > 1)}, chosen ones, or images without a batch axis; only "
            "models of photographs, (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, are measured."
        )
    picture, _ = explainer.preprocessing.crop(image)
    batch = batch_size or (1 if explainer.providers[0] == CPU else _GPU_BATCH)
    plain = PlainModel(path, explainer.providers)
    return Subject(path, explainer, plain, photograph, image, picture, batch)


def own_candidates(subject: Subject, explanations: list[Explanation]) -> dict[str, Candidate]:
    """The package's own work, and what it is compared with: the forward pass, and scikit-image's SLIC.

    Parameters
    ----------
    subject : Subject
        What is measured.
    explanations : list
        Every result of `explain` is appended to it.
    """
    batch, inputs = subject.batch, subject.inputs(subject.batch)

    def explain(*classes: str) -> list[Explanation]:
        if batch == 1:  # as a user explains a single image, which need not be a batch of one
            return [subject.explainer.explain(subject.image, *classes)]
        return subject.explainer.explain_batch([subject.image] * batch, *classes)

    def superpixels(segmenter: Segmenter) -> None:
        for _ in range(batch):
            segment(subject.picture, segmenter)

    return {
        "forward": Candidate(lambda: subject.plain.forward(inputs), images=batch),
        "explain": Candidate(lambda: explanations.extend(explain()), images=batch),
        "explain again": Candidate(explain, images=batch, at_once=True),
        "superpixels": Candidate(functools.partial(superpixels, Segmenter()), images=batch),
        "skimage slic": Candidate(functools.partial(superpixels, Segmenter("slic")), images=batch),
        "all classes": Candidate(functools.partial(explain, "all"), images=batch),
    }


def add_fused(candidates: dict[str, Candidate], subject: Subject) -> dict[str, str]:
    """Add the model as a fused file; gives the reason if it cannot be one."""
    try:
        run = fused_run(subject.path, subject.explainer, [subject.picture] * subject.batch)
    except SecamError as error:
        return {"fused file": str(error)}
    candidates["fused file"] = Candidate(run, images=subject.batch)
    return {}


def add_lime(candidates: dict[str, Candidate], subject: Subject, *, samples: int, rounds: int) -> dict[str, str]:
    """Add LIME; gives the reason if it takes no part."""

    def classify(pictures: np.ndarray) -> np.ndarray:
        inputs = subject.plain.inputs(list(pictures), subject.explainer.preprocessing)
        return softmax(subject.plain.forward(inputs).astype(np.float64))

    if not samples or not rounds:
        return {"LIME": "not asked for"}
    try:
        explain = lime_explanation(classify, subject.picture, samples)
    except MissingDependencyError as error:
        return {"LIME": str(error)}
    candidates["LIME"] = Candidate(explain, rounds=rounds)
    return {}
