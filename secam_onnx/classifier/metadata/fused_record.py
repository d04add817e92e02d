"""What the metadata says of a fused model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from secam_onnx.classifier.metadata.head_record import Length
from secam_onnx.classifier.metadata.reports import Agreement
from secam_onnx.schema import OneOf, Within
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection

__all__ = ["MAX_CLASSES", "Declared", "FusedRecord"]

MAX_CLASSES = 1_000_000
"""The largest number of classes of a fused model."""

Declared = dict[str, tuple[str, list[int | str]]]
"""Type and shape of tensors, by name."""


@dataclass(frozen=True)
class FusedRecord:
    """What a fused model has in its graph beside the network.

    Attributes
    ----------
    size : (int, int)
        Height and width of its input pictures.
    batch : int or None
        Number of pictures in one run; None for any number.
    opset : int
        Version of the standard operators.
    n_classes : int
        Number of classes.
    map_size : (int, int)
        Rows and columns of the feature map.
    n_segments : int
        S, the largest number of superpixels of a picture.
    segmenter : Segmenter
        How superpixels are made.
    selection : Selection
        Which superpixels the overlay keeps.
    attribution : {'gradient', 'integrated', 'masking'}
        How maps are made.
    tolerance : float
        The largest completeness error that the precision of the network explains.
    top_k : int
        Number of the highest classes that are explained by default.
    default_classes : bool
        Whether the input `classes` has a default.
    overlay : bool
        Whether the finished picture is an output.
    float16 : bool
        Whether weights are stored with 16 bits.
    own_outputs : dict
        Names of the model's own outputs in the fused file, by their names in the model; they differ if the name was
        taken.
    agreement : dict
        How the fused model compared with the explainer when it was made; see `Agreement`.
    """

    size: tuple[Length, Length]
    batch: Length | None
    opset: Annotated[int, Within(1, 1000)]
    n_classes: Annotated[int, Within(1, MAX_CLASSES)]
    map_size: tuple[Length, Length]
    n_segments: Length
    segmenter: Segmenter
    selection: Selection
    attribution: Annotated[str, OneOf("gradient", "detached", "integrated", "masking")]
    tolerance: Annotated[float, Within(0, 1)]
    top_k: Annotated[int, Within(1, MAX_CLASSES)]
    default_classes: bool
    overlay: bool
    float16: bool
    own_outputs: Mapping[str, str]
    agreement: Agreement = field(default_factory=Agreement)

    @property
    def inputs(self) -> Declared:
        """`image`, sRGB, and `classes`: indices, or -1 for the class of the highest logit, -2 for the next, ..."""
        return {"image": ("uint8", [self._n, *self.size, 3]), "classes": ("int64", ["N or 1", "K"])}

    @property
    def outputs(self) -> Declared:
        """The outputs beside the model's own, for K classes and S superpixels."""
        of_classes: list[int | str] = [self._n, "K"]
        results: Declared = {
            "class_ids": ("int64", of_classes),
            "class_logits": ("float32", of_classes),
            "class_probabilities": ("float32", of_classes),
            "cam": ("float32", [*of_classes, *self.map_size]),
            "bias": ("float32", of_classes),
            "segments": ("int32", [self._n, *self.size]),
            "n_segments": ("int32", [self._n]),
            "segment_scores": ("float32", [*of_classes, self.n_segments]),
            "segment_contributions": ("float32", [*of_classes, self.n_segments]),
        }
        return results | ({"overlay": ("uint8", [*of_classes, *self.size, 3])} if self.overlay else {})

    @property
    def _n(self) -> int | str:
        return self.batch or "N"
