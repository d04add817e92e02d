"""What goes into a fused model, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, field

from secam_onnx.arguments import check_fields
from secam_onnx.classifier.analysis import AnalysedModel
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import OF_IMAGES
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection

__all__ = ["Fusion", "check_fits"]

_MOST_CLASSES = 100  # explained by default


@dataclass(frozen=True)
class Fusion:
    """What goes into a fused model.

    Attributes
    ----------
    segmenter : Segmenter
        How superpixels are made; `kmeans` is the one that there is as ONNX nodes.
    selection : Selection
        Which superpixels the picture keeps.
    top_k : int
        How many of the highest classes are explained where `classes` is not given.
    overlay : bool
        Whether the finished picture is an output.
    default_classes : bool
        Whether `classes` need not be given. Engines that know no optional inputs (ONNX Runtime Web and Node, OpenVINO)
        then always explain the top ones.
    float16 : bool
        Store weights with 16 bits.
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
                f"The segmenter {self.segmenter.method!r} cannot go into a fused model; only kmeans is made of ONNX "
                "nodes."
            )
        if not 1 <= self.top_k <= _MOST_CLASSES:
            raise OptionError(f"top_k is {self.top_k}; 1 to {_MOST_CLASSES} was expected.")


def check_fits(fusion: Fusion, analysed: AnalysedModel) -> None:
    """Compare what goes in with the model that it goes into.

    Raises
    ------
    ModelError
        The model takes other pictures than 8-bit RGB, or its feature map has no fixed size.
    OptionError
        More classes are asked for than the model has.
    """
    preprocessing, head = analysed.metadata.preprocessing, analysed.head
    if not preprocessing.of_photographs:
        raise ModelError(_no_photographs(preprocessing))
    if None in head.map_size:
        raise ModelError("The size of the feature map depends on the run; export the model for one image size.")
    if fusion.top_k > head.n_classes:
        raise OptionError(f"top_k is {fusion.top_k}, but the model has {head.n_classes} classes.")


def _no_photographs(preprocessing: Preprocessing) -> str:
    """What is said of a model that takes more than an ordinary picture."""
    takes, less = f"{preprocessing.n_channels} channels", ""
    if preprocessing.n_channels in (1, 3):
        chosen = [name for name in OF_IMAGES if getattr(preprocessing, name) is not None]
        takes, less = f"images by {' and '.join(chosen)}", f", or leave {' and '.join(chosen)} out"
    return f"A fused model takes 8-bit RGB as it is, and this one takes {takes}. Export it without --fused{less}."
