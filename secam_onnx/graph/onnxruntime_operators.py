"""Standard operators in place of ONNX Runtime's own, which its optimiser and its quantiser write.

ONNX's shape inference does not know these and would lose the shapes of everything behind them. The replacements have
the same shapes and layouts but give other values, so they are never run.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["DOMAIN", "as_standard", "in_shape"]

DOMAIN = "com.microsoft"

# The operator with the same shapes, and the inputs that it reads.
_TWINS: dict[str, tuple[str, slice | list[int]]] = {
    "BiasGelu": ("Identity", [0]),
    "DequantizeLinear": ("DequantizeLinear", slice(None)),
    "DynamicQuantizeMatMul": ("MatMul", [0, 1]),
    "FastGelu": ("Identity", [0]),
    "FusedConv": ("Conv", slice(0, 3)),
    "FusedGemm": ("Gemm", slice(0, 3)),
    "Gelu": ("Identity", [0]),
    "MatMulIntegerToFloat": ("MatMul", [0, 1]),
    "QGemm": ("Gemm", [0, 3]),
    "QLinearAdd": ("Add", [0, 3]),
    "QLinearAveragePool": ("AveragePool", [0]),
    "QLinearConcat": ("Concat", slice(2, None, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", [0]),
    "QLinearLeakyRelu": ("Identity", [0]),
    "QLinearMul": ("Mul", [0, 3]),
    "QLinearSigmoid": ("Identity", [0]),
    "QuantizeLinear": ("QuantizeLinear", slice(None)),
    "QuickGelu": ("Identity", [0]),
    "SimplifiedLayerNormalization": ("Identity", [0]),
    "SkipLayerNormalization": ("Identity", [0]),
    "SkipSimplifiedLayerNormalization": ("Identity", [0]),
}
_UNDER_ONNX_NAME = {"SimplifiedLayerNormalization"}
"""Of ONNX Runtime, but without its domain."""
_KEPT = {"Identity": set(), "Gemm": {"alpha", "beta", "transA", "transB"}}
_OWN = {"activation", "activation_params", "channels_last"}


def as_standard(node: NodeProto) -> NodeProto:
    """A standard node with the same shapes if there is one, otherwise the node itself."""
    own = node.domain == DOMAIN or node.op_type in _UNDER_ONNX_NAME
    twin = _TWINS.get(node.op_type) if own else None
    last = any(entry.name == "channels_last" and entry.i for entry in node.attribute)
    if twin is None or last:
        return node
    op, picked = twin
    inputs = node.input[picked] if isinstance(picked, slice) else [node.input[i] for i in picked if i < len(node.input)]
    kept = [entry for entry in node.attribute if entry.name not in _OWN and entry.name in _KEPT.get(op, {entry.name})]
    return NodeProto(name=node.name, op_type=op, input=inputs, output=node.output[:1], attribute=kept)


def in_shape(node: NodeProto, matrices: Container[str] = ()) -> list[NodeProto]:
    """Standard nodes that make all of a node's outputs in the same shapes, or the node itself.

    `matrices` are the constants with two axes.
    """
    if node.domain not in (DOMAIN, "") or (not node.domain and node.op_type not in _UNDER_ONNX_NAME):
        return [node]
    if node.op_type in _IN_SHAPE:
        return list(_IN_SHAPE[node.op_type](node, matrices))
    standard = as_standard(node)
    further = [(index, name) for index, name in enumerate(node.output) if name and index]
    if standard is node or not further:
        return [standard]
    # Of a normalisation, the sum that it read is the last output; the mean and the deviation before are of no use.
    return [standard, *(helper.make_node("Identity", node.input[:1], [name]) for index, name in further if index == 3)]


def _matrix_product(node: NodeProto, matrices: Container[str]) -> Iterator[NodeProto]:
    flags = {entry.name: entry.i for entry in node.attribute}
    if flags.get("transBatchA") or flags.get("transBatchB"):
        yield node
        return
    left, right = "ji" if flags.get("transA") else "ij", "kj" if flags.get("transB") else "jk"
    single = node.input[1] in matrices
    equation = f"...{left},{right if single else f'...{right}'}->...ik"
    yield helper.make_node("Einsum", node.input[:2], node.output[:1], equation=equation)


def _packed_attention(node: NodeProto, _: Container[str]) -> Iterator[NodeProto]:
    """`(N, L, C)` times a matrix for queries, keys and values, which have the same size: a third of its columns."""
    own = f"{node.output[0]}_secam_"
    if any(entry.name == "qkv_hidden_sizes" for entry in node.attribute):
        yield node
        return
    yield helper.make_node("MatMul", node.input[:2], [f"{own}packed"])
    yield from _constants(own, shape=[0, 0, 3, -1], first=0)
    yield helper.make_node("Reshape", [f"{own}packed", f"{own}shape"], [f"{own}apart"])
    yield helper.make_node("Gather", [f"{own}apart", f"{own}first"], node.output[:1], axis=2)


def _attention(node: NodeProto, _: Container[str]) -> Iterator[NodeProto]:
    """Queries `(N, L, C)`, in the shape of which the values come out."""
    apart = len(node.input) > 2 and node.input[1] and node.input[2]
    yield helper.make_node("Identity", node.input[:1], node.output[:1]) if apart else node


def _constants(own: str, **values: list[int] | int) -> Iterator[NodeProto]:
    for name, value in values.items():
        array = numpy_helper.from_array(np.asarray(value, dtype=np.int64))
        yield helper.make_node("Constant", [], [f"{own}{name}"], value=array)


def _integer_product(node: NodeProto, _: Container[str]) -> Iterator[NodeProto]:
    integers = f"{node.output[0]}_secam_integers"
    yield helper.make_node("MatMulInteger", node.input[:2], [integers])
    yield helper.make_node("Cast", [integers], node.output[:1], to=TensorProto.FLOAT)


_IN_SHAPE = {
    "Attention": _packed_attention,
    "FusedMatMul": _matrix_product,
    "MatMulIntegerToFloat": _integer_product,
    "MultiHeadAttention": _attention,
}
