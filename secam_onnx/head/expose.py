"""Adds the outputs of an explainable model to a graph, and takes them away again."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper

from secam_onnx.head.find import RESERVED, Head
from secam_onnx.head.graph import Graph

__all__ = ["expose", "unexpose"]


def expose(model: ModelProto, graph: Graph, head: Head, *, features: str, logits: str) -> str:
    """Add the feature map, and the logits where the model does not give them, as outputs; in place.

    Parameters
    ----------
    model : ModelProto
        The model that `graph` indexes. Its own inputs and outputs stay as they are.
    graph : Graph
        Its index.
    head : Head
        The head that was found in it.
    features, logits : str
        Names of the new outputs.

    Returns
    -------
    str
        The output that holds the logits: the model's own, or `logits`.
    """
    _add_output(model, graph, head.features, features)
    if head.logits in graph.outputs and graph.dtype(head.logits) == TensorProto.FLOAT:
        return head.logits
    _add_output(model, graph, head.logits, logits)
    return logits


def _add_output(model: ModelProto, graph: Graph, tensor: str, name: str) -> None:
    shape = graph.shape(tensor)
    model.graph.node.append(helper.make_node("Cast", [tensor], [name], name=name, to=TensorProto.FLOAT))
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape and [None, *shape[1:]]))


def unexpose(model: ModelProto) -> None:
    """Remove what `expose` added, in place; does nothing to an ordinary model."""
    for field in (model.graph.node, model.graph.output):
        for index in reversed(range(len(field))):
            if field[index].name.startswith(RESERVED):
                del field[index]
