"""QuantizeLinear, then DequantizeLinear: `y = clip(x) + r`, rounded to a grid of 256 values and clipped to its ends.

The gradient is that of the clipping, straight through the rounding. The bias receives the ends where `x` is beyond
them; the completeness gap is the rounding alone, `|r| <= scale / 2`.

References
----------
Y. Bengio, N. Leonard, A. Courville, "Estimating or propagating gradients through stochastic neurons for conditional
computation", arXiv 1308.3432: the straight-through estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto, TensorProto

from secam_onnx.head.graph import Graph
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.builder import Builder

__all__ = ["QuantizeRule"]

_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT32: 32,
}
_HALF = 0.5 + 2.0**-10  # of a step, and what float32 makes of it


@dataclass(frozen=True)
class QuantizeStep(Step):
    """Rounded by two nodes, of which `node` is the second."""

    @property
    def exact(self) -> bool:
        return False

    @property
    def rounds(self) -> bool:
        return True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        x, y, scale = builder.value(self.input), builder.value(self.output), builder.constant(self.node.input[1])
        distance = builder.op("Abs", [builder.op("Sub", [x, y])])
        # Farther from its value than rounding leads: clipped.
        inside = builder.op("LessOrEqual", [distance, builder.op("Mul", [scale, builder.floats([_HALF])])])
        mask = builder.per_class(builder.op("Cast", [inside], to=TensorProto.FLOAT))
        dense = builder.dense(gradient)
        result = builder.op("Mul", [dense, mask])
        clipped = builder.op("Sub", [dense, result])
        builder.bias.append(builder.dot(Gradient(clipped, self.output)))
        builder.add_rounding(result, scale)
        return [Gradient(result, self.input)]


class QuantizeRule(Rule):
    """DequantizeLinear of a QuantizeLinear, with one scale for the whole tensor."""

    ops = frozenset({"DequantizeLinear"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        before = graph.producer(node.input[0])
        if before is None or before.op_type != "QuantizeLinear":
            raise NoMatchError("what it reads was not quantised by the node before it")
        if not all(graph.is_constant(name) for name in (*node.input[1:], *before.input[1:]) if name):
            raise NoMatchError("its scale is computed at run time")
        scales = [graph.constant(quantiser.input[1]) for quantiser in (before, node)]
        if any(scale.size != 1 for scale in scales):
            raise NoMatchError("it has a scale for each channel; one for the whole tensor was expected")
        if scales[0].reshape(()) != scales[1].reshape(()) or not scales[0].reshape(()) > 0:
            raise NoMatchError("the two nodes have different scales, or none above zero")
        bits = _BITS.get(graph.dtype(node.input[0]), 8)
        reason = f"rounded to {bits} bits and back; the gradient goes straight through"
        return QuantizeStep(node, (before.input[0],), node.output[0], role="", reason=reason)
