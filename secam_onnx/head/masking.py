"""Recipro-CAM: a head that is not understood runs once for each cell of the feature map, with all others zero.

    M_c(x, y) = z_c(f at (x, y) alone) - z_c(0)        b_c = z_c(0)        r_c = z_c(f) - b_c - sum_xy M_c(x, y)

If the head is linear in the feature map, this is the class activation map itself. The backbone runs only once.

References
----------
S.-Y. Byun, W. Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks",
arXiv 2209.14074; without its Gaussian smoothing and its rescaling to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto, NodeProto, TensorProto, helper

from secam_onnx.head.builder import Builder
from secam_onnx.head.found_head import Head
from secam_onnx.head.grid import Grid

__all__ = ["masked_cam"]


def masked_cam(
    builder: Builder,
    head: Head,
    nodes: Sequence[NodeProto],
    features: str,
    class_ids: str,
    entry: Sequence[NodeProto],
) -> tuple[str, str, str]:
    """Write the nodes that mask the features and run the head.

    Parameters
    ----------
    builder : Builder
        Receives the nodes.
    head : Head
        A head with one feature map.
    nodes : sequence of NodeProto
        The nodes between the feature map and the logits.
    features, class_ids : str
        Names of `(N, C, h, w)`, or `(N, tokens, C)` if some tokens have no position, and `(N, K)`.
    entry : sequence of NodeProto
        The nodes from the tensor `secam_masked`, which has the shape of `features`, to the feature map as the head
        reads it.

    Returns
    -------
    tuple of str
        Map `(N, K, h, w)`, bias `(N, K)`, gap `(N, K)`.
    """
    b, grid = builder, head.grid
    size = b.integers([edge or 0 for edge in grid.shape[1:]]) if grid.special else b.op("Shape", [features], start=2)
    masks = _masks(b, grid, size)
    body = _masked_head(head, nodes, features, class_ids, entry)
    scores = b.op("Scan", [masks], body=body, num_scan_inputs=1)  # (h*w + 2, N, K)

    bias, full = (b.op("Gather", [scores, b.integers(index)], axis=0) for index in (-2, -1))
    alone = b.op("Slice", [scores, b.integers([0]), b.integers([-2]), b.integers([0])])
    per_cell = b.op("Transpose", [b.op("Sub", [alone, bias])], perm=[1, 2, 0])
    gap = b.op("Sub", [b.op("Sub", [full, bias]), b.op("ReduceSum", [per_cell, b.integers([2])], keepdims=0)])
    cam = b.op("Reshape", [per_cell, b.op("Concat", [b.integers([0, 0]), size], axis=0)])
    return cam, bias, gap


def _masks(builder: Builder, grid: Grid, size: str) -> str:
    """A mask for each cell, then one that keeps nothing, then one that keeps everything.

    `(h*w + 2, 1, 1, h, w)`, or `(h*w + 2, 1, tokens, 1)` where some tokens have no position: these are always kept.
    """
    b = builder
    cells = b.op("ReduceProd", [size], keepdims=0)
    order = b.op("Range", [b.integers(0), cells, b.integers(1)])
    single = b.op("OneHot", [order, cells, b.floats([0.0, 1.0])], axis=-1)
    row = b.op("Concat", [b.integers([1]), b.op("Reshape", [cells, b.integers([1])])], axis=0)
    ends = [b.op("Expand", [b.floats([value]), row]) for value in (0.0, 1.0)]
    masks = b.op("Concat", [single, *ends], axis=0)
    if not grid.special:
        return b.op("Reshape", [masks, b.op("Concat", [b.integers([-1, 1, 1]), size], axis=0)])
    around = b.integers([0, grid.prefix, 0, grid.suffix])
    masks = b.op("Pad", [masks, around, b.floats(1.0)])
    return b.op("Unsqueeze", [masks, b.integers([1, 3])])


def _masked_head(
    head: Head, nodes: Sequence[NodeProto], features: str, class_ids: str, entry: Sequence[NodeProto]
) -> GraphProto:
    """The body of the loop: the logits of the classes asked for, with one mask."""
    return helper.make_graph(
        [
            helper.make_node("Mul", [features, "secam_mask"], ["secam_masked"]),
            *entry,
            *nodes,
            helper.make_node("Cast", [head.logits], ["secam_scores"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["secam_scores"], ["secam_flat_scores"]),
            helper.make_node("GatherElements", ["secam_flat_scores", class_ids], ["secam_of_classes"], axis=1),
        ],
        "head_of_one_mask",
        [helper.make_tensor_value_info("secam_mask", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("secam_of_classes", TensorProto.FLOAT, ["N", "K"])],
    )
