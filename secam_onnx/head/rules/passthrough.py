"""Nodes that change no value at inference: Identity, Dropout, Cast between floats, pools of one cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx import NodeProto, TensorProto

from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute
from secam_onnx.head.builder import Builder
from secam_onnx.head.gradient import Gradient
from secam_onnx.head.rules.base import NoMatchError, Rule, Step

__all__ = ["PassThroughRule", "PassThroughStep"]

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


class PassThroughStep(Step):
    """`y = x`."""

    def backward(self, builder: Builder, gradient: Gradient) -> Sequence[Gradient]:
        return [replace(gradient, of=self.input)]


class PassThroughRule(Rule):
    """Identity, Dropout at inference, Cast from float to float."""

    ops = frozenset({"Identity", "Dropout", "Cast", "CastLike"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        x = node.input[0]
        if node.op_type.startswith("Cast") and not {graph.dtype(node.output[0]), graph.dtype(x)} <= _FLOATS:
            raise NoMatchError("it casts to or from integers")
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            training = node.input[2]
            if not graph.is_constant(training) or graph.constant(training).any():
                raise NoMatchError("it drops values at random (training mode); export the model in inference mode")
        if graph.opset < 7 and node.op_type == "Dropout" and not attribute(node, "is_test", 0):
            raise NoMatchError("it drops values at random (is_test=0); export the model in inference mode")
        return PassThroughStep(node, (x,), node.output[0], role="", reason=f"{node.op_type} changes nothing")
