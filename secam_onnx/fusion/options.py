"""The options of a fused model, and a check that they fit the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from secam_onnx.arguments import check_fields
from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import IMAGE_SETTINGS
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection

__all__ = ["Fusion", "check_fits"]

_MOST_CLASSES = 100  # explained by default


@dataclass(frozen=True)
class Fusion:
    """The options of a fused model.

    Attributes
    ----------
    segmenter : Segmenter
        How superpixels are made; only `kmeans` exists as ONNX nodes.
    selection : Selection
        Which superpixels the overlay keeps.
    top_k : int
        Number of the highest classes to explain if a run gives no `classes`.
    overlay : bool
        Whether the graph has the output `overlay`, the finished picture.
    default_classes : bool
        Whether the input `classes` is optional. Engines without optional inputs (ONNX Runtime Web and Node, OpenVINO)
        then always explain the highest classes.
    float16 : bool
        Whether to store weights as 16 bits.
    attribution : str, optional
        See `choose_attribution`.
    """

    segmenter: Segmenter = field(default_factory=Segmenter)
    selection: Selection = field(default_factory=Selection)
    top_k: int = 1
    overlay: bool = True
    default_classes: bool = True
    float16: bool = False
    attribution: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.segmenter.method != "kmeans":
            raise OptionError(
                f"The segmenter {self.segmenter.method!r} cannot go into a fused model; only kmeans exists as ONNX "
                "nodes."
            )
        if not 1 <= self.top_k <= _MOST_CLASSES:
            raise OptionError(f"top_k is {self.top_k}; 1 to {_MOST_CLASSES} was expected.")


def check_fits(fusion: Fusion, analysed: AnalysedModel) -> None:
    """Check that the options fit the model.

    Raises
    ------
    ModelError
        The model takes other images than 8-bit RGB, or its feature map has no fixed size.
    OptionError
        `top_k` exceeds the number of classes.
    """
    preprocessing, head = analysed.metadata.preprocessing, analysed.head
    if not preprocessing.takes_rgb:
        raise ModelError(_no_photographs(preprocessing))
    if None in head.map_size:
        raise ModelError("The size of the feature map depends on the input; export the model for one image size.")
    if fusion.top_k > head.n_classes:
        raise OptionError(f"top_k is {fusion.top_k}, but the model has {head.n_classes} classes.")


def _no_photographs(preprocessing: Preprocessing) -> str:
    """The error for a model that takes other images than 8-bit RGB."""
    takes, less = f"{preprocessing.n_channels} channels", ""
    if preprocessing.n_channels in (1, 3):
        chosen = [name for name in IMAGE_SETTINGS if getattr(preprocessing, name) is not None]
        takes, less = f"images by {' and '.join(chosen)}", f", or leave {' and '.join(chosen)} out"
    return f"A fused model takes 8-bit RGB as it is, and this one takes {takes}. Export it without --fused{less}."
