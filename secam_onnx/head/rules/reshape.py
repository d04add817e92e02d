"""Flatten, Reshape, Squeeze, Unsqueeze: the order of the numbers stays, so the gradient only gets the old shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import Shape, shape_text
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["ReshapeRule", "ReshapeStep"]


@dataclass(frozen=True)
class ReshapeStep(Step):
    """A change of shape that keeps the batch axis."""

    keeps_order: bool
    """Whether only axes of length 1 come or go, so that index `c` before is index `c` after."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        if gradient.form == "selection" and self.keeps_order:
            return [Gradient(gradient.name, self.input, "selection")]
        return [Gradient(builder.reshape_like(builder.dense(gradient), self.input), self.input)]


class ReshapeRule(Rule):
    """Any change of shape that keeps the batch axis."""

    ops = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
        change = f"it turns shape {shape_text(before)} into {shape_text(after)}"
        if not before or not after:
            raise NoMatchError(f"{change}; its shapes must be known, with a batch axis")
        mixes = not graph.one_image and None not in (before[0], after[0]) and before[0] != after[0]
        if mixes or not _same_size(graph.inner(node.input[0]), graph.inner(node.output[0])):
            raise NoMatchError(f"{change}, which mixes the images of a batch")
        spatial = len(before) == 4 and all(length not in (None, 1) for length in before[2:])
        return ReshapeStep(
            node,
            (node.input[0],),
            node.output[0],
            role="flatten" if spatial else "",
            reason=f"{shape_text(before)} as {shape_text(after)}",
            keeps_order=[n for n in before[1:] if n != 1] == [n for n in after[1:] if n != 1] and not graph.one_image,
        )


def _same_size(before: Shape, after: Shape) -> bool:
    """Whether an image has as many numbers as before; an unknown length on one side counts as the missing factor 1."""
    (one, open_before), (other, open_after) = (
        (math.prod(length for length in shape if length is not None), None in shape) for shape in (before, after)
    )
    return one == other and not (open_before and open_after)
