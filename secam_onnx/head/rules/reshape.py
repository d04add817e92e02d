"""Flatten, Reshape, Squeeze, Unsqueeze: the numbers stay in their order, so the gradient only takes the old shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnx import NodeProto

from secam_onnx.head.graph import Graph, Shape
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["ReshapeRule", "ReshapeStep"]


class ReshapeStep(Step):
    """Another shape for the same numbers; the batch axis stays."""

    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        return Gradient(builder.reshape_like(builder.dense(gradient), self.input), self.input)


class ReshapeRule(Rule):
    """Any change of shape that leaves the batch axis alone."""

    ops = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
        if before is None or after is None or len(before) < 2 or len(after) < 2:
            raise NoMatchError(f"it turns shape {before} into {after}; its shapes must be known, with a batch axis")
        if _size(before) != _size(after) or (None not in (before[0], after[0]) and before[0] != after[0]):
            raise NoMatchError(f"it turns shape {before} into {after}, which mixes the images of a batch")
        spatial = len(before) == 4 and before[2:] != (1, 1)
        return ReshapeStep(
            node,
            node.input[0],
            node.output[0],
            role="flatten" if spatial else "",
            reason=f"{before[1:]} seen as {after[1:]}",
        )


def _size(shape: Shape) -> int | None:
    """Numbers an image, or None."""
    known = [length for length in shape[1:] if length is not None]
    return math.prod(known) if len(known) == len(shape) - 1 else None
