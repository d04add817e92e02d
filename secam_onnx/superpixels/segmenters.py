"""Segmenters, which cut a picture into superpixels with labels 0..S-1."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secam_onnx import runtime
from secam_onnx.arguments import check_fields
from secam_onnx.errors import OptionError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["SEGMENTERS", "Segmenter", "check_label_map", "dense_label_map", "segment"]

_SPAN = 1 << 20  # a wider range of labels is sorted instead of counted


@dataclass(frozen=True)
class Segmenter:
    """How superpixels are made.

    Attributes
    ----------
    method : {'kmeans', 'slic', 'felzenszwalb', 'quickshift', 'grid'}
        Algorithm: `kmeans` is SLIC as an ONNX model (see `kmeans_model`), the next three are scikit-image's, and `grid`
        cuts rectangles.
    n_segments : int
        How many superpixels to aim at; the shape and content of the picture decide how many there are.
    compactness : float, optional
        Weight of closeness against colour for kmeans, slic and quickshift; the others ignore it. The default is 15 for
        kmeans and 10 for the others.
    """

    method: str = "kmeans"
    n_segments: int = 50
    compactness: float = None  # type: ignore[assignment]  # replaced by the method's default

    def __post_init__(self) -> None:
        if self.compactness is None:
            object.__setattr__(self, "compactness", 15.0 if str(self.method) == "kmeans" else 10.0)
        check_fields(self)
        if self.method not in SEGMENTERS:
            raise OptionError(f"Unknown segmenter {self.method!r}; choose from {', '.join(SEGMENTERS)}.")
        if not 1 <= self.n_segments <= 10_000:
            raise OptionError(f"n_segments is {self.n_segments}; 1 to 10000 was expected.")
        if not 1e-3 <= self.compactness <= 1e4:
            raise OptionError(f"compactness is {self.compactness}; 0.001 to 10000 was expected.")


def segment(image: np.ndarray, segmenter: Segmenter) -> np.ndarray:
    """Cut a picture into superpixels.

    Parameters
    ----------
    image : ndarray
        `(H, W, 3)` uint8, RGB.
    segmenter : Segmenter
        Algorithm and settings.

    Returns
    -------
    ndarray
        `(H, W)` int32, labels 0..S-1 without gaps; S may differ from `segmenter.n_segments`.
    """
    labels = SEGMENTERS[segmenter.method](image, segmenter)
    return labels if segmenter.method == "kmeans" else dense_label_map(labels)  # whose labels have no gaps


def dense_label_map(labels: np.ndarray) -> np.ndarray:
    """Renumber the labels of a label map to 0..S-1 without gaps, in their order.

    Raises
    ------
    OptionError
        The label map is not two-dimensional, is empty, or does not hold integers.
    """
    labels = np.asarray(labels)
    check_label_map(labels)
    low, high = int(labels.min()), int(labels.max())
    if high - low > _SPAN:
        _, dense = np.unique(labels, return_inverse=True)
        return dense.reshape(labels.shape).astype(np.int32)
    # Counting instead of sorting, which takes 2 ms at 224 x 224.
    shifted = (labels - labels.min()).astype(np.int64) if labels.dtype.kind == "u" else labels.astype(np.int64) - low
    numbers = np.cumsum(np.bincount(shifted.ravel()) > 0) - 1
    return numbers.astype(np.int32)[shifted]


def check_label_map(labels: np.ndarray) -> None:
    """Check that an array is a label map.

    Raises
    ------
    OptionError
        The label map is not two-dimensional, is empty, or does not hold integers.
    """
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iub":
        raise OptionError(
            f"The label map has shape {labels.shape} and dtype {labels.dtype}; (H, W) integers were expected, one "
            "number per superpixel."
        )


def _kmeans(image: np.ndarray, settings: Segmenter) -> np.ndarray:
    session = _kmeans_session(os.getpid(), (image.shape[0], image.shape[1]), settings.n_segments, settings.compactness)
    (labels,) = runtime.run(session, ["segments"], {"image": image[None]})
    return np.asarray(labels[0])


@functools.lru_cache(maxsize=8)
def _kmeans_session(
    process: int, size: tuple[int, int], n_segments: int, compactness: float
) -> onnxruntime.InferenceSession:
    # Imported here, as the other methods do without ONNX.
    from secam_onnx.superpixels.kmeans import kmeans_model

    model = kmeans_model(size, n_segments, compactness=compactness)
    # Its many small steps gain nothing from a second thread, which the network can use.
    return runtime.open_session(model.SerializeToString(), "cpu", threads=1)


def _slic(image: np.ndarray, settings: Segmenter) -> np.ndarray:
    # Imported here, as scikit-image takes 0.3 s and most users do without it.
    from skimage.segmentation import slic

    # On uint8, slic would work in float64, which gives the same labels a tenth slower.
    floats = image.astype(np.float32) / np.float32(255)
    return slic(floats, n_segments=settings.n_segments, compactness=settings.compactness, sigma=1, start_label=0)


def _felzenszwalb(image: np.ndarray, settings: Segmenter) -> np.ndarray:
    from skimage.segmentation import felzenszwalb

    smallest = max(1, image.shape[0] * image.shape[1] // (4 * settings.n_segments))
    return felzenszwalb(image, scale=100, sigma=0.8, min_size=smallest)


def _quickshift(image: np.ndarray, settings: Segmenter) -> np.ndarray:
    from skimage.segmentation import quickshift

    # This radius gave about as many superpixels as asked for on photographs at 224 x 224.
    kernel = float(np.sqrt(image.shape[0] * image.shape[1] / settings.n_segments)) / 8
    # scikit-image's ratio weighs colour against closeness. The default compactness weighs both alike, and colour always
    # keeps some weight.
    ratio = 1 - float(np.clip(settings.compactness / 20, 0.01, 0.95))
    return quickshift(image, kernel_size=max(1.0, kernel), max_dist=6 * kernel, ratio=ratio, rng=0)


def _grid(image: np.ndarray, settings: Segmenter) -> np.ndarray:
    height, width = image.shape[:2]
    rows = min(height, max(1, round(np.sqrt(settings.n_segments * height / width))))
    columns = min(width, max(1, round(settings.n_segments / rows)))
    return (np.arange(height) * rows // height)[:, None] * columns + np.arange(width) * columns // width


SEGMENTERS: dict[str, Callable[[np.ndarray, Segmenter], np.ndarray]] = {
    "kmeans": _kmeans,
    "slic": _slic,
    "felzenszwalb": _felzenszwalb,
    "quickshift": _quickshift,
    "grid": _grid,
}
