"""Fully connected layer: `y = x W^T + b`, so `dz/dx = dz/dy W` and the bias receives `dz/dy . b`.

Gemm (with transB, alpha, beta) and MatMul. If `y` is the logits, `dz_c/dx` is row `c` of `W`: a Gather, no product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step, differs_in_batch

__all__ = ["LinearRule", "LinearStep"]


@dataclass(frozen=True)
class LinearStep(Step):
    """`y = alpha x W^T + beta b`; `W` is stored as (out, in), or as (in, out) when `transposed`."""

    weight: str
    bias: str | None
    transposed: bool
    outputs: int
    rank: int
    """The number of axes of `x`, the last of which counts channels."""
    alpha: float = 1.0
    beta: float = 1.0
    relu: bool = False
    """Whether a ReLU is fused into the node."""

    mixes: ClassVar[bool] = True

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.weight, self.bias) if self.bias else (self.weight,)

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        if self.relu:
            positive = builder.op("Greater", [builder.beside(gradient, self.output), builder.floats([0.0])])
            mask = builder.op("Cast", [positive], to=TensorProto.FLOAT)
            gradient = Gradient(builder.op("Mul", [builder.held(gradient), mask]), self.output, part=gradient.part)
        if self.bias:
            builder.add_bias(gradient, self.bias, self.beta)
        weight = builder.constant(self.weight)
        if gradient.form == "selection" and self.outputs == builder.n_logits:
            rows = builder.op("Gather", [weight, gradient.name], axis=int(self.transposed))
            if self.transposed:
                rows = builder.op("Transpose", [rows], perm=[1, 2, 0])
            rows = builder.scale(rows, self.alpha)
            return [Gradient(rows if self.rank == 2 else builder.reshape_like(rows, self.input), self.input)]
        if self.transposed:
            weight = builder.op("Transpose", [weight], perm=[1, 0])
        # Tokens (N, L, C): the same product at each position.
        uniform = gradient.form == "uniform" and gradient.channel_axis == self.rank - 1
        part = gradient.part if gradient.varies_along != self.rank - 1 else None
        name = gradient.name if uniform or part else builder.dense(gradient)
        product = builder.scale(builder.op("MatMul", [name, weight]), self.alpha)
        return [Gradient(product, self.input, "uniform" if uniform else "dense", gradient.channel_axis, part)]


class LinearRule(Rule):
    """Gemm, or MatMul with a constant matrix on the right."""

    ops = frozenset({"Gemm", "MatMul"})
    own = frozenset({"FusedGemm", "FusedMatMul"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if len(node.input) < 2:
            raise NoMatchError("it has no weight")
        x, weight = node.input[0], node.input[1]
        if graph.is_constant(x):
            raise NoMatchError("its left operand is constant; the features were expected there")
        if not graph.is_constant(weight):
            raise NoMatchError("its right operand is computed at run time; a constant weight matrix was expected")
        if attribute(node, "transA", 0):
            raise NoMatchError("it transposes its input (transA=1)")
        if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
            raise NoMatchError("it transposes the batch of an operand")
        activation = attribute(node, "activation", b"").decode()
        if activation not in ("", "Relu"):
            raise NoMatchError(f"the activation {activation} is fused into it; Relu or none was expected")
        shape = graph.shape(weight) or ()
        if len(shape) != 2:
            raise NoMatchError(f"its weight {weight!r} has {len(shape)} axes; a fully connected layer has 2")
        rank = len(graph.shape(x) or ())
        if rank < 2:
            raise NoMatchError(
                f"its input has shape {shape_text(graph.shape(x))}; a fully connected layer takes (N, ..., features)"
            )
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        if bias and not graph.is_constant(bias):
            raise NoMatchError("its bias is computed at run time")
        if bias and differs_in_batch(graph, bias, rank):
            raise NoMatchError(f"its bias {bias!r} differs between the images of a batch")
        transposed = not attribute(node, "transB", 0)
        return LinearStep(
            node=node,
            inputs=(x,),
            output=node.output[0],
            role="fc + relu" if activation else "fc",
            reason=f"fully connected layer, weights {weight!r} {shape_text(shape)}{', ReLU' if activation else ''}",
            weight=weight,
            bias=bias,
            transposed=transposed,
            outputs=shape[int(transposed)] or 0,
            rank=rank,
            alpha=attribute(node, "alpha", 1.0),
            beta=attribute(node, "beta", 1.0),
            relu=bool(activation),
        )
