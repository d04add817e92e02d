"""Recipro-CAM: a head that is not understood runs again for each part of the feature map, with all others zero.

A part is one cell, or the cells under one superpixel. With `m` for a part,

    M_c(m) = z_c(f at m alone) - z_c(0)        b_c = z_c(0)        r_c = z_c(f) - b_c - sum_m M_c(m)

and each of its cells gets the same share of `M_c(m)`. If the head is linear in the feature map and a part is a cell,
this is the class activation map itself. The backbone runs only once, and several masks share a run of the head: large
weights are then read once for all of them.

References
----------
S.-Y. Byun, W. Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks",
arXiv 2209.14074; without its Gaussian smoothing and its rescaling to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from secam_onnx.graph.index import Graph
from secam_onnx.graph.nodes import Nodes
from secam_onnx.head.builder import Builder
from secam_onnx.head.found_head import Head
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["MASKED", "PARTS", "each_cell", "evenly", "maps_at_once", "masked_cam"]

PARTS = f"{RESERVED}parts"
MASKED = f"{RESERVED}masked"

# Of the largest tensor of the head in one run. Larger ones leave the processor's cache: a whole block of a transformer
# took 1.4 times as long with 64 masks at once as with 16 or one; the large layers of a VGG take a tenth with all 51.
_BYTES_AT_ONCE = 8 * 2**20
_OVER_THE_BATCH = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}  # one scale for all images


def each_cell(rows: int, columns: int) -> np.ndarray:
    """The parts `(1, rows, columns)` int64 where each cell is one."""
    return np.arange(rows * columns).reshape(1, rows, columns)


def maps_at_once(graph: Graph, head: Head, nodes: Sequence[NodeProto]) -> int:
    """How many feature maps one run of the head may take: a number whose tensors stay small, or 1.

    Parameters
    ----------
    graph : Graph
        The model.
    head : Head
        Its head, with one feature map.
    nodes : sequence of NodeProto
        The nodes between the feature map and the logits.
    """
    free = graph.fixed_batch is None and graph.batch_axis(head.features) == head.grid.batch_axis
    if not free or graph.batch_axis(head.logits) != 0 or None in head.grid.shape:
        return 1
    if any(node.op_type in _OVER_THE_BATCH for node in nodes):
        return 1
    shapes = [graph.shape(name) for node in nodes for name in node.output if name]
    largest = max((math.prod(length or 1 for length in shape) for shape in shapes if shape), default=1)
    largest = max(largest, math.prod(length or 1 for length in head.grid.shape))
    return max(1, _BYTES_AT_ONCE // (4 * largest))


def evenly(count: int, most: int) -> int:
    """How many of `count` masks each run has, if all have as many, in as few runs as `most` in one allow."""
    return -(-count // -(-count // most))


def masked_cam(
    builder: Builder,
    head: Head,
    nodes: Sequence[NodeProto],
    names: tuple[str, str],
    entry: Sequence[NodeProto],
    at_once: int,
) -> tuple[str, str, str]:
    """Write the nodes that mask the features and run the head.

    They read `secam_parts` `(N, h, w)` or `(1, h, w)` int64: the number of the part that each cell belongs to, from 0.

    Parameters
    ----------
    builder : Builder
        Receives the nodes.
    head : Head
        A head with one feature map.
    nodes : sequence of NodeProto
        The nodes between the feature map and the logits.
    names : (str, str)
        Names of the features, `(N, C, h, w)`, or `(N, tokens, C)` if some tokens have no position, and of the class
        ids, `(N, K)`.
    entry : sequence of NodeProto
        The nodes from the tensor `secam_masked`, which has the shape of the features with a batch of its own, to the
        feature map as the head reads it.
    at_once : int
        The number of masks in one run of the head.

    Returns
    -------
    tuple of str
        Map `(N, K, h, w)`, bias `(N, K)`, gap `(N, K)`.
    """
    b, (_, class_ids) = builder, names
    count = b.op("Add", [b.op("ReduceMax", [PARTS], keepdims=0), b.integers(1)])
    body = _masked_head(head, nodes, names, entry, at_once)
    scores = b.op("Scan", [_numbers(b, count, at_once)], body=body, num_scan_inputs=1)  # (runs, at once, N, K)
    shape = b.op("Shape", [class_ids])
    scores = b.op("Reshape", [scores, b.op("Concat", [b.integers([-1]), shape], axis=0)])
    full, bias = (b.op("Gather", [scores, b.integers(index)], axis=0) for index in (0, -1))
    end = b.op("Reshape", [b.op("Add", [count, b.integers(1)]), b.integers([1])])
    alone = b.op("Slice", [scores, b.integers([1]), end, b.integers([0])])
    of_parts = b.op("Transpose", [b.op("Sub", [alone, bias])], perm=[1, 2, 0])  # (N, K, parts)
    gap = b.op("Sub", [b.op("Sub", [full, bias]), b.op("ReduceSum", [of_parts, b.integers([2])], keepdims=0)])
    return _shared(b, of_parts, count, shape), bias, gap


def _numbers(builder: Builder, count: str, at_once: int) -> str:
    """-1 for a mask that keeps everything, the number of each part, and then one or more that no cell has.

    `(runs, at_once)`.
    """
    b, step = builder, builder.integers(at_once)
    runs = b.op("Add", [b.op("Div", [b.op("Add", [count, b.integers(1)]), step]), b.integers(1)])
    end = b.op("Sub", [b.op("Mul", [runs, step]), b.integers(1)])
    order = b.op("Min", [b.op("Range", [b.integers(-1), end, b.integers(1)]), count])
    return b.op("Reshape", [order, b.integers([-1, at_once])])


def _shared(builder: Builder, of_parts: str, count: str, classes: str) -> str:
    """`(N, K, parts)` in equal shares over the cells of each part: `(N, K, h, w)`."""
    b = builder
    cells = b.op("Reshape", [PARTS, b.integers([0, -1])])
    sizes = b.op("ReduceSum", [b.op("OneHot", [cells, count, b.floats([0.0, 1.0])]), b.integers([1])], keepdims=0)
    share = b.op("Div", [of_parts, b.per_class(b.op("Max", [sizes, b.floats(1.0)]))])
    place = b.op("Expand", [b.per_class(cells), b.op("Concat", [classes, b.integers([1])], axis=0)])
    size = b.op("Concat", [b.integers([0, 0]), b.op("Shape", [PARTS], start=1)], axis=0)
    return b.op("Reshape", [b.op("GatherElements", [share, place], axis=2), size])


def _masked_head(
    head: Head, nodes: Sequence[NodeProto], names: tuple[str, str], entry: Sequence[NodeProto], at_once: int
) -> GraphProto:
    """The body of the loop: the logits of the classes asked for, with some masks at once."""
    n, (features, class_ids), grid = Nodes(f"{RESERVED}one_mask_"), names, head.grid
    number = f"{RESERVED}numbers"
    wanted = n.op("Reshape", [number, n.integers([at_once, 1, 1, 1])])
    kept = n.op("Or", [n.op("Equal", [PARTS, wanted]), n.op("Less", [wanted, n.integers(0)])])
    mask = n.op("Cast", [kept], to=TensorProto.FLOAT)  # (at once, N, h, w)
    if grid.special:  # these tokens are always kept
        mask = n.op("Reshape", [mask, n.integers([0, 0, -1])])
        if grid.order is not None:
            mask = n.op("Gather", [mask, n.integers(np.argsort(grid.order))], axis=2)
        mask = n.op("Pad", [mask, n.integers([0, 0, grid.prefix, 0, 0, grid.suffix]), n.floats(1.0)])
        mask = n.op("Unsqueeze", [mask, n.integers([3])])
    else:
        mask = n.op("Unsqueeze", [mask, n.integers([2])])
    product = n.op("Mul", [n.op("Unsqueeze", [features, n.integers([0])]), mask])
    shape = n.op("Concat", [n.integers([-1]), n.op("Shape", [features], start=1)], axis=0)
    n.nodes.append(helper.make_node("Reshape", [product, shape], [MASKED]))
    n.nodes += [*entry, *nodes]
    scores = n.op("Cast", [head.logits], to=TensorProto.FLOAT)
    scores = n.op("Reshape", [scores, n.integers([at_once, -1, head.n_logits])])
    places = n.op("Expand", [class_ids, n.op("Concat", [n.integers([at_once]), n.op("Shape", [class_ids])], axis=0)])
    result = n.op("GatherElements", [scores, places], axis=2)
    return helper.make_graph(
        n.nodes,
        "head_of_some_masks",
        [helper.make_tensor_value_info(number, TensorProto.INT64, [at_once])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [at_once, "N", "K"])],
        n.values,
    )
