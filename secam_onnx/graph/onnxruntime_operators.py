"""Standard operators in place of ONNX Runtime's own, which its optimiser and its quantiser write.

ONNX's shape inference does not know these and would lose the shapes of everything behind them. The replacements have
the same shapes and layouts but give other values, so they are never run.
"""

from __future__ import annotations

from onnx import NodeProto

__all__ = ["DOMAIN", "as_standard"]

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
    "SkipLayerNormalization": ("Identity", [0]),
}
_KEPT = {"Identity": set(), "Gemm": {"alpha", "beta", "transA", "transB"}}
_OWN = {"activation", "activation_params", "channels_last"}


def as_standard(node: NodeProto) -> NodeProto:
    """A standard node with the same shapes if there is one, otherwise the node itself."""
    twin = _TWINS.get(node.op_type) if node.domain == DOMAIN else None
    last = any(entry.name == "channels_last" and entry.i for entry in node.attribute)
    if twin is None or last:
        return node
    op, picked = twin
    inputs = node.input[picked] if isinstance(picked, slice) else [node.input[i] for i in picked if i < len(node.input)]
    kept = [entry for entry in node.attribute if entry.name not in _OWN and entry.name in _KEPT.get(op, {entry.name})]
    return NodeProto(name=node.name, op_type=op, input=inputs, output=node.output[:1], attribute=kept)
