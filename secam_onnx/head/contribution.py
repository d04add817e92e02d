"""The contribution model: features and class ids in, maps and bias out; derived from the head once, as ONNX nodes.

For every piecewise-linear head, with `J_c = dz_c/df` (chain rule, backwards through the steps),

    M_c(x, y) = sum_k J_c[k, x, y] * f_k(x, y)        sum_xy M_c(x, y) + b_c = z_c   exactly.

Each step of the head writes its own part of the chain (`rules/`); this module gives them a `Builder`, joins gradient
and features at the end, and cuts out only those weights and forward nodes that the chain needs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from secam_onnx.errors import ModelError
from secam_onnx.head.find import RESERVED, Head
from secam_onnx.head.graph import Graph
from secam_onnx.head.rules import Gradient

__all__ = ["BIAS", "CLASS_IDS", "FEATURES", "MAPS", "Builder", "ContributionModel", "contribution_model"]

# All names of our own have the reserved prefix: the model's tensors, which keep theirs, may be called "bias" as well.
FEATURES = f"{RESERVED}features"
CLASS_IDS = f"{RESERVED}class_ids"
MAPS = f"{RESERVED}maps"
BIAS = f"{RESERVED}bias"

_OPSET = 18  # the first with ScatterElements(add), Shape(start), CastLike and axes as inputs everywhere
_IR_VERSION = 10
_LARGE = 1024  # numbers in a tensor that is shared with the session instead of copied into the model


@dataclass(frozen=True)
class ContributionModel:
    """A small ONNX model and the weights that it borrows.

    Attributes
    ----------
    model : ModelProto
        Inputs `secam_features` float32 `(N, C, h, w)` and `secam_class_ids` int64 `(N, K)`; outputs `secam_maps`
        float32 `(N, K, h, w)` and `secam_bias` float32 `(N, K)`.
    weights : dict of str to ndarray
        The large initializers, which the model declares as external data (see `runtime.open_session`).
    """

    model: ModelProto
    weights: dict[str, np.ndarray]


class Builder:
    """Collects the nodes of a contribution model; the steps of the head call its methods.

    All methods take and return tensor names.
    """

    def __init__(self, graph: Graph, head: Head) -> None:
        self.graph = graph
        self.head = head
        self.nodes: list[NodeProto] = []
        self.values: list[TensorProto] = []
        self.needed: list[str] = []
        self._bias: list[str] = []
        self._casts: dict[str, str] = {}

    def op(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output."""
        name = f"{RESERVED}{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def repeat(self, node: NodeProto, inputs: Sequence[str], outputs: int) -> list[str]:
        """Add a node with the attributes of one of the model's."""
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{RESERVED}{node.op_type}_{len(self.nodes)}"
        names = [f"{copy.name}_{index}" for index in range(outputs)]
        copy.input[:], copy.output[:] = list(inputs), names
        self.nodes.append(copy)
        return names

    def integers(self, values: Sequence[int]) -> str:
        """A constant int64 vector."""
        return self._value(np.asarray(values, dtype=np.int64))

    def floats(self, values: Sequence[float]) -> str:
        """A constant float32 vector."""
        return self._value(np.asarray(values, dtype=np.float32))

    def constant(self, tensor: str) -> str:
        """A constant of the model, as float32."""
        self.needed.append(tensor)
        if self.graph.dtype(tensor) == TensorProto.FLOAT:
            return tensor
        if tensor not in self._casts:
            self._casts[tensor] = self.op("Cast", [tensor], to=TensorProto.FLOAT)
        return self._casts[tensor]

    def forward(self, tensor: str) -> str:
        """The value of a tensor of the head for the features at hand, in the model's own dtype."""
        self.needed.append(tensor)
        return tensor

    def sizes(self, tensor: str) -> str:
        """`tensor.shape[1:]` as an int64 vector: a constant where it is known."""
        shape = self.graph.shape(tensor)
        if shape is not None and None not in shape[1:]:
            return self.integers([length for length in shape[1:] if length is not None])
        return self.op("Shape", [self.forward(tensor)], start=1)

    def positions(self, tensor: str) -> str:
        """`h * w` of a tensor `(N, C, h, w)` as one float32."""
        grid = self.op("Slice", [self.sizes(tensor), self.integers([1]), self.integers([3])])
        return self.op("Cast", [self.op("ReduceProd", [grid], keepdims=1)], to=TensorProto.FLOAT)

    def scale(self, tensor: str, factor: float) -> str:
        """A tensor times a number."""
        return tensor if factor == 1 else self.op("Mul", [tensor, self.floats([factor])])

    def per_class(self, tensor: str) -> str:
        """`(N, ...)` seen as `(N, 1, ...)`, so that it broadcasts over the classes."""
        return self.op("Unsqueeze", [tensor, self.integers([1])])

    def flat(self, tensor: str) -> str:
        """`(N, K, ...)` seen as `(N, K, rest)`."""
        return self.op("Reshape", [tensor, self.integers([0, 0, -1])])

    def reshape_like(self, tensor: str, like: str) -> str:
        """`(N, K, ...)` seen as `(N, K, *like.shape[1:])`."""
        shape = self.op("Concat", [self.integers([0, 0]), self.sizes(like)], axis=0)
        return self.op("Reshape", [tensor, shape])

    def dense(self, gradient: Gradient) -> str:
        """A gradient written out as `(N, K, *shape)`."""
        if gradient.form == "selection":
            depth, values = self.integers([self.head.n_classes]), self.floats([0.0, 1.0])
            return self.op("OneHot", [gradient.name, depth, values], axis=-1)
        if gradient.form == "uniform":
            channels = self.op("Unsqueeze", [gradient.name, self.integers([3, 4])])
            sizes = self.op("Concat", [self.integers([1, 1]), self.sizes(gradient.of)], axis=0)
            return self.op("Expand", [channels, sizes])
        return gradient.name

    def add_bias(self, gradient: Gradient, bias: str, factor: float = 1.0) -> None:
        """Count `gradient . bias`, a term of `b_c`; `bias` broadcasts to the tensor that the gradient belongs to."""
        value = self.constant(bias)
        if gradient.form == "selection":
            classes = self.op("Expand", [value, self.integers([self.head.n_classes])])
            term = self.op("Gather", [self.op("Reshape", [classes, self.integers([-1])]), gradient.name], axis=0)
        else:
            product = self.flat(self.op("Mul", [self.dense(gradient), value]))
            term = self.op("ReduceSum", [product, self.integers([2])], keepdims=0)
        self._bias.append(self.scale(term, factor))

    def finish(self, gradient: Gradient, features: str) -> tuple[str, str]:
        """Join the gradient with the features: `maps (N, K, h, w)` and `bias (N, K)`."""
        if gradient.form == "uniform":
            product = self.op("MatMul", [gradient.name, self.flat(features)])
            grid = self.op("Shape", [features], start=2)
            maps = self.op("Reshape", [product, self.op("Concat", [self.integers([0, 0]), grid], axis=0)])
        else:
            product = self.op("Mul", [self.dense(gradient), self.per_class(features)])
            maps = self.op("ReduceSum", [product, self.integers([2])], keepdims=0)
        if not self._bias:
            ids = self.op("Cast", [CLASS_IDS], to=TensorProto.FLOAT)
            self._bias.append(self.op("Mul", [ids, self.floats([0.0])]))
        bias = self._bias[0]
        for term in self._bias[1:]:
            bias = self.op("Add", [bias, term])
        return maps, bias

    def _value(self, array: np.ndarray) -> str:
        name = f"{RESERVED}value_{len(self.values)}"
        self.values.append(numpy_helper.from_array(array, name))
        return name


