"""What the package says of a file, beside what the untouched file says in plain ONNX Runtime.

    python tools/real_files/comparing.py model.onnx  # one file, as JSON

Every output is compared on the same inputs; for trained models also what their authors' own code makes of the same
photographs.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import onnx
import onnxruntime
from real_files.authors import Recipe, in_pillow, probabilities, recipes
from skimage import data

from secam_onnx import Explainer, PreprocessingSettings
from secam_onnx.classifier.opened_model import attribution_in_words
from secam_onnx.errors import SecamError

__all__ = ["compare", "difference", "photographs"]

TRAINED = "trained"
"""The folder whose files are those of `trained.toml`."""


def photographs() -> list[np.ndarray]:
    """Three photographs and noise, `(H, W, 3)` uint8."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    return [data.chelsea(), data.astronaut(), data.coffee(), noise]


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, as a share of the largest number; infinite where shapes or what is finite differ."""
    if ours.shape != theirs.shape or not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return float("inf")
    ours, theirs = (np.where(np.isfinite(values), values, 0).astype(float) for values in (ours, theirs))
    return float(np.abs(ours - theirs).max(initial=0) / (np.abs(theirs).max(initial=0) or 1))


def told(recipe: Recipe) -> dict[str, Any]:
    """The options that tell the package what the authors' code does, as far as it has options for that."""
    rows, columns = recipe.size
    asked: dict[str, Any] = {"mean": _pixels(recipe.mean, recipe), "std": _pixels(recipe.std, recipe)}
    asked |= {"interpolation": _interpolation(recipe.filter), "channel_order": recipe.order}
    if recipe.resize in ("letterbox", "left"):  # nothing fits a line of text to the left; the middle is nearest
        zero = asked["mean"] if recipe.resize == "left" else (recipe.pad,)
        asked |= {"fit": "letterbox", "pad_color": zero[:1], "size": recipe.size, "crop_rounding": "down"}
    elif recipe.resize == "stretch" and not recipe.crop:
        asked["fit"] = "stretch"
    else:
        asked["resize_to"] = (rows, columns) if recipe.resize == "stretch" else rows
    if recipe.grey:
        del asked["channel_order"]
    options: dict[str, Any] = {"preprocessing": PreprocessingSettings(**asked), "logits": recipe.output}
    if recipe.labels:
        options["labels"] = recipe.labels
    if recipe.activation in ("softmax", "sigmoid") and "activation" in inspect.signature(Explainer).parameters:
        options["activation"] = recipe.activation
    return {name: value for name, value in options.items() if value is not None}


def _pixels(values: float | Sequence[float], recipe: Recipe) -> tuple[float, ...]:
    count = 1 if recipe.grey else 3
    listed = (values,) * count if isinstance(values, int | float) else tuple(values)
    return tuple(value / recipe.scale for value in listed)


def _interpolation(filter_: str) -> str:
    return in_pillow(filter_).removeprefix("pillow ")


class Watched:
    """An explainer, and what its model was fed."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer = explainer
        self.model: Any = explainer.classifier  # one that runs an ordinary file, of which more is looked at
        self._answers = self.model.run
        self.model.run = self._keep  # type: ignore[method-assign]

    def _keep(self, inputs: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        self.inputs = inputs
        raise EnoughError  # before anything is explained, which may take hundreds of runs

    def fed(self, photograph: np.ndarray) -> np.ndarray:
        """What the network is given for a photograph, with a batch axis."""
        try:
            self.explainer.explain(photograph)
        except EnoughError:
            return self.inputs
        raise AssertionError("nothing was run")

    def as_taken(self, inputs: np.ndarray) -> np.ndarray:
        """The same with the axes and the type of the file's own input."""
        given: np.ndarray = self.model.input.fed(inputs)
        return given.astype(self.model._dtype)

    def outputs(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs of the session that explanations come from."""
        session = self.model._network
        feeds = {self.model.input.name: inputs, **self.model.fed}
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))


class EnoughError(Exception):
    """What was wanted is known."""


class Plain:
    """A file as it lies there, in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self.input,) = self._session.get_inputs()[:1]
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs by name."""
        results = self._session.run(self.outputs, {self.input.name: inputs})
        return dict(zip(self.outputs, results, strict=True))


def compare(path: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """Everything about one file, as plain JSON types."""
    start = time.perf_counter()
    model = onnx.load(path, load_external_data=False)
    made_by = f"{model.producer_name} {model.producer_version}".removesuffix(" None").strip() or "not said"
    row: dict[str, Any] = {"file": path.name, "made_by": made_by, "opset": model.opset_import[0].version}
    options: dict[str, Any] = {"logits": recipe.output} if recipe and recipe.output else {}
    if "googlenet" in path.name:  # it has two more heads
        options["logits"] = "logits"
    row |= _said(path, options)
    if recipe:
        row["authors"] = _authors(path, recipe)
    return row | {"seconds": round(time.perf_counter() - start, 1)}


def _said(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What was read of the file, and the largest differences."""
    try:
        explainer = Explainer(path, providers="cpu", **options)
        explanation = explainer.explain(photographs()[0])
    except SecamError as error:
        return {"error": type(error).__name__, "words": str(error)}
    except Exception as error:
        return {"error": type(error).__name__, "words": str(error), "not_ours": True}
    metadata, head = explainer.classifier.metadata, explainer.classifier.metadata.head
    further = [{"tensor": entry.features, "shape": list(entry.shape)} for entry in head.further]
    read = {
        "features": {"tensor": head.features, "shape": list(head.shape), "layout": head.layout, "further": further},
        "head": head.kind,
        "algebra": head.algebra,
        "attribution": attribution_in_words(explainer.classifier.attribution, head),
        "activation": metadata.activation,
        "probability": metadata.probability_note,
        "output": metadata.explained_output,
        "classes": explainer.classifier.n_classes,
        "preprocessing": f"{explainer.preprocessing_note or 'the file'}: {explainer.preprocessing}",
        "origin": dict(metadata.origin),
        "labels": list(explainer.labels[:20]) if explainer.labels else None,
        "completeness": explanation.completeness_error,
    }
    return read | _measured(Watched(explainer), Plain(path))


