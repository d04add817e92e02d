"""Logits of several networks stacked along a new first axis, and their mean or sum: `torch.stack(outputs).mean(0)`.

The new axis comes before the batch, so the rule understands the nodes together: the result is the mean of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["StackRule"]


class StackStep(Step):
    """The mean or sum of several tensors, some of which may be the same."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        graph = builder.graph
        stacked = _stacked(graph, self.node)
        share = 1 / len(stacked) if self.node.op_type == "ReduceMean" else 1
        dense = builder.dense(gradient)
        return [Gradient(builder.scale(dense, share * stacked.count(name)), name) for name in self.inputs]


class StackRule(Rule):
    """ReduceMean and ReduceSum over a first axis that a Concat of Unsqueezes made."""

    ops = frozenset({"ReduceMean", "ReduceSum"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        axes = graph.integers(node, "axes", 1)
        stacked = _stacked(graph, node)
        if axes not in ([0], [-3]) or attribute(node, "keepdims", 1) or not stacked:
            raise NoMatchError("it does not reduce a stack of tensors")
        shapes = {len(graph.shape(name) or ()) for name in stacked}
        if shapes != {2}:
            raise NoMatchError("the stacked tensors are not logits (N, classes)")
        names = tuple(dict.fromkeys(stacked))
        what = "mean" if node.op_type == "ReduceMean" else "sum"
        return StackStep(node, names, node.output[0], role="", reason=f"{what} of {len(stacked)} stacked tensors")


def _stacked(graph: Graph, node: NodeProto) -> list[str]:
    """The stacked tensors; empty if there is no stack."""
    joined = graph.producer(node.input[0])
    if joined is None or joined.op_type != "Concat" or attribute(joined, "axis", 1) not in (0, -3):
        return []
    parts = [graph.producer(name) for name in joined.input]
    whole = [
        part.input[0]
        for part in parts
        if part is not None and part.op_type == "Unsqueeze" and graph.integers(part, "axes", 1) in ([0], [-3])
    ]
    return whole if len(whole) == len(parts) else []
