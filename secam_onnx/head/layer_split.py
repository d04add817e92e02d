"""A fully connected layer on the flattened feature map, as the sum of its products with the single cells.

`y = W x + b` over a flattened map reads all of W, 400 MB in VGG16, and so does its gradient. Position by position,

    y = sum_p t_p + b        t_p = W_p x_p        dz/dx_p . x_p = dz/dy . t_p

so the terms `t_p` are a feature map themselves, `(N, outputs, h, w)`, and the head goes on with their sum over all
positions. The maps stay the same for every attribution (a gradient, a path from zero, masked cells). The network
computes the terms on its way to `y`, with many channels in the time that the layer took, and W is not read again.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from onnx import ModelProto, TensorProto, helper

from secam_onnx.errors import SecamError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.light_copy import without_initializers
from secam_onnx.graph.node_info import reads
from secam_onnx.graph.nodes import Nodes
from secam_onnx.graph.weights import external_initializer, read_tensor
from secam_onnx.head.contribution import FEATURES
from secam_onnx.head.expose import expose, unexpose
from secam_onnx.head.find import find_head
from secam_onnx.head.found_head import Head
from secam_onnx.head.rules import LinearStep, PassThroughStep, ReshapeStep, Step
from secam_onnx.head_query import HeadQuery
from secam_onnx.reserved_prefix import RESERVED
from secam_onnx.runtime import SharedWeights

__all__ = ["TERMS", "layer_to_split", "split_layer", "with_split_layer"]

TERMS = f"{RESERVED}terms"
"""The name of the new feature map."""

_WEIGHT = f"{TERMS}_weight"
_OPSET = 9  # Add and Reshape of older opsets differ
_AXES_ARE_INPUTS = 13
_LARGE = 1 << 20  # numbers; a smaller matrix costs next to nothing
_FEWEST = 32  # channels; with fewer, the terms (as many as W has numbers, over the channels) take longer than W
_AT_ONCE = 16  # rows that are transposed together, so that they stay in the cache


def with_split_layer(graph: Graph, head: Head, *, logits: str, probabilities: str) -> tuple[Graph, Head, SharedWeights]:
    """The same model with a large layer split, if its head allows it.

    Parameters
    ----------
    graph : Graph
        The model, which stays as it is.
    head : Head
        Its head.
    logits, probabilities : str
        See `expose`.

    Returns
    -------
    graph, head
        Those of the model with the layer split, or the given ones.
    weights : SharedWeights
        Values of initializers that are new in the model.

    Raises
    ------
    ModelError
        The matrix cannot be read.
    """
    whole = graph, head, SharedWeights()
    layer = layer_to_split(graph, head)
    if layer is None:
        return whole
    split, weights = split_layer(graph, head, layer)
    index = Graph(split, graph.folder)
    index.learn(graph.known_shapes(head.tensors))
    index.image_size, index.image_axes = graph.image_size, graph.image_axes
    try:
        found = find_head(index, HeadQuery(logits=head.output, features=TERMS))
    except SecamError:  # an error that matters shows in the model as it is, too
        return whole
    if found.algebra != head.algebra:
        return whole
    found = replace(found, class_output=head.class_output)
    expose(index, found, features=FEATURES, logits=logits, probabilities=probabilities)
    return index, found, weights


def layer_to_split(graph: Graph, head: Head) -> LinearStep | None:
    """The layer of a head that multiplies the whole feature map with a large matrix; None if there is none.

    Parameters
    ----------
    graph : Graph
        The model.
    head : Head
        Its head.
    """
    if (
        len(head.grids) > 1
        or head.grid.special
        or None in head.grid.shape
        or graph.opset < _OPSET
        or _names_are_taken(graph)
    ):
        return None
    layer = _first_reader(head)
    if not isinstance(layer, LinearStep) or layer.rank != 2 or (layer.alpha, layer.beta, layer.relu) != (1, 1, False):
        return None
    weight = graph.initializers.get(layer.weight)
    if weight is None or weight.data_type != TensorProto.FLOAT:
        return None
    size = math.prod(weight.dims)
    channels, rows, columns = (length or 0 for length in head.grid.shape)
    fits = size == channels * rows * columns * layer.outputs  # if not, the file is damaged, and ONNX Runtime says so
    return layer if fits and size >= _LARGE and channels >= _FEWEST else None


def _names_are_taken(graph: Graph) -> bool:
    made = (name for node in graph.model.graph.node for name in node.output)
    given = (value.name for value in graph.inputs)
    return any(name.startswith(TERMS) for name in (*made, *given, *graph.initializers))


def _first_reader(head: Head) -> Step | None:
    """The only step that reads the features, in any shape; None if there are several."""
    tensor = head.features
    while True:
        readers = [step for step in head.steps if tensor in step.inputs]
        if len(readers) != 1:
            return None
        if not isinstance(readers[0], PassThroughStep | ReshapeStep):
            return readers[0]
        tensor = readers[0].output


def split_layer(graph: Graph, head: Head, layer: LinearStep) -> tuple[ModelProto, SharedWeights]:
    """Split a layer.

    Parameters
    ----------
    graph : Graph
        The model, which stays as it is.
    head : Head
        Its head.
    layer : LinearStep
        See `layer_to_split`.

    Returns
    -------
    model : ModelProto
        A copy with the feature map `TERMS` in front of the layer's result, without the outputs that `expose` adds.
    weights : SharedWeights
        The value of the new initializer.

    Raises
    ------
    ModelError
        The matrix cannot be read.
    """
    matrix = _by_position(read_tensor(graph.initializers[layer.weight], graph.folder), head, layer)
    n = _written_out(graph, head, layer, matrix.shape)
    split = without_initializers(graph.model)
    unexpose(split)
    place = next(index for index, node in enumerate(split.graph.node) if layer.output in node.output)
    nodes = [*split.graph.node[:place], *n.nodes, *split.graph.node[place + 1 :]]
    del split.graph.node[:]
    split.graph.node.extend(nodes)
    read = {name for node in nodes for name in reads(node)} | {value.name for value in split.graph.output}
    kept = (tensor for tensor in graph.model.graph.initializer if tensor.name in read or tensor.name != layer.weight)
    split.graph.initializer.extend([*kept, *n.values, external_initializer(_WEIGHT, matrix.shape, TensorProto.FLOAT)])
    return split, SharedWeights(copied={_WEIGHT: matrix})


def _written_out(graph: Graph, head: Head, layer: LinearStep, shape: tuple[int, ...]) -> Nodes:
    """The nodes in place of the layer, for a matrix of shape `(positions, channels, outputs)`."""
    positions, channels, outputs = shape
    n = Nodes(f"{TERMS}_")
    if head.grid.channel_axis == 1:
        cells = n.op("Reshape", [layer.input, n.integers([0, channels, positions])])
        cells = n.op("Transpose", [cells], perm=[2, 0, 1])
    else:
        cells = n.op("Reshape", [layer.input, n.integers([0, positions, channels])])
        cells = n.op("Transpose", [cells], perm=[1, 0, 2])
    terms = n.op("Transpose", [n.op("MatMul", [cells, _WEIGHT])], perm=[1, 2, 0])
    whole = n.integers([0, outputs, *head.grid.shape[1:]])
    terms = n.op("Reshape", [terms, whole])
    # An Identity, as a Reshape would say something of tokens.
    n.nodes.append(helper.make_node("Identity", [terms], [TERMS]))
    total = [TERMS, n.integers([2, 3])] if graph.opset >= _AXES_ARE_INPUTS else [TERMS]
    axes = {} if graph.opset >= _AXES_ARE_INPUTS else {"axes": [2, 3]}
    result = n.op("ReduceSum", total, keepdims=0, **axes)
    if layer.bias:
        n.op("Add", [result, layer.bias])
    n.nodes[-1].output[0] = layer.output
    return n


def _by_position(matrix: np.ndarray, head: Head, layer: LinearStep) -> np.ndarray:
    """The matrix as `(positions, channels, outputs)`."""
    channels = head.grid.shape[0] or -1
    view = matrix if layer.transposed else matrix.T
    if head.grid.channel_axis == 1:
        view = view.reshape(channels, -1, layer.outputs).swapaxes(0, 1)
    else:
        view = view.reshape(-1, channels, layer.outputs)
    if view.flags.c_contiguous:
        return view
    result = np.empty(view.shape, np.float32)
    for start in range(0, layer.outputs, _AT_ONCE):
        result[..., start : start + _AT_ONCE] = view[..., start : start + _AT_ONCE]
    return result
