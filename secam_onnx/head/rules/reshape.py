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
        if gradient.part is not None and (axis := self._same_axis(builder, gradient.part[0])) is not None:
            sizes = [length or 0 for length in builder.graph.inner(self.input)]
            place = builder.axis(self.input, axis)
            length = (builder.graph.shape(self.input) or ())[axis] or 0
            sizes[place - 2] = length - sum(gradient.part[1:])
            shaped = builder.op("Reshape", [gradient.name, builder.integers([0, 0, *sizes])])
            return [Gradient(shaped, self.input, part=(axis, *gradient.part[1:]))]
        return [Gradient(builder.reshape_like(builder.dense(gradient), self.input), self.input)]

    def _same_axis(self, builder: Builder, axis: int) -> int | None:
        """The axis of the input that is an axis of the output, by its length and what lies before it."""
        before, after = (builder.graph.shape(name) or () for name in (self.input, self.output))
        if None in before or None in after:
            return None
        wanted = math.prod(length or 0 for length in after[:axis]), after[axis]
        places = [(math.prod(n or 0 for n in before[:index]), length) for index, length in enumerate(before)]
        found = [index for index, place in enumerate(places) if place == wanted]
        return found[0] if len(found) == 1 and (found[0] or not builder.graph.leads(self.input)) else None


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