def _measured(watched: Watched, plain: Plain) -> dict[str, Any]:
    """The largest difference of every output, and of what is explained from the output that it was found in."""
    differences: dict[str, float] = {}
    answered, explained = 0.0, watched.model.metadata.explained_output
    for photograph in photographs():
        inputs = watched.fed(photograph)
        taken = watched.as_taken(inputs)
        theirs, ours = plain.run(taken), watched.outputs(taken)
        for name in set(theirs) & set(ours):
            differences[name] = max(differences.get(name, 0.0), difference(ours[name], theirs[name]))
        if explained in theirs:  # it is the logits, or what was made of them
            own = theirs[explained].reshape(1, -1)
            said = [array.reshape(1, -1) for array in watched.model.forward(inputs)[1:3]]
            answered = max(answered, min(difference(array, own) for array in said))
    left = sorted(set(plain.outputs) - set(differences))
    return {"differences": differences, "not_compared": left, "answer_difference": answered}


def _authors(path: Path, recipe: Recipe) -> dict[str, Any]:
    """What the authors' code makes of the photographs, beside what the package does when told so."""
    if recipe.refused:
        return {"refused": recipe.refused}
    try:
        watched = Watched(Explainer(path, providers="cpu", **told(recipe)))
    except (SecamError, TypeError) as error:
        return {"error": type(error).__name__, "words": str(error)}
    plain, channels_first = Plain(path), watched.model.input.layout == "NCHW"
    name = recipe.output or plain.outputs[0]
    fed, probable, same_filter, highest = 0.0, 0.0, 0.0, 0
    for photograph in photographs()[:3]:
        theirs, as_pillow = (
            (made.transpose(2, 0, 1) if channels_first else made)[None]
            for made in (recipe.feed(photograph), recipe.with_pillow().feed(photograph))
        )
        ours = watched.fed(photograph)
        if ours.shape != theirs.shape:
            return {"error": "shape", "words": f"{ours.shape} in place of {theirs.shape}"}
        span = float(theirs.max() - theirs.min()) or 1.0
        fed = max(fed, float(np.abs(ours.astype(float) - theirs).mean()) / span)
        wanted, nearly = (
            probabilities(recipe, plain.run(watched.as_taken(made))[name]).reshape(-1) for made in (theirs, as_pillow)
        )
        _, logits, shares = watched.model.forward(ours)[:3]
        got = np.where(np.isfinite(shares), shares, logits).reshape(-1)
        if len(got) == 2 and len(wanted) == 1:  # the pair (negative, positive) of one sigmoid
            got = got[1:]
        if got.shape != wanted.shape:
            return {"error": "classes", "words": f"{got.shape} in place of {wanted.shape}"}
        probable = max(probable, float(np.abs(got - wanted).max()))
        same_filter = max(same_filter, float(np.abs(got - nearly).max()))
        highest += int(got.argmax() == wanted.argmax() and (len(got) > 1 or (got[0] > 0.5) == (wanted[0] > 0.5)))
    return {
        "input_difference": fed,
        "probability_difference": probable,
        "with_pillows_filter": same_filter,
        "highest_equal": highest,
        "preprocessing": str(watched.explainer.preprocessing),
    }


if __name__ == "__main__":
    file = Path(sys.argv[1])
    print(json.dumps(compare(file, recipes().get(file.stem) if file.parent.name == TRAINED else None)))
