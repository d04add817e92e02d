"""Features of many crops and the heads fitted to them, both kept in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secam_onnx import Preprocessing
from secam_onnx.classifier.unfused import Classifier
from studies.attributions.heads import Data, Weights, fit
from studies.attributions.pictures import SIZE, crops

__all__ = ["LITE", "Study", "cached", "features_of_crops", "fitted", "softmax"]

LITE = dataclasses.replace(Preprocessing.preset("lite", (SIZE, SIZE)), resize_to=None)
_BATCH = 12


@dataclass(frozen=True)
class Study:
    """Which crops there are and how heads are fitted; one seed for all."""

    crops: int
    folds: int
    steps: int
    seed: int = 0

    def random(self, *key: int) -> np.random.Generator:
        """A generator of its own for every use."""
        return np.random.default_rng([self.seed, *key])

    def fold_of(self, photographs: int) -> np.ndarray:
        """`(photographs,)`: in which fold each is held out, all its crops together."""
        return self.random(1).permutation(photographs) % self.folds


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def cached(file: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """Arrays from a file, which is made first if it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **make())
    with np.load(file) as arrays:
        return dict(arrays)


def features_of_crops(
    classifier: Classifier, photographs: Mapping[str, np.ndarray], study: Study, cache: Path
) -> tuple[Data, np.ndarray]:
    """Pooled features and logits of all crops, and `(n,)` the number of the photograph of each."""

    def one(index: int, photograph: np.ndarray) -> Mapping[str, np.ndarray]:
        inputs = np.concatenate(
            [LITE.normalise(crop) for crop in crops(photograph, study.crops, study.random(0, index))]
        )
        parts = [classifier.forward(inputs[start : start + _BATCH])[:2] for start in range(0, study.crops, _BATCH)]
        return {
            "features": np.concatenate([features.mean(axis=(2, 3)) for (features,), _ in parts]),
            "logits": np.concatenate([logits for _, logits in parts]),
        }

    found = [
        cached(cache / f"{index}-{name}-{study.crops}-{study.seed}.npz", lambda i=index, p=photograph: one(i, p))
        for index, (name, photograph) in enumerate(photographs.items())
    ]
    data = Data(*(np.concatenate([entry[key] for entry in found]) for key in ("features", "logits")))
    return data, np.repeat(np.arange(len(photographs)), study.crops)


def fitted(kind: str, fold: int, train: Data, linear: Weights, study: Study, cache: Path) -> Weights:
    """A head for one fold, fitted to the crops of all others."""
    file = cache / f"{kind}-{fold}-of-{study.folds}-{study.crops}-{study.steps}-{study.seed}.npz"
    return cached(file, lambda: fit(kind, train, linear, study.steps, study.seed + fold))
