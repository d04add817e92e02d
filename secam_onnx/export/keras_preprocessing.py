"""The preprocessing of a family of `keras.applications`, derived from its own `preprocess_input`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from secam_onnx.errors import ModelError
from secam_onnx.photograph.preprocessing import Preprocessing

__all__ = ["derive_preprocessing"]


def derive_preprocessing(
    preprocess_input: Callable[..., np.ndarray], size: tuple[int, int], layout: Literal["NCHW", "NHWC"]
) -> Preprocessing:
    """Describe Keras's recipe: `load_img(target_size=...)`, which stretches by nearest neighbour, then this function.

    Black and the three pure colours give the mean, standard deviation and order of the channels of an affine map; the
    result must then agree on random pixels.

    Parameters
    ----------
    preprocess_input : callable
        From `(..., 3)` float RGB in 0..255 to the input of the network.
    size : (int, int)
        Height and width of the network's input.
    layout : {'NCHW', 'NHWC'}
        The axes of that input.

    Raises
    ------
    ModelError
        The function is not such a map.
    """

    def fed(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(preprocess_input(pixels.astype(np.float64), data_format="channels_last"))

    black, *colours = fed(np.vstack([np.zeros(3), 255 * np.eye(3)])[None])[0]
    response = (np.array(colours) - black) / 255  # of each output channel (column) to each colour (row)
    reverse = bool(response[2, 0])
    scale = np.diagonal(response[::-1] if reverse else response)
    refused = ModelError(
        "Keras's preprocess_input is not an affine map of each channel; choose the preprocessing with --preprocess."
    )
    if not (scale > 0).all():
        raise refused
    preprocessing = Preprocessing(
        size,
        resize_to=None,
        interpolation="nearest",
        mean=_rounded(-black / scale),
        std=_rounded(1 / scale),
        layout=layout,
        channel_order="BGR" if reverse else "RGB",
    )
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    ours = preprocessing.normalise(pixels)[0]
    if layout == "NCHW":
        ours = ours.transpose(1, 2, 0)
    if not np.allclose(ours, fed(pixels), rtol=0, atol=1e-6 * 255 * scale.max()):  # ours is float32, Keras's float64
        raise refused
    return preprocessing


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Without the digits that rounding left: 103.939, not 103.93900000000001."""
    return tuple(round(value, 9) + 0.0 for value in values.tolist())
