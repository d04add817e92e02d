"""Adds the outputs of an explainable model to a graph, and takes them away again."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, NodeProto, TensorProto, helper

from secam_onnx.head.find import Head
from secam_onnx.head.graph import Graph
from secam_onnx.head.grid import Grid
from secam_onnx.names import RESERVED

__all__ = ["OWN_LAYOUT", "expose", "unexpose"]

OWN_LAYOUT = "_own_layout"
"""Ending of the output that has the tokens without position as well."""


def expose(model: ModelProto, graph: Graph, head: Head, *, features: str, logits: str) -> str:
    """Add the feature map, or several, and the logits where the model does not give them, as outputs; in place.

    Parameters
    ----------
    model : ModelProto
        The model that `graph` indexes. Its own inputs and outputs stay as they are.
    graph : Graph
        Its index.
    head : Head
        The head that was found in it.
    features, logits : str
        Names of the new outputs; further feature maps are called `{features}_2` and so on.

    Returns
    -------
    str
        The output that holds the logits: the model's own, or `logits`.
    """
    for index, grid in enumerate(head.grids):
        _expose_map(model, graph, grid, features if index == 0 else f"{features}_{index + 1}")
    flat = len(graph.shape(head.logits) or ()) == 2
    if flat and head.logits in graph.outputs and graph.dtype(head.logits) == TensorProto.FLOAT:
        return head.logits
    own = logits if flat else f"{logits}_own_shape"
    model.graph.node.append(_cast(head.logits, own))
    if not flat:
        model.graph.node.append(helper.make_node("Flatten", [own], [logits], name=logits))
    _declare(model, logits, [None, head.n_classes])
    return logits


def _expose_map(model: ModelProto, graph: Graph, grid: Grid, name: str) -> None:
    own = name if grid.layout == "NCHW" else f"{name}{OWN_LAYOUT}"
    model.graph.node.append(_cast(grid.tensor, own))
    if own != name:
        model.graph.node.extend(grid.to_nchw(own, name))
    _declare(model, name, [None, *grid.shape])
    if grid.prefix:
        _declare(model, own, [None, *(graph.shape(grid.tensor) or ())[1:]])


def _cast(tensor: str, name: str) -> NodeProto:
    return helper.make_node("Cast", [tensor], [name], name=name, to=TensorProto.FLOAT)


def _declare(model: ModelProto, name: str, shape: Sequence[int | None]) -> None:
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))


def unexpose(model: ModelProto) -> None:
    """Remove what `expose` added, in place; does nothing to an ordinary model."""
    for field in (model.graph.node, model.graph.output):
        for index in reversed(range(len(field))):
            if field[index].name.startswith(RESERVED):
                del field[index]
