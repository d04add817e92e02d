"""Normalisation of a map by groups of channels, which are single channels in InstanceNormalization.

In the shape `(N, groups, numbers)` it is a layer normalisation over the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.layernorm import through_normalisation

__all__ = ["GroupNormRule"]


@dataclass(frozen=True)
class GroupNormStep(Step):
    """Normalisation of `(N, C, ...)`, with a scale and a bias for each channel."""

    groups: int

    @property
    def exact(self) -> bool:
        return False

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(self.node.input[1:])

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        b = builder
        b.add_channel_bias(gradient, b.constant(self.node.input[2]))
        scaled = b.dense(b.times_channels(gradient, b.constant(self.node.input[1]), self.output))
        x = b.op("Reshape", [b.value(self.input), b.integers([0, self.groups, -1])])
        grouped = b.op("Reshape", [scaled, b.integers([0, 0, self.groups, -1])])
        epsilon = attribute(self.node, "epsilon", 1e-5)
        result = through_normalisation(b, x, grouped, [-1], epsilon)
        return [Gradient(b.reshape_like(result, self.input), self.input)]


class GroupNormRule(Rule):
    """InstanceNormalization and GroupNormalization with constant scale and bias."""

    ops = frozenset({"GroupNormalization", "InstanceNormalization"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        shape = graph.shape(node.input[0])
        if shape is None or len(shape) < 3 or shape[1] is None:
            raise NoMatchError(f"its input has shape {shape_text(shape)}; (N, C, ...) was expected")
        if not all(graph.is_constant(name) for name in node.input[1:]):
            raise NoMatchError("its scale or bias is computed at run time")
        if graph.shape(node.input[1]) != (shape[1],):
            raise NoMatchError("it has a scale for each group; one per channel was expected")
        groups = attribute(node, "num_groups", shape[1])
        role = "instancenorm" if node.op_type == "InstanceNormalization" else "groupnorm"
        reason = f"normalisation of {groups} groups of the {shape[1]} channels; smooth"
        return GroupNormStep(node, (node.input[0],), node.output[0], role=role, reason=reason, groups=groups)
