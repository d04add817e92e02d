"""Picture steps as ONNX nodes: from the photograph to the network's input, and from scores to the overlay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from secam_onnx.explanation.overlays import DARK
from secam_onnx.graph.nodes import Nodes
from secam_onnx.photograph.images import LUMA
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.superpixels.pooling_nodes import Pooled
from secam_onnx.superpixels.selection import Selection

__all__ = ["normalised", "overlay"]


def normalised(n: Nodes, image: str, preprocessing: Preprocessing, elem_type: int, dropped: Sequence[int] = ()) -> str:
    """Compute the network's input, as `Preprocessing.normalise` does.

    Parameters
    ----------
    n : Nodes
        Where to write.
    image : str
        `(N, H, W, 3)` uint8, RGB.
    preprocessing : Preprocessing
        The preprocessing of the network.
    elem_type : int
        ONNX's number of the input's type.
    dropped : sequence of int
        Axes that the input lacks (see `ImageInput`).
    """
    scale, shift = preprocessing.scale_and_shift
    values = n.op("Cast", [image], to=TensorProto.FLOAT)
    if preprocessing.n_channels == 1:  # `images.luma`; whole numbers below 2^24, so floats do not round
        parts = n.op("MatMul", [values, n.floats(LUMA.astype(np.float32)[:, None])])
        values = n.op("Floor", [n.op("Mul", [n.op("Add", [parts, n.floats(2.0**15)]), n.floats(2.0**-16)])])
    if preprocessing.channel_order == "BGR":
        values = n.op("Gather", [values, n.integers([2, 1, 0])], axis=3)
    if preprocessing.layout == "NCHW":
        values = n.op("Transpose", [values], perm=[0, 3, 1, 2])
        scale, shift = scale[:, None, None], shift[:, None, None]
    values = n.op("Add", [n.op("Mul", [values, n.floats(scale)]), n.floats(shift)])
    if dropped:
        values = n.op("Squeeze", [values, n.integers(list(dropped))])
    return values if elem_type == TensorProto.FLOAT else n.op("Cast", [values], to=elem_type)


def overlay(n: Nodes, image: str, segments: str, pools: Pooled, selection: Selection, size: tuple[int, int]) -> str:
    """Draw the photograph, dark outside the kept superpixels, as `kept_overlay` does.

    Parameters
    ----------
    n : Nodes
        Where to write.
    image, segments : str
        `(N, H, W, 3)` uint8 and `(N, H, W)` int32.
    pools : Pooled
        Scores and contributions of the superpixels for K classes.
    selection : Selection
        Which superpixels are kept.
    size : (int, int)
        `(H, W)`.

    Returns
    -------
    str
        `(N, K, H, W, 3)` uint8.
    """
    height, width = size
    shape = n.op(
        "Concat", [n.op("Shape", [pools.segment_scores], start=0, end=2), n.integers([height * width])], axis=0
    )
    where = n.op("Cast", [n.op("Reshape", [segments, n.integers([-1, 1, height * width])])], to=TensorProto.INT64)
    kept = n.op("GatherElements", [_kept(n, pools, selection), n.op("Expand", [where, shape])], axis=2)
    kept = n.op("Reshape", [n.op("Cast", [kept], to=TensorProto.BOOL), n.integers([0, 0, height, width, 1])])
    # A choice between two 8-bit pictures takes a tenth of the memory of a brightness for each class.
    colours = n.op("Div", [n.op("Cast", [image], to=TensorProto.FLOAT), n.floats(255.0)])
    dark = n.op("Mul", [n.op("Mul", [colours, n.floats(DARK)]), n.floats(255.0)])
    dark = n.op("Cast", [n.op("Round", [dark])], to=TensorProto.UINT8)
    both = [n.op("Unsqueeze", [picture, n.integers([1])]) for picture in (image, dark)]
    return n.op("Where", [kept, *both])


def _kept(n: Nodes, pools: Pooled, selection: Selection) -> str:
    """1 for a superpixel that is kept, else 0, `(N, K, S)` float32; see `Selection.keep`."""
    one, zero = n.floats(1.0), n.floats(0.0)
    if selection.threshold is not None:
        least = n.op("Mul", [n.op("ReduceMax", [pools.segment_scores, n.integers([2])]), n.floats(selection.threshold)])
        high = n.op("GreaterOrEqual", [pools.segment_scores, least])
        return n.op("Where", [n.op("And", [high, n.op("Greater", [pools.segment_scores, zero])]), one, zero])
    there = n.op("Greater", [pools.pixels, zero])
    ranked = n.op("Where", [there, pools.segment_scores, n.floats(np.finfo(np.float32).min)])
    count = n.op("Shape", [pools.segment_scores], start=2)
    order = n.ops("TopK", [ranked, count], 2)[1]
    if selection.top_segments is not None:
        rank = n.op("Range", [n.integers(0), n.op("Squeeze", [count]), n.integers(1)])
        keep = n.op("Less", [rank, n.integers(selection.top_segments)])
    else:
        carries = n.op("GatherElements", [pools.segment_contributions, order], axis=2)
        speaks = n.op("Max", [carries, zero])
        before = n.op("CumSum", [speaks, n.integers(2)], exclusive=1)
        enough = n.op("Mul", [n.op("ReduceSum", [speaks, n.integers([2])]), n.floats(selection.effective_coverage)])
        keep = n.op("And", [n.op("Greater", [carries, zero]), n.op("Less", [before, enough])])
    ranks = n.op("Expand", [n.op("Where", [keep, one, zero]), n.op("Shape", [pools.segment_scores])])
    return n.op("ScatterElements", [ranks, order, ranks], axis=2)
