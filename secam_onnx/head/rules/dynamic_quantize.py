"""Products of matrices in integers, for whose input the run chooses the grid: `y = x' W + b`, `x'` being `x` rounded.

So quantisers write fully connected layers without example pictures (dynamic quantisation): DynamicQuantizeLinear,
MatMulInteger, a Cast and a Mul with both scales, or ONNX Runtime's fused MatMulIntegerToFloat and
DynamicQuantizeMatMul. As in `quantize`, the gradient passes the rounding, and what that misses goes into the
completeness gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["DynamicQuantizeRule"]

_CODES = 255  # between the lowest and the highest


@dataclass(frozen=True)
class DynamicQuantizeStep(Step):
    """`y = x' (W - zero) scale + b`, with the numbers of W as integers."""

    matrix: str
    scale: str
    zero: str
    bias: str

    mixes: ClassVar[bool] = True

    @property
    def exact(self) -> bool:
        return False

    @property
    def rounds(self) -> bool:
        return True

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.matrix, self.scale, self.zero, self.bias)))

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b, last = builder, len(builder.graph.shape(self.input) or ()) - 1
        if gradient.varies_along == last:
            gradient = Gradient(b.dense(gradient), self.output)
        if self.bias:
            b.add_bias(gradient, self.bias)
        matrix = b.constant(self.matrix)
        if self.zero:
            matrix = b.op("Sub", [matrix, b.constant(self.zero)])
        matrix = b.op("Transpose", [b.op("Mul", [matrix, b.constant(self.scale)])], perm=[1, 0])
        result = Gradient(b.op("MatMul", [b.held(gradient), matrix]), self.input, part=gradient.part)
        numbers = b.op("Reshape", [b.value(self.input), b.integers([-1])])
        highest, lowest = (b.op(f"Reduce{which}", [numbers], keepdims=1) for which in ("Max", "Min"))
        zero = b.floats([0.0])
        range_ = b.op("Sub", [b.op("Max", [highest, zero]), b.op("Min", [lowest, zero])])
        b.add_rounding(result, b.scale(range_, 1 / _CODES))
        return [result]


class DynamicQuantizeRule(Rule):
    """The last node of such a product with a constant matrix."""

    ops = frozenset({"Mul"})
    own = frozenset({"DynamicQuantizeMatMul", "MatMulIntegerToFloat"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        names, product = [*node.input, *[""] * 7], node
        if node.op_type == "DynamicQuantizeMatMul":
            x, matrix, scale, zero, bias = names[:5]
        elif node.op_type == "MatMulIntegerToFloat":
            codes, matrix, scale_of_x, scale, zero_of_x, zero, bias = names[:7]
            x = _rounded(graph, codes, scale_of_x, zero_of_x)
        else:
            product, x, matrix, scale, zero = _taken_apart(graph, node)
            bias = ""
        if not all(graph.is_constant(name) for name in (matrix, scale, zero, bias) if name):
            raise NoMatchError("its matrix is computed at run time")
        shape, of_x = graph.shape(matrix) or (), graph.shape(x) or ()
        if len(shape) != 2 or len(of_x) < 2:
            raise NoMatchError(f"it multiplies {shape_text(of_x)} with {shape_text(shape)}")
        if any(graph.shape(name) not in ((), (1,), (shape[1],)) for name in (scale, zero) if name):
            raise NoMatchError("its matrix has neither one scale nor one for each column")
        reason = (
            f"fully connected layer in integers, weights {matrix!r} {shape_text(shape)}; the gradient passes rounding"
        )
        return DynamicQuantizeStep(
            product, (x,), node.output[0], role="fc", reason=reason, matrix=matrix, scale=scale, zero=zero, bias=bias
        )


def _taken_apart(graph: Graph, node: NodeProto) -> tuple[NodeProto, str, str, str, str]:
    """The product of integers, its input in floats, the matrix, its scale and its zero point."""
    for product, scales in (node.input, node.input[::-1]):
        cast, both = graph.producer(product), graph.producer(scales)
        integers = graph.producer(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
        if integers is None or integers.op_type != "MatMulInteger" or both is None or both.op_type != "Mul":
            continue
        codes, matrix, zero_of_x, zero = [*integers.input, "", ""][:4]
        for scale_of_x, scale in (both.input, both.input[::-1]):
            if graph.is_constant(scale) and not graph.is_constant(scale_of_x):
                return integers, _rounded(graph, codes, scale_of_x, zero_of_x), matrix, scale, zero
    raise NoMatchError("it is not the end of a product in integers")


def _rounded(graph: Graph, codes: str, scale: str, zero: str) -> str:
    """What a node rounds to codes with such a scale and zero point."""
    node = graph.producer(codes)
    if node is None or node.op_type != "DynamicQuantizeLinear" or [codes, scale, zero] != list(node.output):
        raise NoMatchError("its integers do not come from a DynamicQuantizeLinear")
    return str(node.input[0])
