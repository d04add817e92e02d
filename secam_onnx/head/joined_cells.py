"""A check that the head joins the cells of a feature map; where it does not, the cells are the classes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.graph.onnxruntime_operators import as_standard
from secam_onnx.head.grid import Grid, NoGridError

__all__ = ["check_cells_are_joined"]

_CELL_BY_CELL = {
    "Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "Cast", "CastLike",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp", "Expand",
    "Flatten", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min",
    "Mish", "Mod", "Mul", "Neg", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Reshape", "Round", "Selu",
    "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Squeeze", "Sub", "Sum", "Swish",
    "Tan", "Tanh", "ThresholdedRelu", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip


def check_cells_are_joined(graph: Graph, nodes: Iterable[NodeProto], grid: Grid) -> None:
    """Refuse a tensor as a feature map if each logit depends on one of its cells alone.

    Parameters
    ----------
    graph : Graph
        The model.
    nodes : iterable of NodeProto
        The nodes between the tensor and the logits.
    grid : Grid
        The tensor.

    Raises
    ------
    NoGridError
        Each logit is computed from a single cell; the message is the reason.
    """
    _, rows, columns = grid.shape
    cells = rows * columns if rows and columns else None
    if all(_is_cell_by_cell(graph, as_standard(node), cells) for node in nodes):
        raise NoGridError(
            f"shape {shape_text(graph.shape(grid.tensor))}: its cells are the classes, as nothing between it and the "
            "logits joins cells"
        )


def _is_cell_by_cell(graph: Graph, node: NodeProto, cells: int | None) -> bool:
    """Whether a node computes each number from numbers of one cell."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in _CELL_BY_CELL:
        return True
    if node.op_type == "Conv":
        shape = graph.shape(node.input[1]) or (None,)
        return all(length == 1 for length in shape[2:]) and not any(attribute(node, "pads", [0]))
    last = node.op_type == "LayerNormalization" and attribute(node, "axis", -1) == -1
    if not last and not (node.op_type in ("MatMul", "MatMulInteger", "Gemm") and graph.is_constant(node.input[1])):
        return False
    # These work along the last axis: where there are as many rows as cells, each row is a cell.
    before = graph.shape(node.input[0]) or ()
    lengths = [length for axis, length in enumerate(before[:-1]) if axis != graph.batch_axis(node.input[0])]
    return cells is not None and None not in lengths and math.prod(length or 0 for length in lengths) == cells
