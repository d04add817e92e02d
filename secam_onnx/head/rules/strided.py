"""`as_strided` as PyTorch's dynamo exporter writes it: a Reshape to one axis, then a Gather by computed indices.

The rule matches if the indices are 0, 1, 2, ..., so that every number stays in its place.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.rules.base import NoMatchError, Rule, Step
from secam_onnx.head.rules.passthrough import PassThroughStep

__all__ = ["StridedRule"]


class StridedRule(Rule):
    """Gather from a Reshape to one axis."""

    ops = frozenset({"Gather"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        row = graph.producer(node.input[0])
        if row is None or row.op_type != "Reshape" or len(graph.shape(node.input[0]) or ()) != 1:
            raise NoMatchError("it is not a strided view of all numbers")
        x = row.input[0]
        before, after = graph.shape(x), graph.shape(node.output[0])
        if attribute(node, "axis", 0) or before is None or before != after:
            raise NoMatchError("it reorders the features")
        indices = graph.value_for_two_images(node.input[1])
        if indices is None or not np.array_equal(indices.reshape(-1), np.arange(indices.size)):
            raise NoMatchError("it reorders the features by computed indices")
        return PassThroughStep(
            node, (x,), node.output[0], role="", reason="strided view that keeps all numbers in place"
        )
