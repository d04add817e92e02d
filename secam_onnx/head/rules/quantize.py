"""QuantizeLinear, then DequantizeLinear: `y = x + r`, rounded to a grid of 256 values, say; `y = max(x, 0) + r` if the
grid begins at zero, as quantisers write a ReLU.

The gradient passes the rounding unchanged. What that misses, `r`, goes into the completeness gap: at most half a step,
or the distance of `x` from the grid. Beyond the upper end of the grid the gradient passes, too; otherwise a photograph
whose highest logit exceeds all that the quantiser saw would have no map.

References
----------
Y. Bengio, N. Leonard, A. Courville, "Estimating or propagating gradients through stochastic neurons for conditional
computation", arXiv 1308.3432: the straight-through estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["QuantizeRule"]

# The lowest code and the number of bits.
_CODES: dict[int, tuple[int, int]] = {
    TensorProto.UINT4: (0, 4),
    TensorProto.INT4: (-8, 4),
    TensorProto.UINT8: (0, 8),
    TensorProto.INT8: (-128, 8),
    TensorProto.UINT16: (0, 16),
    TensorProto.INT16: (-32768, 16),
}
_SIGNED = {"Add", "BatchNormalization", "Conv", "Gemm", "MatMul", "Sub"}
"""Operators with negative results, too, so that a grid from zero on is a ReLU after them."""


@dataclass(frozen=True)
class QuantizeStep(Step):
    """Rounding by two nodes; `node` is the second."""

    from_zero: bool
    """Whether the grid has no negative values."""

    @property
    def exact(self) -> bool:
        return False

    @property
    def rounds(self) -> bool:
        return True

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        scale = builder.constant(self.node.input[1])
        result = replace(gradient, of=self.input)
        if self.from_zero:
            # Down to half a step below zero, x is rounded, not cut off.
            low = builder.op("Mul", [scale, builder.floats([-0.5])])
            inside = builder.op("GreaterOrEqual", [builder.value(self.input), low])
            mask = builder.per_class(builder.op("Cast", [inside], to=TensorProto.FLOAT), self.input)
            result = Gradient(builder.op("Mul", [builder.dense(gradient), mask]), self.input)
        builder.add_rounding(result, scale)
        return [result]


class QuantizeRule(Rule):
    """DequantizeLinear of a QuantizeLinear, with one scale for the whole tensor."""

    ops = frozenset({"DequantizeLinear"})
    own = frozenset({"DequantizeLinear"})  # means the same

    def match(self, graph: Graph, node: NodeProto) -> Step:
        before = graph.producer(node.input[0])
        if before is None or before.op_type != "QuantizeLinear":
            raise NoMatchError("the node before it is no QuantizeLinear")
        if not all(graph.is_constant(name) for name in (*node.input[1:], *before.input[1:]) if name):
            raise NoMatchError("its scale is computed at run time")
        scales, zeros = zip(*(_grid(graph, quantiser) for quantiser in (before, node)), strict=True)
        if any(value.size != 1 for value in (*scales, *zeros)):
            raise NoMatchError("it has a scale for each channel; one for the whole tensor was expected")
        if scales[0].item() != scales[1].item() or zeros[0].item() != zeros[1].item() or not scales[0].item() > 0:
            raise NoMatchError("the two nodes have different grids, or their scale is not positive")
        lowest, bits = _CODES.get(graph.dtype(node.input[0]), (0, 0))
        if not bits:
            raise NoMatchError("its codes are not integers of 4, 8 or 16 bits")
        from_zero = zeros[0].item() == lowest
        x = before.input[0]
        source = graph.producer(x)
        role = "relu" if from_zero and source is not None and source.op_type in _SIGNED else ""
        reason = f"rounded to {bits} bits{' from zero on' if role else ''} and back; the gradient passes unchanged"
        return QuantizeStep(node, (x,), node.output[0], role=role, reason=reason, from_zero=from_zero)


def _grid(graph: Graph, node: NodeProto) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point."""
    scale = graph.constant(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    return np.asarray(scale, dtype=np.float64), np.asarray(zero, dtype=np.float64)
