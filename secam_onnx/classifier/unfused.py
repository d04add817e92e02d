"""A model of two sessions: its network, and the contribution model derived from its head."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx import runtime
from secam_onnx.classifier.attribution import Attribution
from secam_onnx.classifier.fidelity import (
    ON_A_CARD,
    REPORT,
    Fidelity,
    ReferenceOutputs,
    compare_outputs,
    outputs_of,
)
from secam_onnx.classifier.masked_parts import masked_parts
from secam_onnx.classifier.metadata import WHOLE, ModelMetadata
from secam_onnx.classifier.opened_model import (
    ModelOutput,
    Segments,
    check_logits,
    ms_since,
    pad_batch,
    probabilities_of,
)
from secam_onnx.classifier.outlier_tokens import outlier_tokens
from secam_onnx.completeness import TOLERANCE
from secam_onnx.errors import ForkError, ModelError
from secam_onnx.head import OWN_LAYOUT, features_name
from secam_onnx.labels.queries import ClassQuery, resolve_classes
from secam_onnx.memory import out_of_memory
from secam_onnx.photograph.model_input import ImageInput

if TYPE_CHECKING:
    import onnxruntime


__all__ = ["Classifier"]


class Classifier:
    """Runs a network and its contribution model.

    Attributes
    ----------
    name : str
        File name, for display.
    metadata : ModelMetadata
        The model's metadata.
    input : ImageInput
        The model's input.
    n_classes : int
        Number of classes.
    contribute : Attribution
        Makes maps and bias from features and class indices.
    tolerance : float
        The largest completeness error that the precision of the network explains.
    fed : dict of str to ndarray
        Weights that the network takes as inputs beside the image.
    fidelity : Fidelity or None
        How the outputs compare with those of the original file; None if they were not compared.
    files : tuple of Path
        The files it was read from; empty for a model made in memory.
    """

    fidelity: Fidelity | None = None
    files: tuple[Path, ...] = ()

    def __init__(
        self,
        name: str,
        metadata: ModelMetadata,
        input_: ImageInput,
        n_classes: int,
        network: onnxruntime.InferenceSession,
        contribute: Attribution,
        tolerance: float = TOLERANCE,
        fed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.input = input_
        self.n_classes = n_classes
        self._network = network
        self._dtype = runtime.input_dtype(network)
        self.contribute = contribute
        self.tolerance = tolerance
        self.fed = dict(fed or {})

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, in order."""
        return tuple(self._network.get_providers())

    @property
    def batch(self) -> int | None:
        """Number of pictures in one forward pass; None for any number."""
        return self.input.batch

    @property
    def attribution(self) -> str:
        """How maps are made."""
        return self.contribute.attribution

    @property
    def segmenter(self) -> None:
        """None: superpixels are made outside the model, while it runs."""
        return

    def input_of(self, picture: np.ndarray) -> np.ndarray:
        """The input tensor for one picture `(h, w, 3)` uint8 or `(h, w, C)`, with a batch axis, float32."""
        return self.metadata.preprocessing.normalise(picture)

    def run(
        self,
        inputs: np.ndarray,
        queries: Sequence[Sequence[ClassQuery]],
        *,
        pool: bool = False,
        segments: Sequence[Segments | None] = (),
    ) -> list[ModelOutput]:
        """Explain some classes of each picture; see `OpenModel`."""
        start = time.perf_counter()
        features, logits, probabilities = self.forward(inputs)
        forward_ms = ms_since(start) / len(inputs)
        label_maps = map(_made, segments) if self.attribution == "masking" else ()
        parts, masked = self.parts(features, list(label_maps))

        start = time.perf_counter()
        chosen = [resolve_classes(*asked, self.metadata.labels) for asked in zip(queries, logits, strict=True)]
        # Rows are as long as the longest; shorter ones repeat their last class.
        longest = max(map(len, chosen))
        class_ids = np.array([ids + ids[-1:] * (longest - len(ids)) for ids in chosen], dtype=np.int64)
        maps, bias = self.contribute(features, class_ids, parts)
        detached = self.attribution == "detached"
        outliers = outlier_tokens(features[0], self.metadata.head) if detached else [None] * len(inputs)
        timings = {"forward": forward_ms, "contribution": ms_since(start) / len(inputs)}
        return [
            ModelOutput(
                logits[row],
                probabilities[row],
                ids,
                maps[row, : len(ids)].copy(),
                bias[row, : len(ids)].copy(),
                timings,
                masked=masked[row],
                outliers=outliers[row],
            )
            for row, ids in enumerate(chosen)
        ]

    def parts(
        self, features: tuple[np.ndarray, ...], label_maps: Sequence[np.ndarray | None]
    ) -> tuple[np.ndarray | None, Sequence[int | None]]:
        """Choose what is masked, if anything is, and say how many superpixels of each picture that is.

        Parameters
        ----------
        features : tuple of ndarray
            As `forward` returns them.
        label_maps : sequence of ndarray or None
            See `masked_parts`; none at all for cells.
        """
        head, nothing = self.metadata.head, [None] * len(features[0])
        if self.attribution != "masking" or head.span != WHOLE:
            return None, nothing
        _, rows, columns = features[0].shape[1:] if features[0].ndim == 4 else head.shape
        assert rows is not None
        assert columns is not None
        return masked_parts(label_maps or nothing, (rows, columns), self.contribute.masks_at_once)

    def compare(self, file: ReferenceOutputs, advice: str = REPORT) -> None:
        """Compare the outputs of the network with those of its original file, and set `fidelity`.

        Parameters
        ----------
        file : ReferenceOutputs
            The outputs of the original file.
        advice : str
            Ends the message if they differ.

        Raises
        ------
        FidelityError
            They differ; the message names an output and both numbers.
        """
        feeds = {image: {**feed, **self.fed} for image, feed in file.feeds.items()}
        names = list(next(iter(file.outputs.values())))
        tolerance = file.tolerance if self.providers[0] == runtime.CPU else max(file.tolerance, ON_A_CARD)
        found = outputs_of(self._network, feeds, names)
        self.fidelity = compare_outputs(file.outputs, found, tolerance, advice=advice)

    def forward(self, inputs: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
        """Run the network, several times if its batch axis is fixed.

        Parameters
        ----------
        inputs : ndarray
            `(N, ...)` float32, preprocessed.

        Returns
        -------
        features : tuple of ndarray
            For `contribute`: the feature map of each branch, `(N, C, h, w)` float32, or the terms of a split layer
            (see `head.layer_split`); `(N, tokens, C)` if some tokens have no position; then what it takes besides.
        logits : ndarray
            `(N, classes)` float32.
        probabilities : ndarray
            `(N, classes)` float32 in [0, 1]: the model's own output if it has one; NaN if there are none.

        Raises
        ------
        ModelError
            The model fails on this input or returns NaN.
        """
        size = self.input.batch or len(inputs)
        if self.input.whole_numbers:  # images of many channels or of more than 8 bits come unrounded
            inputs = np.clip(np.rint(inputs), 0, 255)
        inputs = inputs.astype(self._dtype, copy=False)
        padded = pad_batch(inputs, size)
        head, own = self.metadata.head, self.metadata.probabilities
        maps = [features_name(index) for index in range(len(head.all_features))]
        if head.special:
            maps[0] += OWN_LAYOUT
        maps += self.contribute.saved
        names = [*maps, self.metadata.logits, *([] if own is None else [own])]
        runs = (self.input.fed(padded[start : start + size]) for start in range(0, len(padded), size))
        try:
            parts = [runtime.run(self._network, names, {self.input.name: given, **self.fed}) for given in runs]
        except ForkError:
            raise
        except Exception as error:
            raise out_of_memory(error) or ModelError(
                f"The model fails on an input of shape {inputs.shape}: {error}. Compare "
                "the preprocessing with the input that secam-onnx inspect shows, and set it with --preprocess."
            ) from error
        for values in (values for part in parts for values in part[len(maps) :]):
            if values.shape[:1] != (size,):
                raise ModelError(
                    f"The model was fed {size} image{'s' * (size > 1)}, but the values behind "
                    f"{self.metadata.explained_output!r} have shape {values.shape}; one row for each image was "
                    "expected, (N, classes). If the model is made for a single image, explain one at a time."
                )
        found = [
            (part[0] if len(part) == 1 else np.concatenate(part))[: len(inputs)] for part in zip(*parts, strict=True)
        ]
        features, (logits, *given) = tuple(found[: len(maps)]), found[len(maps) :]
        if logits.shape[1:] != (self.n_classes,):
            raise ModelError(
                f"The model declares {self.n_classes} classes, but its logits have shape {logits.shape}; its file "
                "contradicts itself. Export it again."
            )
        check_logits(logits)
        return features, logits, given[0] if given else probabilities_of(logits, self.metadata.probability)


def _made(segments: Segments | None) -> np.ndarray | None:
    """The label map; None if there is none, or if making it failed or was given up, which whoever needs it is told."""
    try:
        return None if segments is None else segments.result()[0]
    except Exception:
        return None
