"""Activations: `y = s(x)` element by element, so `dz/dx = dz/dy s'(x)`.

Piecewise linear ones (ReLU, leaky ReLU, clip, hard sigmoid, the larger of `x` and a constant) are exact: on each piece
`y = s' x + t`, and the bias receives `dz/dy . t`. Smooth ones (sigmoid, tanh, GELU, hard swish, ...) are linearised at
the current point, and what that misses goes into the completeness gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["ActivationRule"]

_TINY = 1e-12

Slope = Callable[["Builder", NodeProto, str, str], str]
"""Writes `s'(x)`, from the node and the names of x and y as float32."""


def _number(b: Builder, value: float) -> str:
    return b.floats([value])


def _is(b: Builder, op: str, x: str, bound: str) -> str:
    return b.op("Cast", [b.op(op, [x, bound])], to=TensorProto.FLOAT)


def _where_positive(b: Builder, x: str, above: str, below: str) -> str:
    return b.op("Where", [b.op("Greater", [x, _number(b, 0.0)]), above, below])


def _minus(b: Builder, value: float, x: str) -> str:
    return b.op("Sub", [_number(b, value), x])


def _relu(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _is(b, "Greater", y, _number(b, 0.0))  # the same as x > 0, and y is needed anyway


def _leaky(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _where_positive(b, x, _number(b, 1.0), _number(b, attribute(node, "alpha", 0.01)))


def _prelu(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _where_positive(b, x, _number(b, 1.0), b.constant(node.input[1]))


def _thresholded(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _is(b, "Greater", x, _number(b, attribute(node, "alpha", 1.0)))


def _abs(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return b.op("Sign", [x])


def _neg(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _number(b, -1.0)


def _clip(b: Builder, node: NodeProto, x: str, y: str) -> str:
    inside = _number(b, 1.0)
    for index, (name, op) in enumerate((("min", "Greater"), ("max", "Less")), start=1):
        bound = attribute(node, name)
        if bound is not None:
            inside = b.op("Mul", [inside, _is(b, op, x, _number(b, bound))])
        elif len(node.input) > index and node.input[index]:
            inside = b.op("Mul", [inside, _is(b, op, x, b.constant(node.input[index]))])
    return inside


def _larger_or_smaller(b: Builder, node: NodeProto, x: str, y: str) -> str:
    (bound,) = (name for name in node.input if b.graph.is_constant(name))
    return _is(b, "Greater" if node.op_type == "Max" else "Less", x, b.constant(bound))


def _hard_sigmoid(b: Builder, node: NodeProto, x: str, y: str) -> str:
    inside = b.op("Mul", [_is(b, "Greater", y, _number(b, 0.0)), _is(b, "Less", y, _number(b, 1.0))])
    return b.scale(inside, attribute(node, "alpha", 0.2))


def _hard_swish(b: Builder, node: NodeProto, x: str, y: str) -> str:
    above = _is(b, "GreaterOrEqual", x, _number(b, 3.0))
    inside = b.op("Mul", [_is(b, "Greater", x, _number(b, -3.0)), _is(b, "Less", x, _number(b, 3.0))])
    slope = b.op("Add", [b.scale(x, 1 / 3), _number(b, 0.5)])
    return b.op("Add", [above, b.op("Mul", [inside, slope])])


def _sigmoid(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return b.op("Mul", [y, _minus(b, 1.0, y)])


def _tanh(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _minus(b, 1.0, b.op("Mul", [y, y]))


def _bell(b: Builder, x: str, height: float, width: float) -> str:
    """`height exp(-width x^2)`."""
    return b.scale(b.op("Exp", [b.scale(b.op("Mul", [x, x]), -width)]), height)


def _erf(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return _bell(b, x, 2 / math.sqrt(math.pi), 1.0)


def _gelu(b: Builder, node: NodeProto, x: str, y: str) -> str:
    if attribute(node, "approximate", b"none") == b"tanh":
        cube = b.op("Mul", [x, b.op("Mul", [x, x])])
        root = math.sqrt(2 / math.pi)
        inner = b.op("Tanh", [b.op("Add", [b.scale(x, root), b.scale(cube, root * 0.044715)])])
        rise = b.op("Add", [_number(b, root), b.scale(b.op("Mul", [x, x]), 3 * root * 0.044715)])
        curve = b.op("Mul", [b.op("Mul", [x, rise]), _minus(b, 1.0, b.op("Mul", [inner, inner]))])
        return b.scale(b.op("Add", [b.op("Add", [_number(b, 1.0), inner]), curve]), 0.5)
    normal = b.scale(b.op("Add", [b.op("Erf", [b.scale(x, math.sqrt(0.5))]), _number(b, 1.0)]), 0.5)
    return b.op("Add", [normal, b.op("Mul", [x, _bell(b, x, 1 / math.sqrt(2 * math.pi), 0.5)])])


def _swish(b: Builder, node: NodeProto, x: str, y: str) -> str:
    alpha = attribute(node, "alpha", 1.0)
    gate = b.op("Sigmoid", [b.scale(x, alpha)])
    return b.op("Add", [gate, b.scale(b.op("Mul", [y, _minus(b, 1.0, gate)]), alpha)])


def _mish(b: Builder, node: NodeProto, x: str, y: str) -> str:
    squashed = b.op("Tanh", [b.op("Softplus", [x])])
    bend = b.op("Mul", [_minus(b, 1.0, b.op("Mul", [squashed, squashed])), b.op("Sigmoid", [x])])
    return b.op("Add", [squashed, b.op("Mul", [x, bend])])


def _elu(b: Builder, node: NodeProto, x: str, y: str) -> str:
    below = b.op("Add", [y, _number(b, attribute(node, "alpha", 1.0))])
    return _where_positive(b, x, _number(b, 1.0), below)


def _selu(b: Builder, node: NodeProto, x: str, y: str) -> str:
    alpha, gamma = attribute(node, "alpha", 1.6732632), attribute(node, "gamma", 1.0507010)
    below = b.op("Add", [y, _number(b, alpha * gamma)])
    return _where_positive(b, x, _number(b, gamma), below)


def _softplus(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return b.op("Sigmoid", [x])


def _softsign(b: Builder, node: NodeProto, x: str, y: str) -> str:
    root = b.op("Add", [b.op("Abs", [x]), _number(b, 1.0)])
    return b.op("Reciprocal", [b.op("Mul", [root, root])])


def _exp(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return y


def _log(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return b.op("Reciprocal", [x])


def _sqrt(b: Builder, node: NodeProto, x: str, y: str) -> str:
    # Finite at zero, where the path of integrated gradients begins.
    return b.op("Div", [_number(b, 0.5), b.op("Max", [y, _number(b, _TINY)])])


def _reciprocal(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return b.op("Neg", [b.op("Mul", [y, y])])


def _constant_over(b: Builder, node: NodeProto, x: str, y: str) -> str:
    return b.op("Neg", [b.op("Div", [y, x])])


def _pow(b: Builder, node: NodeProto, x: str, y: str) -> str:
    power = b.constant(node.input[1])
    slope = b.op("Mul", [power, b.op("Pow", [x, b.op("Sub", [power, _number(b, 1.0)])])])
    # The slope of a root is infinite at zero.
    return b.op("Where", [b.op("IsInf", [slope]), _number(b, 0.0), slope])


_EXACT: dict[str, Slope] = {
    "Abs": _abs,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky,
    "Max": _larger_or_smaller,
    "Min": _larger_or_smaller,
    "Neg": _neg,
    "PRelu": _prelu,
    "Relu": _relu,
    "ThresholdedRelu": _thresholded,
}
_SMOOTH: dict[str, Slope] = {
    "Div": _constant_over,
    "Elu": _elu,
    "Erf": _erf,
    "Exp": _exp,
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "Log": _log,
    "Mish": _mish,
    "Pow": _pow,
    "Reciprocal": _reciprocal,
    "Selu": _selu,
    "Sigmoid": _sigmoid,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Sqrt": _sqrt,
    "Swish": _swish,
    "Tanh": _tanh,
}
_THROUGH_ZERO = {"Abs", "LeakyRelu", "Neg", "PRelu", "Relu", "ThresholdedRelu"}
"""Functions without a constant term on any piece."""


@dataclass(frozen=True)
class ActivationStep(Step):
    """A function of single elements."""

    @property
    def exact(self) -> bool:
        return self.node.op_type in _EXACT

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        op = self.node.op_type
        slope = (_EXACT | _SMOOTH)[op](builder, self.node, builder.value(self.input), builder.value(self.output))
        result = Gradient(
            builder.op("Mul", [builder.dense(gradient), builder.per_class(slope, self.input)]), self.input
        )
        if self.exact and op not in _THROUGH_ZERO:
            builder.add_remainder(gradient, [result])
        return [result]


class ActivationRule(Rule):
    """Element-wise functions of one computed tensor."""

    ops = frozenset(_EXACT | _SMOOTH)

    def match(self, graph: Graph, node: NodeProto) -> Step:
        computed = [name for name in node.input if name and not graph.is_constant(name)]
        x = computed[0]
        if len(computed) > 1:
            raise NoMatchError("one of its parameters is computed at run time")
        if node.op_type in ("Max", "Min"):
            if len(node.input) != 2:
                raise NoMatchError("it compares more than two tensors")
        elif x != node.input[1 if node.op_type == "Div" else 0]:
            raise NoMatchError("the features are its parameter")
        if graph.shape(x) != graph.shape(node.output[0]) or not graph.shape(x):
            raise NoMatchError(f"it changes the shape {shape_text(graph.shape(x))}")
        op = node.op_type
        how = "piecewise linear" if op in _EXACT else "smooth: linearised, the completeness gap tells how well"
        role = "" if op == "Neg" else op.lower()
        return ActivationStep(node, (x,), node.output[0], role=role, reason=f"{op}, {how}")
