"""Cutting the nodes between the feature map and some tensors out of a graph, at a common opset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.node_info import attribute, describe, reads, shape_text
from secam_onnx.graph.opset import IR_VERSION, at_opset
from secam_onnx.graph.weights import WeightCollector

__all__ = ["cut_out"]


def cut_out(
    graph: Graph, features: Sequence[str], tensors: Sequence[str], weights: WeightCollector, opset: int
) -> list[NodeProto]:
    """The nodes that compute some tensors from the feature maps, in running order.

    Parameters
    ----------
    graph : Graph
        The model.
    features : sequence of str
        The feature maps, whose values will be given.
    tensors : sequence of str
        The tensors to compute.
    weights : WeightCollector
        Receives the initializers that the nodes read.
    opset : int
        The opset of the result.

    Raises
    ------
    HeadError
        The tensors depend on more than the feature maps.
    ModelError
        A weight cannot be read, or the nodes cannot be converted to the opset.
    """
    below = _below(graph, features)
    wanted: set[int] = set()
    shapes: list[NodeProto] = []
    seen, todo = set(features), list(dict.fromkeys(tensors))
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in graph.initializers:
            weights.declare(graph.initializers[name])
            continue
        node = graph.producer(name)
        if node is None:
            maps = " and ".join(map(repr, features))
            raise HeadError(
                f"The head reads {name!r} besides the feature map {maps}, so it cannot run alone. Choose a feature map "
                "further up with --features."
            )
        if node.op_type == "Shape" and node.input[0] not in below and not graph.is_constant(name):
            shapes += _known_shape(graph, node, features[0])
            continue
        wanted.add(id(node))
        todo += reads(node)
    return [*shapes, *_nodes_at_opset(graph, [node for node in graph.model.graph.node if id(node) in wanted], opset)]


def _below(graph: Graph, features: Sequence[str]) -> set[str]:
    """The feature maps and everything that is computed from them."""
    below = set(features)
    for node in graph.model.graph.node:
        if not below.isdisjoint(reads(node)):
            below.update(node.output)
    return below


def _known_shape(graph: Graph, node: NodeProto, features: str) -> list[NodeProto]:
    """Nodes in place of a `Shape` of a tensor outside the head, whose batch is that of the feature map."""
    shape = graph.shape(node.input[0])
    if shape is None or None in shape[1:]:
        raise HeadError(
            f"The head asks for the shape of {node.input[0]!r}, {shape_text(shape)}, outside it ({describe(node)}). "
            "Export the model for one image size."
        )
    (name,) = node.output
    rest = numpy_helper.from_array(np.asarray(shape[1:], dtype=np.int64))
    start, end = (attribute(node, key, default) for key, default in (("start", 0), ("end", len(shape))))
    bounds = [numpy_helper.from_array(np.asarray([bound], dtype=np.int64)) for bound in (start, end)]
    own = f"secam_shape_of_{name}"
    return [
        helper.make_node("Shape", [features], [f"{own}_batch"], start=0, end=1),
        helper.make_node("Constant", [], [f"{own}_rest"], value=rest),
        helper.make_node("Concat", [f"{own}_batch", f"{own}_rest"], [f"{own}_whole"], axis=0),
        *(helper.make_node("Constant", [], [f"{own}_{i}"], value=bound) for i, bound in enumerate(bounds)),
        helper.make_node("Slice", [f"{own}_whole", f"{own}_0", f"{own}_1"], [name]),
    ]


def _nodes_at_opset(graph: Graph, nodes: list[NodeProto], opset: int) -> list[NodeProto]:
    if graph.opset >= opset or not nodes:
        return nodes
    made = {name for node in nodes for name in node.output}
    given = dict.fromkeys(name for node in nodes for name in reads(node) if name not in made)
    typed = [
        helper.make_tensor_value_info(name, graph.dtype(name) or TensorProto.FLOAT, graph.shape(name)) for name in given
    ]
    ends = [helper.make_empty_tensor_value_info(name) for name in nodes[-1].output if name]
    body = helper.make_graph(nodes, "head", typed, ends)
    opsets = [entry for entry in graph.model.opset_import if entry.domain not in ("", "ai.onnx")]
    opsets.append(helper.make_opsetid("", graph.opset))
    old = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION)
    return list(at_opset(old, opset, "head").graph.node)
