"""The axis of a tensor that counts channels.

The operators that made the tensor tell it (a convolution puts channels first, a layer normalisation last, a transpose
moves them); it is never guessed from the lengths of the axes.
"""

from __future__ import annotations

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, attribute
from secam_onnx.graph.onnxruntime_operators import as_standard

__all__ = ["channel_axis"]

_CHANNELS_FIRST = {
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
    "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool", "QLinearConv", "SpaceToDepth",
}  # fmt: skip
_CHANNELS_STAY = {
    "Abs", "Add", "BitShift", "Cast", "CastLike", "Ceil", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min",
    "Mish", "Mul", "Neg", "Pad", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Resize", "Round", "Selu",
    "Sigmoid", "Slice", "Softplus", "Softsign", "Split", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu",
    "Upsample", "Where",
}  # fmt: skip
_LOOK_BACK = 200  # tensors; a real network has a convolution or a normalisation much sooner


def channel_axis(graph: Graph, tensor: str) -> int | None:
    """The axis of a tensor that counts channels; None if the operators that made it do not tell."""
    return _channel_axis(graph, tensor, set())


def _channel_axis(graph: Graph, tensor: str, seen: set[str]) -> int | None:
    node, shape = graph.producer(tensor), graph.shape(tensor)
    if shape is None or tensor in seen or len(seen) > _LOOK_BACK:
        return None
    seen.add(tensor)
    if node is None:
        return 1 if len(shape) == 4 and shape[1] == 3 else len(shape) - 1 if len(shape) == 4 and shape[3] == 3 else None
    node = as_standard(node)
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _CHANNELS_FIRST:
        return 1
    if node.op_type == "LayerNormalization" and attribute(node, "axis", -1) in (-1, len(shape) - 1):
        return len(shape) - 1
    if node.op_type in ("MatMul", "Gemm") and graph.is_constant(node.input[1]):
        own = _channel_axis(graph, node.input[0], seen)
        # If the channels are not last, it mixes positions (MLP-Mixer).
        return own if own is not None and own < len(shape) - 1 else len(shape) - 1
    if node.op_type not in _CHANNELS_STAY | {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}:
        return None
    for name in node.input:
        before = graph.shape(name)
        if not name or graph.is_constant(name) or before is None:
            continue
        axis = _channel_axis(graph, name, seen)
        if axis is not None:
            return _moved(node, axis, before, shape)
    return None


def _moved(node: NodeProto, axis: int, before: Shape, after: Shape) -> int | None:
    """The axis that counts channels behind a node; None if it is not known."""
    if node.op_type in _CHANNELS_STAY:
        return axis if len(before) == len(after) else None
    if node.op_type == "Transpose":
        order = attribute(node, "perm", list(range(len(before)))[::-1])
        return list(order).index(axis)
    if axis == len(before) - 1 and before[-1] is not None and before[-1] == after[-1]:
        return len(after) - 1
    if axis == 1 and len(after) > 2 and before[1] is not None and before[1] == after[1]:
        return 1
    return None
