"""Concat: each input gets its slice of the gradient (average and maximum pool side by side, as in fastai's heads)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["ConcatRule"]


@dataclass(frozen=True)
class ConcatStep(Step):
    """Tensors joined along one axis."""

    axis: int
    ends: tuple[int, ...]

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        dense = builder.dense(gradient)
        axis = builder.integers([self.axis + 1])
        return [
            Gradient(builder.op("Slice", [dense, builder.integers([start]), builder.integers([end]), axis]), name)
            for name, start, end in zip(self.inputs, (0, *self.ends), self.ends, strict=False)
        ]


class ConcatRule(Rule):
    """Concat of computed tensors along an axis of known lengths."""

    ops = frozenset({"Concat"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if any(graph.is_constant(name) for name in node.input) or len(set(node.input)) < len(node.input):
            raise NoMatchError("it joins constants, or a tensor with itself")
        shapes = [graph.shape(name) for name in node.input]
        rank = len(graph.shape(node.output[0]) or ())
        axis = attribute(node, "axis", 1) % max(rank, 1)
        lengths = [shape[axis] for shape in shapes if shape is not None and len(shape) == rank]
        if axis == 0 or len(lengths) < len(shapes) or None in lengths:
            raise NoMatchError("it joins along the batch, or tensors of unknown lengths")
        ends = tuple(accumulate(length for length in lengths if length is not None))
        return ConcatStep(
            node, tuple(node.input), node.output[0], role="concat", axis=axis, ends=ends,
            reason=f"{len(shapes)} tensors joined along axis {axis}",
        )  # fmt: skip
