"""In place of operators of ONNX's reference implementation that are too coarse or too slow for differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx.reference.op_run import OpRun

__all__ = ["OPERATORS"]


class Erf(OpRun):
    """ONNX's own rounds to float32."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class Gelu(OpRun):
    """The same, for ONNX takes it apart into Erf."""

    op_domain = ""

    def _run(self, x: np.ndarray, approximate: str | None = None) -> tuple[np.ndarray]:
        if approximate == "tanh":
            return (x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),)
        return (x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),)


def _windows(
    x: np.ndarray,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str | None = None,
    dilations: Sequence[int] | None = None,
    ceil_mode: int | None = None,
) -> np.ndarray:
    """`(N, C, H, W, kh * kw)`, with NaN outside of the map."""
    kernel, strides, dilations, pads = kernel_shape, strides or [1, 1], dilations or [1, 1], list(pads or [0] * 4)
    for axis in (0, 1):
        edge, reach, stride = x.shape[2 + axis], dilations[axis] * (kernel[axis] - 1) + 1, strides[axis]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = max((math.ceil(edge / stride) - 1) * stride + reach - edge, 0)
            ends = [total // 2, total - total // 2]
            pads[axis], pads[axis + 2] = ends if auto_pad == "SAME_UPPER" else ends[::-1]
        if ceil_mode:
            pads[axis + 2] += -(edge + pads[axis] + pads[axis + 2] - reach) % stride
    padded = np.pad(x, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])], constant_values=np.nan)
    window = [dilations[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)]
    view = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(2, 3))
    view = view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return view.reshape(*view.shape[:4], -1)


class AveragePool(OpRun):
    """ONNX's own is a loop in Python."""

    op_domain = ""

    def _run(self, x: np.ndarray, count_include_pad: int | None = None, **geometry: object) -> tuple[np.ndarray]:
        windows = _windows(x, **geometry)
        return (np.nan_to_num(windows).mean(axis=-1) if count_include_pad else np.nanmean(windows, axis=-1),)


class MaxPool(OpRun):
    """The same."""

    op_domain = ""

    def _run(self, x: np.ndarray, storage_order: int | None = None, **geometry: object) -> tuple[np.ndarray]:
        return (np.nanmax(_windows(x, **geometry), axis=-1),)


OPERATORS = [AveragePool, Erf, Gelu, MaxPool]
