"""From features, as pixels `(1, K, pixels, 6)` and as planes `(1, K, 6, pixels)`, and centres `(1, K, 6)` to labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from secam_onnx.graph.nodes import Nodes
from secam_onnx.superpixels.cells import NOWHERE, Cells
from secam_onnx.superpixels.pieces import FAR
from studies.formulations.forms.lookup import gather_elements

__all__ = ["FORMS", "OURS", "nine_argmin"]

_NUMBERS = np.arange(9).reshape(1, 1, 9, 1)
_ABOVE = 100.0  # makes squared distances, which lack a constant of each pixel, positive


def all_argmin_last(n: Nodes, cells: Cells) -> str:
    flat = n.op("Reshape", ["pixels", n.integers([-1, 6])])
    centres = n.op("Transpose", [n.op("Squeeze", ["centres", n.integers([0])])], perm=[1, 0])
    return n.op("ArgMin", [n.op("MatMul", [flat, centres])], axis=1, keepdims=0)


def all_argmin_first(n: Nodes, cells: Cells) -> str:
    # One product for each cell's planes, so that nothing has to be moved.
    distances = n.op("MatMul", [n.op("Unsqueeze", ["centres", n.integers([1])]), "planes"])
    return n.op("ArgMin", [distances], axis=2, keepdims=0)


def nine_argmin(n: Nodes, cells: Cells) -> str:
    """Which of the nine, `(1, K, pixels)`."""
    return n.op("ArgMin", [_to_nine(n, cells)], axis=2, keepdims=0)


def nine_argmin_last(n: Nodes, cells: Cells) -> str:
    nine = n.op("Transpose", [_nine(n, cells)], perm=[0, 1, 3, 2])
    return n.op("ArgMin", [n.op("MatMul", ["pixels", nine])], axis=3, keepdims=0)


def nine_topk(n: Nodes, cells: Cells) -> str:
    number = _second(n, "TopK", [_to_nine(n, cells), n.integers([1])], axis=2, largest=0)
    return n.op("Squeeze", [number, n.integers([2])])


def nine_equal(n: Nodes, cells: Cells) -> str:
    distances = _to_nine(n, cells)
    least = n.op("ReduceMin", [distances, n.integers([2])], keepdims=1)
    number = n.op("Where", [n.op("Equal", [distances, least]), n.floats(_NUMBERS), n.floats(9)])
    return _whole(n, n.op("ReduceMin", [number, n.integers([2])], keepdims=0))


def nine_packed(n: Nodes, cells: Cells) -> str:
    # To 1 / 512 of a squared distance, and the number in the last four bits of what float32 counts exactly, 2^24.
    steps = n.op("Round", [n.op("Mul", [_to_nine(n, cells, near=_ABOVE, far=1000), n.floats(512)])])
    packed = n.op("Add", [n.op("Mul", [steps, n.floats(16)]), n.floats(_NUMBERS)])
    least = n.op("ReduceMin", [packed, n.integers([2])], keepdims=0)
    sixteens = n.op("Floor", [n.op("Mul", [least, n.floats(1 / 16)])])
    return _whole(n, n.op("Sub", [least, n.op("Mul", [sixteens, n.floats(16)])]))


def nine_tournament(n: Nodes, cells: Cells) -> str:
    distances = _to_nine(n, cells)
    parts = [n.op("Slice", [distances, n.integers([k]), n.integers([k + 1]), n.integers([2])]) for k in range(9)]
    best, number = parts[0], n.integers(0)
    for k, part in enumerate(parts[1:], 1):
        number = n.op("Where", [n.op("Less", [part, best]), n.integers(k), number])
        best = n.op("Min", [best, part])
    return n.op("Squeeze", [number, n.integers([2])])


def nine_maxpool(n: Nodes, cells: Cells) -> str:
    nearness = n.op("Neg", [_to_nine(n, cells)])
    place = _second(n, "MaxPool", [nearness], kernel_shape=[9, 1])
    row = n.op("Mod", [n.op("Div", [place, n.integers(cells.pixels)]), n.integers(9)])
    return n.op("Squeeze", [row, n.integers([2])])


def _nine(n: Nodes, cells: Cells, near: float = 0.0, far: float = FAR) -> str:
    """The nine centres around each cell, `(1, K, 9, 6)`, so much further away."""
    away = np.zeros((*cells.neighbours.shape, 6))
    away[..., -1] = np.where(cells.neighbours == NOWHERE, far, near)
    nine = n.op("Gather", ["centres", n.integers(np.maximum(cells.neighbours, 0))], axis=1)
    return n.op("Add", [nine, n.floats(away)])


def _to_nine(n: Nodes, cells: Cells, near: float = 0.0, far: float = FAR) -> str:
    """Squared distances, but for a constant of each pixel, `(1, K, 9, pixels)`."""
    return n.op("MatMul", [_nine(n, cells, near, far), "planes"])


def _whole(n: Nodes, number: str) -> str:
    return n.op("Cast", [number], to=TensorProto.INT64)


def _second(n: Nodes, op_type: str, inputs: list[str], **attributes: object) -> str:
    """Add a node and take its second output."""
    first = n.op(op_type, inputs, **attributes)
    n.nodes[-1].output.append(f"{first}_second")
    return f"{first}_second"


def _labelled(form: Callable[[Nodes, Cells], str]) -> Callable[[Nodes, Cells], str]:
    return lambda n, cells: gather_elements(n, cells, form(n, cells))


OURS = "nine, ArgMin over the axis before the last"
FORMS = {
    "all centres, ArgMin over the last axis": all_argmin_last,
    "all centres, ArgMin over the axis before the last": all_argmin_first,
    "nine, ArgMin over the last axis": _labelled(nine_argmin_last),
    OURS: _labelled(nine_argmin),
    "nine, TopK of one": _labelled(nine_topk),
    "nine, ReduceMin, Equal, ReduceMin of the numbers": _labelled(nine_equal),
    "nine, the number in the distance's last bits, ReduceMin": _labelled(nine_packed),
    "nine, a tournament of Less, Where and Min": _labelled(nine_tournament),
    "nine, MaxPool with indices": _labelled(nine_maxpool),
}
