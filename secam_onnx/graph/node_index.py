"""The nodes of an ONNX graph: which one makes a tensor, and which tensors are constants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from secam_onnx.errors import ModelError
from secam_onnx.graph.node_info import attribute, describe, reads
from secam_onnx.graph.opset import opset_of
from secam_onnx.graph.weights import read_tensor

__all__ = ["RANDOM", "NodeIndex"]

RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
"""Operators whose values differ from run to run."""


class NodeIndex:
    """The nodes of a model's main graph, by the tensors that they make.

    It is right as long as nobody changes the model but `append`.

    Parameters
    ----------
    model : ModelProto
        The model.
    folder : path
        The folder of its external data.

    Attributes
    ----------
    model : ModelProto
        The model.
    folder : Path
        The folder of its external data.
    initializers : dict of str to TensorProto
        Its initializers, by name.
    inputs : list of ValueInfoProto
        Its inputs that are not initializers.
    outputs : list of str
        Names of its outputs.
    """

    def __init__(self, model: ModelProto, folder: str | os.PathLike[str] = "") -> None:
        self.model = model
        self.folder = Path(folder)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value for value in model.graph.input if value.name not in self.initializers]
        self._read_nodes()

    def _read_nodes(self) -> None:
        """Index the nodes and outputs of the model as they are now."""
        graph = self.model.graph
        self.outputs = [value.name for value in graph.output]
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._positions = {name: index for index, node in enumerate(graph.node) for name in node.output if name}

    def append(self, nodes: Iterable[NodeProto], outputs: Iterable[ValueInfoProto] = ()) -> None:
        """Add nodes behind those of the model, and outputs, to the model itself.

        Parameters
        ----------
        nodes : iterable of NodeProto
            Nodes in running order, each of which makes tensors with new names.
        outputs : iterable of ValueInfoProto
            Further outputs of the model.

        Raises
        ------
        ValueError
            A node makes a tensor that the model has already.
        """
        added = list(nodes)
        made = [name for node in added for name in node.output if name]
        known = {*self._producers, *self.initializers, *(value.name for value in self.inputs)}
        if taken := [name for index, name in enumerate(made) if name in known or name in made[:index]]:
            raise ValueError(f"The graph makes {', '.join(taken)} already; new names were expected.")
        self.model.graph.node.extend(added)
        self.model.graph.output.extend(outputs)
        self._read_nodes()
        for found in ("_constants", "_from_shapes_alone"):
            self.__dict__.pop(found, None)

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return opset_of(self.model)

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and initializers."""
        return self._producers.get(tensor)

    def position(self, tensor: str) -> int:
        """Place of a tensor's producer in running order; -1 for inputs and initializers."""
        return self._positions.get(tensor, -1)

    def computed_inputs(self, node: NodeProto) -> tuple[str, ...]:
        """The inputs of a node that depend on the model's input, each once.

        Raises
        ------
        ModelError
            One of them is made after the node runs, or by no node.
        """
        names = tuple(dict.fromkeys(name for name in reads(node) if not self.is_constant(name)))
        own = self.position(next(name for name in node.output if name))
        for name in names:
            if self.position(name) >= own:
                raise ModelError(
                    f"The model is damaged: {describe(node)} reads {name!r} before it is made, so the graph is cyclic "
                    "or out of order. Export it again."
                )
            if self.producer(name) is None and all(name != value.name for value in self.inputs):
                raise ModelError(
                    f"The model is damaged: {describe(node)} reads {name!r}, which nothing makes. Export it again."
                )
        return names

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer or made from nothing but constants."""
        return tensor in self._constants

    def constant(self, tensor: str) -> np.ndarray:
        """The value of a constant tensor; where nodes make it, ONNX's reference implementation computes it."""
        if tensor in self.initializers:
            return read_tensor(self.initializers[tensor], self.folder)
        nodes, initializers = self.ancestry(tensor)
        values = [numpy_helper.from_array(self.constant(name), name) for name in initializers]
        return self.evaluate(nodes, values, tensor)

    def integers(self, node: NodeProto, name: str, index: int) -> list[int] | None:
        """Numbers that are an input in newer opsets and an attribute in older ones; None if they are computed."""
        if len(node.input) > index and node.input[index]:
            if not self.is_constant(node.input[index]):
                return None
            return [int(value) for value in self.constant(node.input[index]).reshape(-1)]
        value: list[int] | None = attribute(node, name)
        return value

    def ancestry(self, tensor: str) -> tuple[list[NodeProto], list[str]]:
        """The nodes that make a tensor, in running order, and the initializers that they read."""
        nodes: dict[int, NodeProto] = {}
        initializers, todo = [], [tensor]
        seen = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.producer(name)
            if node is None:
                if name in self.initializers:
                    initializers.append(name)
                continue
            nodes[self.position(name)] = node
            todo += reads(node)
        return [nodes[position] for position in sorted(nodes)], initializers

    def is_from_shapes(self, tensor: str) -> bool:
        """Whether a tensor is made from constants and from shapes of other tensors, not from their values."""
        return tensor in self._from_shapes_alone

    @cached_property
    def _constants(self) -> set[str]:
        return self._made_from(set())

    @cached_property
    def _from_shapes_alone(self) -> set[str]:
        return self._made_from({"Shape", "Size"})

    def _made_from(self, sources: set[str]) -> set[str]:
        """The tensors that are made from initializers, constants and the results of some operators alone."""
        made = set(self.initializers)
        for node in self.model.graph.node:  # ONNX demands that nodes are in running order
            if node.op_type in sources or (node.op_type not in RANDOM and made.issuperset(reads(node))):
                made.update(node.output)
        return made

    def evaluate(self, nodes: Sequence[NodeProto], initializers: Sequence[TensorProto], tensor: str) -> np.ndarray:
        """The value that some nodes and constants give a tensor, by ONNX's reference implementation."""
        from onnx.reference import ReferenceEvaluator

        output = helper.make_empty_tensor_value_info(tensor)
        graph = helper.make_graph(nodes, "constant", [], [output], initializers)
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        (value,) = ReferenceEvaluator(model).run(None, {})
        return np.asarray(value)
