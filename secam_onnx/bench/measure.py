"""One model, measured: forward pass, SeCAM, superpixels, a folder, memory, and whatever else takes turns with them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secam_onnx.bench.folder import time_folder
from secam_onnx.bench.fresh_process import explain_peak, forward_peak
from secam_onnx.bench.fused_file import fused_run
from secam_onnx.bench.lime import lime_explanation
from secam_onnx.bench.plain_model import PlainModel
from secam_onnx.bench.rounds import WARM_UP, Candidate, DropoutError, take_turns
from secam_onnx.classifier.protocol import softmax
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.errors import MissingDependencyError, ModelError, OptionError, SecamError
from secam_onnx.explainer import Explainer
from secam_onnx.graph.locate import model_file
from secam_onnx.photograph.images import read_image
from secam_onnx.runtime import CPU
from secam_onnx.superpixels import Segmenter, segment

if TYPE_CHECKING:
    from secam_onnx.explanation import Explanation

__all__ = ["Seen", "Settings", "measure", "photograph"]

_GPU_BATCH = 32
_FOLDER_BATCH = 8  # images a forward pass of the folder, where the single explanation has one


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    rounds : int
        Rounds that count.
    batch_size : int or None
        Images a call; by default 1, and 32 on a GPU.
    provider : str
        See `runtime.resolve_providers`.
    photograph : Path or None
        What is explained; by default a photograph of scikit-image's.
    lime_samples : int
        Perturbed pictures that LIME asks about; 0: without LIME.
    lime_rounds : int
        Rounds in which LIME takes part.
    folder_images : int
        Photographs in the folder; 0: without it.
    folder_rounds : int
        Rounds of it.
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
class Seen:
    """What all candidates explain.

    Attributes
    ----------
    picture : ndarray
        `(h, w, 3)` uint8, what the model sees.
    inputs : ndarray
        `(1, 3, h, w)` or `(1, h, w, 3)`, its input.
    logits : ndarray
        `(1, classes)`, its first output.
    """

    picture: np.ndarray
    inputs: np.ndarray
    logits: np.ndarray


def measure(
    model: str | os.PathLike[str],
    settings: Settings,
    peers: Callable[[Seen], tuple[Mapping[str, Candidate], Mapping[str, str]]] | None = None,
) -> dict[str, Any]:
    """Measure one model in one run, in turns.

    Parameters
    ----------
    model : path
        An ONNX classifier, explainable or not, or its folder.
    settings : Settings
        How.
    peers : callable, optional
        Further candidates for what is seen, and why others have to be skipped, by name.

    Returns
    -------
    dict
        `ms`, milliseconds an image by candidate: `forward`, `explain` (one class), `explain again` (the same without a
        pause before it), `superpixels`, `skimage slic`, `all classes`, `fused file` (one class, in a session of its
        own), `LIME`, peers; `others_cores`, how many cores others' processes kept busy meanwhile; `skipped`, what took
        no part and why; `steps_ms`, the steps as `Explanation.timings` has them; `superpixels`, how they were
        made; `peak_bytes` of fresh processes; `folder`, see `time_folder`.

    Raises
    ------
    SecamError
        The model or the photograph cannot be read.
    """
    path = model_file(model)
    image = read_image(settings.photograph or photograph())
    explainer = Explainer(path, providers=settings.provider)
    if explainer.classifier.metadata.fused is not None:
        raise ModelError(
            f"{path} is a fused model, in which the forward pass cannot be told from the rest; measure the model that "
            "it was made of, which is measured as a fused one, too."
        )
    opened = explainer.classifier
    if not explainer.preprocessing.of_photographs or (isinstance(opened, Classifier) and opened.input.dropped):
        channels = explainer.preprocessing.n_channels
        raise ModelError(
            f"{path} takes {channels} channel{'s' * (channels > 1)}, chosen ones, or images without a batch axis; only "
            "models of photographs, (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, are measured."
        )
    plain = PlainModel(path, explainer.providers)
    picture, _ = explainer.preprocessing.crop(image)
    one = plain.inputs([picture], explainer.preprocessing)
    batch = settings.batch_size or (1 if explainer.providers[0] == CPU else _GPU_BATCH)
    explanations: list[Explanation] = []
    candidates = _ours(explainer, plain, image, picture, batch, explanations)
    skipped = _add_fused(candidates, explainer, path, [picture] * batch)
    skipped |= _add_lime(candidates, explainer, plain, picture, settings)
    if peers is not None:
        others, absent = peers(Seen(picture, one, plain.forward(one)))
        candidates |= others
        skipped |= absent
    found = take_turns(candidates, settings.rounds)
    counted = explanations[WARM_UP * batch :]
    result = {
        "ms": found.ms,
        "others_cores": found.others_cores,
        "skipped": skipped | found.skipped,
        "steps_ms": {step: [entry.timings[step] for entry in counted] for step in counted[0].timings},
        "batch_size": batch,
        "input_size": list(picture.shape[:2]),
        "superpixels": {**counted[0].method["superpixels"], "found": counted[0].segment_scores.shape[1]},
        "providers": list(explainer.providers),
    }
    return result | _processes(path, explainer, plain, image, one, batch, settings)


def _ours(
    explainer: Explainer,
    plain: PlainModel,
    image: np.ndarray,
    picture: np.ndarray,
    batch: int,
    explanations: list[Explanation],
) -> dict[str, Candidate]:
    """What the package itself does, and the two measures of it: the forward pass and scikit-image's SLIC."""
    images, pictures = [image] * batch, [picture] * batch
    inputs = plain.inputs(pictures, explainer.preprocessing)

    def explain(*classes: str) -> list[Explanation]:
        # One image the way it is explained alone, which need not be a batch of one.
        return [explainer.explain(image, *classes)] if batch == 1 else explainer.explain_batch(images, *classes)

    def superpixels(segmenter: Segmenter) -> None:
        for entry in pictures:
            segment(entry, segmenter)

    return {
        "forward": Candidate(lambda: plain.forward(inputs), images=batch),
        "explain": Candidate(lambda: explanations.extend(explain()), images=batch),
        "explain again": Candidate(explain, images=batch, at_once=True),
        "superpixels": Candidate(functools.partial(superpixels, Segmenter()), images=batch),
        "skimage slic": Candidate(functools.partial(superpixels, Segmenter("slic")), images=batch),
        "all classes": Candidate(functools.partial(explain, "all"), images=batch),
    }


