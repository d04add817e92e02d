"""The index of an ONNX graph: which node makes a tensor, what shape it has, which tensors are constants."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from secam_onnx.errors import ModelError
from secam_onnx.graph.checks.order import reads
from secam_onnx.graph.light_copy import without_initializers
from secam_onnx.graph.onnxruntime_operators import as_standard
from secam_onnx.graph.opset import opset_of
from secam_onnx.graph.weights import read_tensor

__all__ = ["Graph", "Shape", "attribute", "describe", "reads", "shape_text"]

Shape = tuple[int | None, ...]
"""Lengths of a tensor's axes; None where only the run tells."""

Types = dict[str, tuple[int, Shape | None]]
"""Element type and shape of tensors, by name."""

# Larger constants are weights; shape inference needs their dimensions, not their values.
_SMALL = 1024
_LARGEST = 2**31  # numbers in a tensor; no classifier of one photograph comes near
_EPSILONS: dict[int, float] = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
_PINNED = 2
_COMPUTES_WITH_SHAPES = 14
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default` where it has none."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def describe(node: NodeProto) -> str:
    """How messages call a node: operator and name, or its output where it has no name."""
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


def shape_text(shape: Shape | None) -> str:
    """A shape for people: `(?, 3, 224, 224)`."""
    if shape is None:
        return "unknown"
    return f"({', '.join('?' if length is None else str(length) for length in shape)})"


class Graph:
    """Index of one model's main graph.

    It is right as long as nobody changes the model but `append`.

    Parameters
    ----------
    model : ModelProto
        Values of large initializers are hardly looked at, and may live in external data.
    folder : path
        The folder of the external data.

    Attributes
    ----------
    model : ModelProto
        The model.
    outputs : list of str
        Names of its outputs.
    vague : set of str
        Tensors that were asked for and whose shapes are not known but for the batch.
    image_size : (int, int) or None
        Rows and columns of the images that will be fed, for models that leave these open.
    image_axes : str or None
        What the input's axes count, such as 'NHWC', where it is known.
    """

    def __init__(self, model: ModelProto, folder: str | os.PathLike[str] = "") -> None:
        self.model = model
        self._folder = folder
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value for value in model.graph.input if value.name not in self.initializers]
        self.vague: set[str] = set()
        self.image_size: tuple[int, int] | None = None
        self.image_axes: str | None = None
        self._learned: dict[str, Shape] = {}
        self._pinned_types: dict[int, Types] = {}
        self._not_inferred: set[str] = set()
        self._read_nodes()

    def _read_nodes(self) -> None:
        """Index the nodes and outputs of the model as they are now."""
        graph = self.model.graph
        self.outputs = [value.name for value in graph.output]
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._positions = {name: index for index, node in enumerate(graph.node) for name in node.output if name}

    def append(self, nodes: Iterable[NodeProto], outputs: Iterable[ValueInfoProto] = ()) -> None:
        """Add nodes behind those of the model, and outputs, in place.

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
        # What was inferred of the other tensors stays true: inference takes a quarter of a second for a transformer.
        self._not_inferred.update(made)

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
            One of them is made later than the node runs, or by nobody.
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
                raise ModelError(f"The model is damaged: {describe(node)} reads {name!r}, which nothing makes.")
        return names

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer or made from nothing but constants."""
        return tensor in self._constants

    def constant(self, tensor: str) -> np.ndarray:
        """The value of a constant tensor, computed by ONNX's reference implementation where nodes make it."""
        if tensor in self.initializers:
            return read_tensor(self.initializers[tensor], self._folder)
        nodes, initializers = self.ancestry(tensor)
        values = [numpy_helper.from_array(self.constant(name), name) for name in initializers]
        return self._evaluate(nodes, values, tensor)

    def integers(self, node: NodeProto, name: str, index: int) -> list[int] | None:
        """Numbers that newer opsets take as an input and older ones as an attribute; None if the run decides."""
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

    def shape(self, tensor: str) -> Shape | None:
        """The shape of a tensor as far as it is known; None if not even the rank is.

        Tensors of which something besides the batch is not known are remembered in `vague`.
        """
        shape = self._learned.get(tensor) or self._inferred_shape(tensor)
        if shape is None or None in (shape if self.fixed_batch is not None else shape[1:]):
            batch = self._depends_on_batch(tensor) or ({0} if self.fixed_batch is None else set())
            if shape is None or any(length is None and axis not in batch for axis, length in enumerate(shape)):
                self.vague.add(tensor)
        return shape

    def known_shapes(self, tensors: Iterable[str]) -> dict[str, Shape]:
        """The shapes of some tensors, of those that have one."""
        shapes = {tensor: self.shape(tensor) for tensor in tensors}
        return {tensor: shape for tensor, shape in shapes.items() if shape is not None}

    def learn(self, shapes: Mapping[str, Shape]) -> None:
        """Take shapes that were seen in a run for those that inference leaves open."""
        for tensor, shape in shapes.items():
            inferred = self._inferred_shape(tensor)
            if inferred is None or None in inferred:
                self._learned[tensor] = shape

    def _inferred_shape(self, tensor: str) -> Shape | None:
        shape = self._type(tensor)[1]
        if shape is not None and None not in shape[1:]:
            return shape
        # Shapes that are computed at run time come out once the number of images is known.
        few, more = self._pinned_shapes(tensor)
        if few is None or (shape is not None and len(shape) != len(few)):
            return shape
        told = tuple(own if own == other else None for own, other in zip(few, more or few, strict=True))
        if shape is None:
            return (None, *told[1:]) if few[:1] == (_PINNED,) else told
        return tuple(own or other for own, other in zip(shape, told, strict=True))

    def _pinned_shapes(self, tensor: str) -> tuple[Shape | None, Shape | None]:
        """A tensor's shapes for two images and for three, where the model leaves their number open."""
        few, more = (self._type(tensor, count)[1] for count in (_PINNED, _PINNED + 1))
        return few, more if few is not None and more is not None and len(few) == len(more) else None

    def _depends_on_batch(self, tensor: str) -> set[int]:
        """The axes whose length changes with the number of images."""
        few, more = self._pinned_shapes(tensor)
        return set() if few is None or more is None else {axis for axis in range(len(few)) if few[axis] != more[axis]}

    def batch_axis(self, tensor: str) -> int | None:
        """The axis of a tensor that counts photographs; None where none does, or where it counts something besides."""
        shape = self.shape(tensor) or ()
        batch = self.fixed_batch
        if batch is not None:
            axes = [axis for axis, length in enumerate(shape) if length == batch]
            first = shape[:1] == (None,) or axes[:1] == [0]
            return 0 if first else axes[0] if len(axes) == 1 else None
        few, more = self._pinned_shapes(tensor)
        if few is None or more is None or None in (*few, *more):
            axes = [axis for axis, length in enumerate(shape) if length is None]
            return axes[0] if axes[:1] == [0] or len(axes) == 1 else None
        axes = sorted(self._depends_on_batch(tensor))
        return axes[0] if [(few[axis], more[axis]) for axis in axes] == [(_PINNED, _PINNED + 1)] else None

    @cached_property
    def fixed_batch(self) -> int | None:
        """How many photographs the model takes, where it says so."""
        shape = self._type(self.inputs[0].name)[1] if self.inputs else None
        return shape[0] if shape is not None and len(shape) == 4 else 1

    def dtype(self, tensor: str) -> int:
        """The element type of a tensor (`TensorProto.FLOAT`, ...); 0 if unknown."""
        return self._type(tensor)[0]

    def epsilon(self, tensor: str) -> float:
        """How coarse the numbers of a tensor are: the distance from 1 to the next larger one, relative."""
        return _EPSILONS.get(self.dtype(tensor), 2.0**-23)

    def is_from_shapes(self, tensor: str) -> bool:
        """Whether a tensor is made from constants and shapes of others alone, not from their values."""
        return tensor in self._from_shapes_alone

    @cached_property
    def _constants(self) -> set[str]:
        return self._made_from(set())

    @cached_property
    def _from_shapes_alone(self) -> set[str]:
        return self._made_from({"Shape", "Size"})

    def _made_from(self, sources: set[str]) -> set[str]:
        """The tensors that come from initializers and operators without input, and from some operators besides."""
        made = set(self.initializers)
        for node in self.model.graph.node:  # ONNX demands that nodes are in running order
            if node.op_type in sources or (node.op_type not in _RANDOM and made.issuperset(reads(node))):
                made.update(node.output)
        return made

    def for_pinned_batch(self, tensor: str) -> np.ndarray | None:
        """The value, for a batch of two images, of a tensor that is computed from shapes alone; None if it is not."""
        return self._value_from_shapes(tensor, self._types_for(_PINNED))

    def _value_from_shapes(self, tensor: str, types: Types) -> np.ndarray | None:
        if self.is_constant(tensor):
            return self.constant(tensor)
        nodes: dict[int, NodeProto] = {}
        constants: dict[str, np.ndarray] = {}
        todo, seen = [tensor], set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if self.is_constant(name):
                constants[name] = self.constant(name)
                continue
            node = self.producer(name)
            if node is None or node.op_type in _RANDOM or len(nodes) > _SMALL:
                return None
            if node.op_type == "Shape":
                shape = types.get(node.input[0], (0, None))[1]
                if shape is None or None in shape:
                    return None
                kept = shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))]
                constants[name] = np.asarray(kept, dtype=np.int64)
                continue
            nodes[self.position(name)] = node
            todo += reads(node)
        values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        try:
            return self._evaluate([nodes[position] for position in sorted(nodes)], values, tensor)
        except Exception:  # whatever ONNX's reference implementation meets there: the value stays unknown
            return None

    def _evaluate(self, nodes: Sequence[NodeProto], initializers: Sequence[TensorProto], tensor: str) -> np.ndarray:
        from onnx.reference import ReferenceEvaluator

        output = helper.make_empty_tensor_value_info(tensor)
        graph = helper.make_graph(nodes, "constant", [], [output], initializers)
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        (value,) = ReferenceEvaluator(model).run(None, {})
        return np.asarray(value)

    def _type(self, tensor: str, batch: int | None = None) -> tuple[int, Shape | None]:
        """Element type and shape of a tensor, for a batch of so many images where the model leaves that open."""
        if tensor in self._not_inferred:
            self._not_inferred.clear()
            self._pinned_types.clear()
            self.__dict__.pop("_types", None)
        types = self._types if batch is None else self._types_for(batch)
        return types.get(tensor, (0, None))

    @cached_property
    def _types(self) -> Types:
        return self._infer(self._without_weights())

    def _types_for(self, batch: int) -> Types:
        if batch not in self._pinned_types:
            self._pinned_types[batch] = self._inferred_for(batch)
        return self._pinned_types[batch]

    def _inferred_for(self, batch: int) -> Types:
        light = self._without_weights()
        for value in light.graph.input:
            dims = value.type.tensor_type.shape.dim
            if len(dims) == 4 and not dims[0].HasField("dim_value"):  # fewer axes: perhaps no batch among them
                dims[0].dim_value = batch
        for field in (light.graph.value_info, light.graph.output):
            for value in field:
                value.type.tensor_type.ClearField("shape")  # what the exporter wrote there names the batch
        types = self._infer(light)
        # Before opset 14 inference does not compute with shapes, as `x.view(x.size(0), -1)` does.
        for node in light.graph.node if self.opset < _COMPUTES_WITH_SHAPES else ():
            if node.op_type not in ("Reshape", "Expand") or types.get(node.output[0], (0, None))[1] is not None:
                continue
            target = self._value_from_shapes(node.input[1], types)
            if target is None:
                break
            name = f"{node.output[0]}_target_shape"
            light.graph.initializer.append(numpy_helper.from_array(target, name))
            node.input[1] = name
            types = self._infer(light)
        return types

    def _infer(self, light: ModelProto) -> Types:
        try:
            inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
        except onnx.shape_inference.InferenceError as error:
            raise ModelError(
                f"The model is damaged ({error}); check it with onnx.checker or export it again."
            ) from error
        types: Types = {name: (tensor.data_type, tuple(tensor.dims)) for name, tensor in self.initializers.items()}
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            if value.type.HasField("tensor_type"):
                shape = _shape_of(value)
                types[value.name] = (value.type.tensor_type.elem_type, shape)
                if math.prod(length for length in shape or () if length is not None) > _LARGEST:
                    raise ModelError(
                        f"The model's tensor {value.name!r} has the shape {shape_text(shape)}; at most {_LARGEST} "
                        "numbers were expected. It is damaged, or made for images that are far too large."
                    )
        return types

    def _without_weights(self) -> ModelProto:
        """A copy with the weights' names and dimensions only, so that shape inference costs milliseconds."""
        light = without_initializers(self.model)
        for node in light.graph.node:
            if (standard := as_standard(node)) is not node:
                node.CopyFrom(standard)
        for values in (light.graph.input, light.graph.output, light.graph.value_info):
            for value in values:
                for dim in value.type.tensor_type.shape.dim:
                    if dim.dim_value == -1:  # how Paddle2ONNX says that it is open
                        dim.Clear()
        for node in light.graph.node:
            if node.op_type == "GroupNormalization" and not node.domain:
                # Inference knows nothing of it; the shape stays.
                node.op_type = "Identity"
                del node.input[1:], node.attribute[:]
        for tensor in self.model.graph.initializer:
            small = math.prod(tensor.dims) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL
            bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            light.graph.initializer.append(tensor if small else bare)
        return light


def _shape_of(value: ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
