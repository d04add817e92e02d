"""Nodes that leave every value as it is at inference: Identity, Dropout, Cast between floats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx import NodeProto, TensorProto

from secam_onnx.head.graph import Graph, attribute
from secam_onnx.head.rules.base import Gradient, NoMatchError, Rule, Step

if TYPE_CHECKING:
    from secam_onnx.head.contribution import Builder

__all__ = ["PassThroughRule", "PassThroughStep"]

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


class PassThroughStep(Step):
    """`y = x`."""

    def backward(self, builder: Builder, gradient: Gradient) -> Gradient:
        return replace(gradient, of=self.input)


class PassThroughRule(Rule):
    """Identity, Dropout at inference, Cast from float to float."""

    ops = frozenset({"Identity", "Dropout", "Cast"})

    def match(self, graph: Graph, node: NodeProto) -> Step:
        if node.op_type == "Cast" and not {attribute(node, "to"), graph.dtype(node.input[0])} <= _FLOATS:
            raise NoMatchError("it casts to or from integers")
        return PassThroughStep(node, node.input[0], node.output[0], role="", reason=f"{node.op_type} changes nothing")