def _add_fused(
    candidates: dict[str, Candidate], explainer: Explainer, path: Path, pictures: Sequence[np.ndarray]
) -> dict[str, str]:
    try:
        run = fused_run(path, explainer, pictures)
    except SecamError as error:
        return {"fused file": str(error)}
    candidates["fused file"] = Candidate(run, images=len(pictures))
    return {}


def _add_lime(
    candidates: dict[str, Candidate], explainer: Explainer, plain: PlainModel, picture: np.ndarray, settings: Settings
) -> dict[str, str]:
    def classify(pictures: np.ndarray) -> np.ndarray:
        return softmax(plain.forward(plain.inputs(list(pictures), explainer.preprocessing)).astype(np.float64))

    if not settings.lime_samples or not settings.lime_rounds:
        return {"LIME": "not asked for"}
    try:
        explain = lime_explanation(classify, picture, settings.lime_samples)
    except MissingDependencyError as error:
        return {"LIME": str(error)}
    candidates["LIME"] = Candidate(explain, rounds=settings.lime_rounds)
    return {}


def _processes(
    path: Path,
    explainer: Explainer,
    plain: PlainModel,
    image: np.ndarray,
    one: np.ndarray,
    batch: int,
    settings: Settings,
) -> dict[str, Any]:
    """What is measured in processes of their own; a failure there costs nothing of what is known already."""
    peaks: dict[str, Any]
    try:
        peaks = {
            "forward": forward_peak(path, one, explainer.providers),
            "explain": explain_peak(path, settings.photograph or photograph(), explainer.providers),
        }
    except DropoutError as error:
        peaks = {"skipped": str(error)}
    if not settings.folder_images:
        return {"peak_bytes": peaks, "folder": {"skipped": "not asked for"}}
    folder = time_folder(
        path,
        plain,
        np.repeat(one, batch if batch > 1 else _FOLDER_BATCH, axis=0),
        image,
        images=settings.folder_images,
        rounds=settings.folder_rounds,
        providers=explainer.providers,
    )
    return {"peak_bytes": peaks, "folder": folder}


def photograph() -> Path:
    """A photograph of a cat, 451 x 300, that scikit-image carries."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "chelsea.png"
