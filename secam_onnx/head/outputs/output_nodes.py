"""What single nodes behind the logits do: copies, reshapes, constants, the axis of the classes."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute

__all__ = [
    "COPIES",
    "RESHAPES",
    "class_axis",
    "constant_number",
    "copy_source",
    "moves_no_numbers",
    "over_classes",
    "takes_the_only_image",
]

COPIES = frozenset({"Identity", "Cast", "CastLike", "Dropout"})
RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def copy_source(graph: Graph, tensor: str) -> str:
    """The tensor that a tensor is a copy of, or the tensor itself."""
    while (node := graph.producer(tensor)) is not None and node.op_type in COPIES and node.input:
        tensor = node.input[0]
    return tensor


def constant_number(graph: Graph, tensor: str) -> float | None:
    """The value of a constant whose numbers are all the same; None for anything else."""
    if not tensor or not graph.is_constant(tensor):
        return None
    values = np.asarray(graph.constant(tensor)).reshape(-1)
    if not values.size or values.dtype.kind not in "fiu" or (values != values[0]).any():
        return None
    return float(values[0])


def class_axis(graph: Graph, tensor: str) -> int | None:
    """The axis that counts the classes: the only one behind the batch that is longer than 1, or else the first one."""
    shape = graph.shape(tensor)
    if shape is None or len(shape) < 2:
        return None
    long = [index for index, length in enumerate(shape) if index and length != 1]
    return (long or [1])[0] if len(long) < 2 else None


def over_classes(graph: Graph, tensor: str, axis: int) -> bool:
    """Whether an axis counts the classes, in `(N, classes)`, perhaps with more axes of length 1, or in `(classes,)`."""
    shape = graph.shape(tensor) or ()
    axis %= max(len(shape), 1)
    long = [index for index, length in enumerate(shape) if index and length != 1]
    # Before opset 13 a softmax runs over all axes from the given one on.
    return len(shape) == 1 or axis == 1 or [axis] == long or (graph.opset < 13 and 0 < axis <= min(long, default=0))


def takes_the_only_image(graph: Graph, node: NodeProto) -> bool:
    """Whether a Gather takes the only image out of its batch."""
    if node.op_type != "Gather" or attribute(node, "axis", 0) != 0 or not graph.is_constant(node.input[1]):
        return False
    index = graph.constant(node.input[1])
    return (graph.shape(node.input[0]) or (None,))[0] == 1 and index.ndim == 0


def moves_no_numbers(graph: Graph, node: NodeProto) -> bool:
    """Whether a Transpose moves only axes of length 1 and leaves the batch in front."""
    permutation = attribute(node, "perm")
    return (
        node.op_type == "Transpose"
        and permutation is not None
        and permutation[0] == 0
        and class_axis(graph, node.input[0]) is not None
    )
