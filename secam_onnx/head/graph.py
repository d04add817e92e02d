"""A read-only index of an ONNX graph: who makes a tensor, what shape it has, which tensors are constants."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from secam_onnx.errors import ModelError

__all__ = ["Graph", "Shape", "attribute"]

Shape = tuple[int | None, ...]
"""Lengths of a tensor's axes; None where only the run tells."""

# Larger constants are weights; shape inference needs their dimensions, not their values.
_SMALL = 1024
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default` where it has none."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


class Graph:
    """Index of one model's main graph.

    Parameters
    ----------
    model : ModelProto
        Left as it is. Values of large initializers are not looked at, so they may live in external data.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value for value in model.graph.input if value.name not in self.initializers]
        self.outputs = [value.name for value in model.graph.output]
        self._producers = {name: node for node in model.graph.node for name in node.output if name}

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return max((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), default=1)

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and initializers."""
        return self._producers.get(tensor)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer or made from nothing but constants."""
        return tensor in self._constants

    def constant(self, tensor: str) -> np.ndarray:
        """The value of a constant tensor, computed by ONNX's reference implementation where nodes make it."""
        if tensor in self.initializers:
            return numpy_helper.to_array(self.initializers[tensor])
        from onnx.reference import ReferenceEvaluator

        nodes, initializers = self.ancestry(tensor)
        output = helper.make_empty_tensor_value_info(tensor)
        graph = helper.make_graph(nodes, "constant", [], [output], [self.initializers[name] for name in initializers])
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        (value,) = ReferenceEvaluator(model).run(None, {})
        return np.asarray(value)

    def ancestry(self, tensor: str, stop: frozenset[str] = frozenset()) -> tuple[list[NodeProto], list[str]]:
        """The nodes that make a tensor, in running order, and the initializers that they read.

        Parameters
        ----------
        tensor : str
            Where to start.
        stop : frozenset of str
            Tensors that count as given.
        """
        wanted, initializers, todo = set(), [], [tensor]
        seen = set(stop)
        while todo:
            name = todo.pop()
            if not name or name in seen:
                continue
            seen.add(name)
            node = self.producer(name)
            if node is None:
                if name in self.initializers:
                    initializers.append(name)
                continue
            wanted.add(id(node))
            todo += node.input
        return [node for node in self.model.graph.node if id(node) in wanted], initializers

    def shape(self, tensor: str) -> Shape | None:
        """The shape of a tensor as far as shape inference knows it; None if not even the rank is known."""
        return self._types.get(tensor, (0, None))[1]

    def dtype(self, tensor: str) -> int:
        """The element type of a tensor (`TensorProto.FLOAT`, ...); 0 if unknown."""
        return self._types.get(tensor, (0, None))[0]

    @cached_property
    def _constants(self) -> set[str]:
        constants = set(self.initializers)
        for node in self.model.graph.node:  # ONNX demands that nodes are in running order
            if node.op_type not in _RANDOM and all(name in constants for name in node.input if name):
                constants.update(node.output)
        return constants

    @cached_property
    def _types(self) -> dict[str, tuple[int, Shape | None]]:
        try:
            inferred = onnx.shape_inference.infer_shapes(self._without_weights(), data_prop=True).graph
        except onnx.shape_inference.InferenceError as error:
            raise ModelError(
                f"The model is damaged ({error}); check it with onnx.checker or export it again."
            ) from error
        types: dict[str, tuple[int, Shape | None]] = {
            name: (tensor.data_type, tuple(tensor.dims)) for name, tensor in self.initializers.items()
        }
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            if value.type.HasField("tensor_type"):
                types[value.name] = (value.type.tensor_type.elem_type, _shape_of(value))
        return types

    def _without_weights(self) -> ModelProto:
        """A copy with the weights' names and dimensions only, so that shape inference costs milliseconds."""
        source = self.model
        light = ModelProto(ir_version=source.ir_version, opset_import=source.opset_import, functions=source.functions)
        light.graph.name = source.graph.name
        for field in ("node", "input", "output", "value_info"):
            getattr(light.graph, field).extend(getattr(source.graph, field))
        for tensor in source.graph.initializer:
            small = math.prod(tensor.dims) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL
            bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            light.graph.initializer.append(tensor if small else bare)
        return light


def _shape_of(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
