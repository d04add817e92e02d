"""Adding the outputs of an explainable model to a graph, and removing them again."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from secam_onnx.graph.index import Graph
from secam_onnx.graph.nodes import Nodes
from secam_onnx.head.found_head import Head
from secam_onnx.head.grid import Grid
from secam_onnx.reserved_prefix import RESERVED

__all__ = ["OWN_LAYOUT", "expose", "unexpose"]

OWN_LAYOUT = "_own_layout"
"""Ending of the name of the output that includes tokens without position."""


def expose(graph: Graph, head: Head, *, features: str, logits: str, probabilities: str) -> tuple[str, str | None]:
    """Add the feature map, and logits and probabilities where the model does not give them, as outputs; in place.

    Parameters
    ----------
    graph : Graph
        The model. Its own inputs and outputs stay as they are.
    head : Head
        The head that was found in it.
    features, logits, probabilities : str
        Names of the new outputs; further feature maps are called `{features}_2` and so on.

    Returns
    -------
    logits : str
        The output with the logits: the model's own or `logits`.
    probabilities : str or None
        The output with the probabilities, likewise; None if the graph has none.
    """
    for index, grid in enumerate(head.grids):
        _expose_map(graph, grid, features if index == 0 else f"{features}_{index + 1}")
    return _exposed_logits(graph, head, logits), _exposed_probabilities(graph, head, probabilities)


def _exposed_logits(graph: Graph, head: Head, name: str) -> str:
    pick = head.class_output.pick
    if pick is None and _is_given(graph, head.logits):
        return head.logits
    n = Nodes(f"{name}_")
    scores = _flat(n, graph, head.logits, head.n_logits)
    if pick is not None:
        indices, signs = zip(*pick, strict=True)
        scores = n.op("Gather", [scores, _integers(n, indices)], axis=1)
        if min(signs) < 0:
            scores = n.op("Mul", [scores, _floats(n, signs)])
    return _added(graph, n, scores, name, head.n_classes)


def _exposed_probabilities(graph: Graph, head: Head, name: str) -> str | None:
    output = head.class_output
    if output.probabilities is None:
        return None
    logarithms = output.activation == "log_softmax"
    if not logarithms and not output.paired and _is_given(graph, output.probabilities):
        return output.probabilities
    n = Nodes(f"{name}_")
    shares = _flat(n, graph, output.probabilities, output.n_logits if output.paired else output.n_classes)
    if logarithms:
        shares = n.op("Exp", [shares])
    if output.paired:
        shares = n.op("Concat", [n.op("Sub", [_floats(n, [1.0]), shares]), shares], axis=1)
    return _added(graph, n, shares, name, head.n_classes)


def _is_given(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is a float32 output `(N, classes)` of the model already."""
    flat = len(graph.shape(tensor) or ()) == 2
    return flat and tensor in graph.outputs and graph.dtype(tensor) == TensorProto.FLOAT


def _flat(n: Nodes, graph: Graph, tensor: str, length: int) -> str:
    """A tensor as float32 `(N, length)`."""
    scores = n.op("Cast", [tensor], to=TensorProto.FLOAT)
    rank = len(graph.shape(tensor) or ())
    if rank == 2:
        return scores
    return n.op("Flatten", [scores]) if rank > 2 else n.op("Reshape", [scores, _integers(n, [-1, length])])


def _integers(n: Nodes, values: Sequence[int]) -> str:
    return n.op("Constant", [], value=helper.make_tensor("", TensorProto.INT64, [len(values)], list(values)))


def _floats(n: Nodes, values: Sequence[float]) -> str:
    return n.op("Constant", [], value=helper.make_tensor("", TensorProto.FLOAT, [len(values)], list(values)))


def _added(graph: Graph, n: Nodes, tensor: str, name: str, n_classes: int) -> str:
    """Add nodes to a model, and their result as an output."""
    last = helper.make_node("Identity", [tensor], [name], name=name)
    graph.append([*n.nodes, last], [_declared(name, [None, n_classes])])
    return name


def _expose_map(graph: Graph, grid: Grid, name: str) -> None:
    own = name if grid.layout == "NCHW" else f"{name}{OWN_LAYOUT}"
    turned = grid.batch_first(cast := f"{own}_as_made" if grid.batch_axis else own, own)
    nodes = [_cast(grid.tensor, cast), *turned]
    if own != name:
        nodes += grid.to_nchw(own, name)
    outputs = [_declared(name, [None, *grid.shape])]
    if grid.special:
        outputs.append(_declared(own, [None, *grid.tokens]))
    graph.append(nodes, outputs)


def _cast(tensor: str, name: str) -> NodeProto:
    return helper.make_node("Cast", [tensor], [name], name=name, to=TensorProto.FLOAT)


def _declared(name: str, shape: Sequence[int | None]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def unexpose(model: ModelProto) -> None:
    """Remove what `expose` added, in place, before the model is indexed; does nothing to an ordinary model."""
    for field in (model.graph.node, model.graph.output):
        for index in reversed(range(len(field))):
            if field[index].name.startswith(RESERVED):
                del field[index]
