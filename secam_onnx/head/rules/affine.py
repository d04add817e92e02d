"""Scales and shifts by constants: `y = s x + t`, so `dz/dx = dz/dy s`, and the bias receives `dz/dy . t`.

Add, Sub, Mul and Div with one constant operand, and BatchNormalization at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step, differs_in_batch

__all__ = ["AffineRule", "BatchNormRule"]


@dataclass(frozen=True)
class AffineStep(Step):
    """`y = x + c`, `x - c`, `c - x`, `c x` or `x / c` with a constant `c` that broadcasts to `x`."""

    constant: str

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.constant,)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        op = self.node.op_type
        if op in ("Mul", "Div"):
            return [builder.times_constant(gradient, self.constant, self.input, divide=op == "Div")]
        minuend = op == "Sub" and self.node.input[0] == self.constant  # c - x
        builder.add_bias(gradient, self.constant, -1.0 if op == "Sub" and not minuend else 1.0)
        if not minuend:
            return [replace(gradient, of=self.input)]
        if gradient.form == "uniform":
            return [Gradient(builder.op("Neg", [gradient.name]), self.input, "uniform", gradient.channel_axis)]
        return [Gradient(builder.op("Neg", [builder.dense(gradient)]), self.input)]


class AffineRule(Rule):
    """Add, Sub, Mul and Div with one constant operand, on either side."""

    ops = frozenset({"Add", "Sub", "Mul", "Div"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        constants = [name for name in node.input if graph.is_constant(name)]
        if len(constants) != 1:
            raise NoMatchError("it combines two computed tensors; a tensor and a constant were expected")
        (constant,) = constants
        (x,) = (name for name in node.input if name != constant)
        if node.op_type == "Div" and node.input[0] == constant:
            raise NoMatchError("it divides a constant by the features")
        if graph.shape(x) is None or graph.shape(x) != graph.shape(node.output[0]):
            raise NoMatchError(f"its constant {constant!r} changes the shape {shape_text(graph.shape(x))}")
        if differs_in_batch(graph, constant, len(graph.shape(x) or ())):
            raise NoMatchError(f"its constant {constant!r} differs between the images of a batch")
        shift = node.op_type in ("Add", "Sub")
        return AffineStep(
            node,
            (x,),
            node.output[0],
            role="" if shift or not graph.shape(constant) else "scale",
            reason=f"{'bias' if shift else 'scale'} {constant!r}",
            constant=constant,
        )


@dataclass(frozen=True)
class BatchNormStep(Step):
    """`y = (x - mean) / sqrt(var + eps) * scale + bias`, with one of each per channel."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        scale, bias, mean, variance = (builder.constant(name) for name in self.node.input[1:5])
        epsilon = builder.floats([attribute(self.node, "epsilon", 1e-5)])
        factor = builder.op("Div", [scale, builder.op("Sqrt", [builder.op("Add", [variance, epsilon])])])
        shift = builder.op("Sub", [bias, builder.op("Mul", [mean, factor])])
        builder.add_channel_bias(gradient, shift)
        return [builder.times_channels(gradient, factor, self.input)]

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(self.node.input[1:5])


class BatchNormRule(Rule):
    """BatchNormalization with constant statistics."""

    ops = frozenset({"BatchNormalization"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if attribute(node, "training_mode", 0) or len([name for name in node.output if name]) > 1:
            raise NoMatchError("it is in training mode; export the model in inference mode")
        if not attribute(node, "spatial", 1):
            raise NoMatchError("it has statistics for each position (spatial=0); one per channel was expected")
        if not all(graph.is_constant(name) for name in node.input[1:5]) or len(node.input) != 5:
            raise NoMatchError("its statistics are computed at run time")
        if len(graph.shape(node.input[0]) or ()) < 2:
            raise NoMatchError(
                f"its input has shape {shape_text(graph.shape(node.input[0]))}; (N, C, ...) was expected"
            )
        x = node.input[0]
        return BatchNormStep(node, (x,), node.output[0], role="batchnorm", reason="batch normalisation at inference")
