"""Photograph in, explanation out: one forward pass, superpixels, and two small matrix products."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np

from secam_onnx import runtime
from secam_onnx.attribution import ATTRIBUTIONS
from secam_onnx.classifier import default_model, open_classifier
from secam_onnx.errors import OptionError
from secam_onnx.explanation import Explanation, Prediction
from secam_onnx.images import Photograph
from secam_onnx.labels import ClassQuery, class_name, resolve_classes
from secam_onnx.prepared import Prepared, ms_since, prepare
from secam_onnx.preprocess import Preprocessing
from secam_onnx.selection import Selection
from secam_onnx.settings import PreprocessingSettings
from secam_onnx.superpixels import Segmenter, pooling_matrices

__all__ = ["Explainer"]

_TOP = 5  # predictions in a result
_BATCH = 8  # images a forward pass in explain_batch


class Explainer:
    """Explains an ONNX image classifier with SeCAM.

    One explainer holds one session of the network and may be used from several threads.

    Parameters
    ----------
    model : path, optional
        An explainable model (`secam-onnx export`) or an ordinary ONNX classifier, or its folder; EfficientNet-Lite0
        for ImageNet-1k, which comes with the package, by default.
    providers : str or sequence of str, optional
        `"auto"` (the default: CUDA where it is there and works, else the CPU), `"cpu"`, `"cuda"`, or ONNX Runtime's
        own provider names.
    segmenter : Segmenter, optional
        How superpixels are made.
    selection : Selection, optional
        Which superpixels the pictures keep.
    preprocessing : Preprocessing, PreprocessingSettings or str, optional
        For an ordinary model, whose file does not say: all of it, some settings, or a preset's name. What is not given
        is read from the files beside the model (`preprocessor_config.json`, timm's `config.json`), or else as
        torchvision has it.
    labels : sequence of str, optional
        Class names for an ordinary model; read from the `config.json` beside it by default.
    output, features : str, optional
        For an ordinary model: which output to explain, and a feature map further up, by name.
    tokens : (int, int), optional
        For an ordinary model: rows and columns of a feature map `(N, tokens, C)`; a square by default.
    attribution : {'gradient', 'integrated', 'masking'}, optional
        How the map is made; by default what fits the head (see `secam_onnx.attribution`).

    Raises
    ------
    ModelError
        The model cannot be read or is no classifier that can be explained.
    ProviderError
        A provider asked for by name cannot start.
    MissingDependencyError
        ONNX Runtime is not installed.

    References
    ----------
    .. [1] Q. H. Cao et al., "A Novel Explainable Artificial Intelligence Model in Image Classification problem",
       arXiv 2307.04137.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        providers: runtime.Providers | None = None,
        segmenter: Segmenter | None = None,
        selection: Selection | None = None,
        preprocessing: Preprocessing | PreprocessingSettings | str | None = None,
        labels: Sequence[str] | None = None,
        output: str | None = None,
        features: str | None = None,
        tokens: tuple[int, int] | None = None,
        attribution: str | None = None,
    ) -> None:
        self._segmenter = segmenter or Segmenter()
        self._selection = selection or Selection()
        self._classifier = open_classifier(
            model if model is not None else default_model(),
            providers="auto" if providers is None else providers,
            preprocessing=preprocessing,
            labels=None if labels is None else tuple(labels),
            output=output,
            features=features,
            tokens=tokens,
            attribution=attribution,
        )
        # scikit-image lets go of the interpreter lock, so superpixels are made while the network runs.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="secam-superpixels")

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names; None if the model has none."""
        return self._classifier.contract.labels

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the network runs on, in order."""
        return self._classifier.providers

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a photograph before the network sees it."""
        return self._classifier.contract.preprocessing

    @property
    def preprocessing_note(self) -> str | None:
        """How the preprocessing was chosen, where the model file did not say."""
        return self._classifier.contract.origin.get("preprocessing")

    def check_classes(self, classes: ClassQuery | Iterable[ClassQuery]) -> None:
        """Complain about classes that the model does not have, before any image is read.

        Raises
        ------
        ClassError
            Unknown name or index out of range.
        """
        resolve_classes(_as_list(classes), np.zeros(self._classifier.n_classes), self.labels)

    def explain(
        self,
        image: Photograph,
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: np.ndarray | None = None,
    ) -> Explanation:
        """Explain one photograph.

        Parameters
        ----------
        image : path, Image or ndarray
            A file; a Pillow image; or `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, uint8, uint16 or floating point in [0, 1].
        classes : int, str or iterable of these
            Which classes: indices, names, `"top-K"`, `"all"`.
        segments : ndarray, optional
            A label map of your own, integers, at the size of the photograph or of the model's input. What lies outside
            the model's crop is left out.

        Returns
        -------
        Explanation
            The result.

        Raises
        ------
        ImageError
            The image cannot be read.
        ClassError
            A class that the model does not have.
        OptionError
            The label map does not fit.
        """
        return self.explain_batch([image], classes, segments=None if segments is None else [segments])[0]

    def explain_batch(
        self,
        images: Iterable[Photograph],
        classes: ClassQuery | Iterable[ClassQuery] = "top-1",
        *,
        segments: Sequence[np.ndarray] | None = None,
    ) -> list[Explanation]:
        """Explain several photographs, which may differ in size, a few per forward pass.

        Parameters
        ----------
        images, classes
            As in `explain`.
        segments : sequence of ndarray, optional
            A label map for each photograph.

        Returns
        -------
        list of Explanation
            One for each photograph, in order; the same as `explain` gives for each.
        """
        photographs = list(images)
        queries = _as_list(classes)
        if segments is not None and len(segments) != len(photographs):
            raise OptionError(f"There are {len(segments)} label maps for {len(photographs)} images; give one each.")
        results: list[Explanation] = []
        for start in range(0, len(photographs), _BATCH):
            own = [None] * _BATCH if segments is None else segments[start : start + _BATCH]
            batch = photographs[start : start + _BATCH]
            jobs = [
                prepare(image, self.preprocessing, self._segmenter, labels, self._pool)
                for image, labels in zip(batch, own, strict=False)
            ]
            results += self._run(jobs, queries)
        return results

    def _run(self, jobs: Sequence[Prepared], queries: Sequence[ClassQuery]) -> list[Explanation]:
        start = time.perf_counter()
        inputs = np.concatenate([self.preprocessing.normalise(job.seen) for job in jobs])
        normalise_ms = ms_since(start) / len(jobs)

        start = time.perf_counter()
        features, logits, probabilities = self._classifier.forward(inputs)
        forward_ms = ms_since(start) / len(jobs)

        start = time.perf_counter()
        chosen = [resolve_classes(queries, row, self.labels) for row in logits]
        # top-K and names can overlap in one image and not in another; the shorter rows repeat their last class.
        longest = max(map(len, chosen))
        class_ids = np.array([ids + ids[-1:] * (longest - len(ids)) for ids in chosen], dtype=np.int64)
        maps, bias = self._classifier.contribute(features, class_ids)
        contribution_ms = ms_since(start) / len(jobs)

        results = []
        for row, (job, ids) in enumerate(zip(jobs, chosen, strict=True)):
            segments, superpixels_ms = job.segments.result()
            start = time.perf_counter()
            own_maps = maps[row, : len(ids)]
            contribution, mean_score = pooling_matrices(segments, own_maps.shape[1:])
            cells = own_maps.reshape(len(ids), -1)
            order = np.argsort(-logits[row], kind="stable")[:_TOP]
            explanation = Explanation(
                image=job.image,
                geometry=job.geometry,
                predictions=self._predictions(order, logits[row], probabilities[row]),
                classes=self._predictions(ids, logits[row], probabilities[row]),
                maps=own_maps.copy(),
                segments=segments,
                given_labels=job.given_labels,
                scores=_product(cells, mean_score),
                contributions=_product(cells, contribution),
                bias=bias[row, : len(ids)].copy(),
                selection=self._selection,
                method=self._method(job, own_maps.shape[1:]),
                timings={
                    "preprocess": job.preprocess_ms + normalise_ms,
                    "forward": forward_ms,
                    "contribution": contribution_ms,
                    "superpixels": superpixels_ms,
                    "scores": ms_since(start),
                },
            )
            results.append(explanation)
            self._check(explanation)
        return results

    def _predictions(self, ids: Iterable[int], logits: np.ndarray, probabilities: np.ndarray) -> tuple[Prediction, ...]:
        return tuple(
            Prediction(
                int(index), class_name(self.labels, int(index)), float(probabilities[index]), float(logits[index])
            )
            for index in ids
        )

    def _check(self, explanation: Explanation) -> None:
        error, tolerance = explanation.completeness_error, self._classifier.tolerance
        exact = self._classifier.contract.head.algebra == "piecewise linear"
        if exact and self._classifier.contribute.way == "gradient" and not error <= tolerance:
            warnings.warn(
                f"The map misses the logit by {error:.1e}, relative; at most {tolerance:g} was expected. "
                "Low-precision kernels (TF32, float16) can cause that; compare with providers='cpu'.",
                RuntimeWarning,
                stacklevel=4,
            )

    def _method(self, job: Prepared, map_size: tuple[int, ...]) -> dict[str, object]:
        contract = self._classifier.contract
        return {
            "name": "SeCAM",
            "model": self._classifier.name,
            "head": contract.head.kind,
            "attribution": ATTRIBUTIONS[self._classifier.contribute.way],
            "features": contract.head.features,
            "map_size": list(map_size),
            "superpixels": job.segmenter,
            "preprocessing": {**self.preprocessing.to_dict(), "note": self.preprocessing_note},
            "providers": list(self.providers),
            "version": version("secam-onnx"),
        }


def _as_list(classes: ClassQuery | Iterable[ClassQuery]) -> list[ClassQuery]:
    queries = [classes] if isinstance(classes, int | str) else list(classes)
    if not queries:
        raise OptionError("No class was asked for; give an index, a name, 'top-1' or 'all'.")
    return queries


def _product(cells: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    # Not `cells @ matrix`: for many classes BLAS starts threads for it, which costs ten times what the product does.
    return np.einsum("kc,cs->ks", cells, matrix.astype(np.float32))