def contribution_model(graph: Graph, head: Head, folder: str | os.PathLike[str] = "") -> ContributionModel:
    """Derive the contribution model of a head.

    Parameters
    ----------
    graph : Graph
        The model in which the head was found.
    head : Head
        The head.
    folder : path
        Where the model's external data lies.

    Raises
    ------
    ModelError
        A weight cannot be read.
    """
    builder = Builder(graph, head)
    gradient = Gradient(CLASS_IDS, of=head.logits, form="selection")
    for step in head.steps:
        gradient = step.backward(builder, gradient)
    maps, bias = builder.finish(gradient, FEATURES)

    stop = frozenset({head.features})
    forward, initializers = _needed(graph, builder.needed, stop)
    forward = _at_opset(graph, forward)
    elem_type = graph.dtype(head.features) or TensorProto.FLOAT
    entry = helper.make_node("Cast", [FEATURES], [head.features], to=elem_type)
    nodes = [entry, *forward, *builder.nodes]
    nodes += [helper.make_node("Identity", [maps], [MAPS]), helper.make_node("Identity", [bias], [BIAS])]

    weights: dict[str, np.ndarray] = {}
    declared = [_declare(graph.initializers[name], weights, folder) for name in initializers]
    shape = graph.shape(head.features) or (None,) * 4
    inputs = [
        helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", *shape[1:]]),
        helper.make_tensor_value_info(CLASS_IDS, TensorProto.INT64, ["N", "K"]),
    ]
    outputs = [
        helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, ["N", "K", *shape[2:]]),
        helper.make_tensor_value_info(BIAS, TensorProto.FLOAT, ["N", "K"]),
    ]
    body = helper.make_graph(nodes, "secam_contribution", inputs, outputs, [*declared, *builder.values])
    opsets = [entry for entry in graph.model.opset_import if entry.domain not in ("", "ai.onnx")]
    opsets.append(helper.make_opsetid("", max(_OPSET, graph.opset)))
    ir_version = max(_IR_VERSION, graph.model.ir_version)
    return ContributionModel(helper.make_model(body, opset_imports=opsets, ir_version=ir_version), weights)


