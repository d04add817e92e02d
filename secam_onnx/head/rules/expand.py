"""Expand: a number is repeated at several places, so their gradients are summed (norms, in cosine heads)."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["ExpandRule"]


class ExpandStep(Step):
    """Axes of length 1 become longer."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        return [Gradient(builder.unbroadcast(builder.dense(gradient), self.output, self.input), self.input)]


class ExpandRule(Rule):
    """Expand that adds no axes and does not repeat images."""

    ops = frozenset({"Expand"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
        change = f"it repeats {shape_text(before)} to {shape_text(after)}"
        if before is None or after is None or len(before) != len(after) or graph.is_constant(node.input[0]):
            raise NoMatchError(change)
        if before[0] == 1 and after[0] != 1 and not graph.one_image:
            raise NoMatchError(f"{change}, one image for a batch")
        return ExpandStep(node, (node.input[0],), node.output[0], role="", reason=change)
