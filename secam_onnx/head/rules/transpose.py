"""Transpose: the gradient goes back through the inverse permutation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["TransposeRule"]


@dataclass(frozen=True)
class TransposeStep(Step):
    """`y.shape[i] = x.shape[order[i]]`."""

    order: tuple[int, ...]

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        if gradient.form == "uniform":
            return [Gradient(gradient.name, self.input, "uniform", self.order[gradient.channel_axis])]
        if gradient.part is not None:
            return [self._of_part(builder, gradient, gradient.part)]
        back = [self.order.index(axis) for axis in range(len(self.order))]
        if not builder.lead(self.input, self.output) or self.order[0]:  # of a single image
            whole = builder.op("Transpose", [builder.whole(gradient)], perm=[0, 1, *(axis + 2 for axis in back)])
            return [builder.of_whole(whole, self.input)]
        perm = [0, *(axis + 1 for axis in back)]  # the class axis comes second
        return [Gradient(builder.op("Transpose", [builder.dense(gradient)], perm=perm), self.input)]

    def _of_part(self, builder: Builder, gradient: Gradient, part: tuple[int, int, int]) -> Gradient:
        whole = builder.whole(replace(gradient, part=None))
        perm = [0, 1, *(self.order.index(axis) + 2 for axis in range(len(self.order)))]
        turned = builder.of_whole(builder.op("Transpose", [whole], perm=perm), self.input)
        return replace(turned, part=(self.order[part[0]], *part[1:]))


class TransposeRule(Rule):
    """Any permutation that keeps the batch axis first."""

    ops = frozenset({"Transpose"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        rank = len(graph.shape(node.input[0]) or ())
        order = tuple(attribute(node, "perm", range(rank)[::-1]))
        if not order or (order[0] != 0 and not graph.one_image):
            raise NoMatchError(f"it moves the batch axis (perm {order})")
        return TransposeStep(
            node, (node.input[0],), node.output[0], role="", reason=f"axes in the order {order}", order=order
        )
