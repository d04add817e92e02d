"""Concat: each input gets its slice of the gradient (average and maximum pool side by side, as in fastai's heads).

The slice of a parameter, such as the class token of a transformer, goes into the bias.
"""

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
        leads = builder.lead(self.output, *self.node.input) and self.axis > 0
        dense = builder.dense(gradient) if leads else builder.whole(gradient)
        axis = builder.integers([self.axis + (1 if leads else 2)])
        results = []
        for name, start, end in zip(self.node.input, (0, *self.ends), self.ends, strict=False):
            part = builder.op("Slice", [dense, builder.integers([start]), builder.integers([end]), axis])
            own = Gradient(part, name) if leads else builder.of_whole(part, name)
            if name in self.inputs:
                results.append(own)
            else:
                builder.bias.append(builder.dot(own))
        return results


class ConcatRule(Rule):
    """Concat of computed tensors along an axis of known lengths."""

    ops = frozenset({"Concat"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        inputs = tuple(name for name in node.input if not graph.is_from_shapes(name))
        if len(set(node.input)) < len(node.input):
            raise NoMatchError("it joins a tensor with itself")
        shapes = [graph.shape(name) for name in node.input]
        rank = len(graph.shape(node.output[0]) or ())
        axis = attribute(node, "axis", 1) % max(rank, 1)
        lengths = [shape[axis] for shape in shapes if shape is not None and len(shape) == rank]
        if (axis == 0 and graph.leads(node.output[0])) or len(lengths) < len(shapes) or None in lengths:
            raise NoMatchError("it joins along the batch, or tensors of unknown lengths")
        ends = tuple(accumulate(length for length in lengths if length is not None))
        return ConcatStep(
            node, inputs, node.output[0], role="concat", axis=axis, ends=ends,
            reason=f"{len(shapes)} tensors joined along axis {axis}",
        )  # fmt: skip