def _needed(graph: Graph, tensors: Sequence[str], stop: frozenset[str]) -> tuple[list[NodeProto], list[str]]:
    wanted: set[int] = set()
    initializers: dict[str, None] = {}
    for tensor in dict.fromkeys(tensors):
        nodes, names = graph.ancestry(tensor, stop)
        wanted |= {id(node) for node in nodes}
        initializers |= dict.fromkeys(names)
    return [node for node in graph.model.graph.node if id(node) in wanted], list(initializers)


def _at_opset(graph: Graph, nodes: list[NodeProto]) -> list[NodeProto]:
    """The head's own nodes in the opset of the contribution model."""
    if graph.opset >= _OPSET or not nodes:
        return nodes
    made = {name for node in nodes for name in node.output}
    given = dict.fromkeys(name for node in nodes for name in node.input if name and name not in made)
    typed = [
        helper.make_tensor_value_info(name, graph.dtype(name) or TensorProto.FLOAT, graph.shape(name)) for name in given
    ]
    ends = [helper.make_empty_tensor_value_info(name) for name in nodes[-1].output if name]
    body = helper.make_graph(nodes, "head", typed, ends)
    old = helper.make_model(body, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=_IR_VERSION)
    try:
        return list(onnx.version_converter.convert_version(old, _OPSET).graph.node)
    except Exception as error:
        raise ModelError(
            f"The head cannot be brought from opset {graph.opset} to {_OPSET} ({error}). Export the model again with "
            f"opset {_OPSET} or newer."
        ) from error


def _declare(tensor: TensorProto, weights: dict[str, np.ndarray], folder: str | os.PathLike[str]) -> TensorProto:
    """Copy a small initializer; declare a large one as external and put its value into `weights`."""
    if math.prod(tensor.dims) <= _LARGE and tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    source = tensor
    if tensor.data_location == TensorProto.EXTERNAL:
        source = TensorProto()
        source.CopyFrom(tensor)  # reading would leave the data in the model
    try:
        weights[tensor.name] = numpy_helper.to_array(source, os.fspath(folder))
    except Exception as error:
        raise ModelError(f"The weight {tensor.name!r} cannot be read ({error}); is its data file beside it?") from error
    bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    bare.data_location = TensorProto.EXTERNAL
    bare.external_data.add(key="location", value="shared")
    return bare
