"""The index of an ONNX graph: its nodes, its constants, and the shapes and types of its tensors."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from secam_onnx.errors import HeadError
from secam_onnx.graph.node_index import RANDOM, NodeIndex
from secam_onnx.graph.node_info import Shape, attribute, reads
from secam_onnx.graph.shape_inference import Types, copy_for_inference, infer_types, pin_batch

__all__ = ["Graph"]

_EPSILONS: dict[int, float] = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
_PINNED = 2
_COMPUTES_WITH_SHAPES = 14
_MOST_NODES = 1024  # behind a value that is computed from shapes


class Graph(NodeIndex):
    """Index of a model's main graph, with the shapes of its tensors.

    Parameters
    ----------
    model, folder
        As in `NodeIndex`, which lists further attributes. The values of large weights are read on demand.

    Attributes
    ----------
    unknown_shapes : set of str
        Tensors whose shapes were asked for but are not known; an unknown batch does not count.
    image_size : (int, int) or None
        Rows and columns of the images that will be fed, for models that leave them open.
    image_axes : str or None
        The axes of the input, such as 'NHWC', where they are known.
    one_image : bool
        Whether all shapes are those for a single image; see `for_one_image`.
    """

    def __init__(self, model: ModelProto, folder: str | os.PathLike[str] = "") -> None:
        super().__init__(model, folder)
        self.unknown_shapes: set[str] = set()
        self.image_size: tuple[int, int] | None = None
        self.image_axes: str | None = None
        self.one_image = False
        self._view: Graph | None = None
        self._learned: dict[str, Shape] = {}
        self._pinned_types: dict[int, Types] = {}
        self._not_inferred: set[str] = set()

    def append(self, nodes: Iterable[NodeProto], outputs: Iterable[ValueInfoProto] = ()) -> None:
        added = list(nodes)
        super().append(added, outputs)
        # What was inferred of the other tensors stays true: inference takes a quarter of a second for a transformer.
        self._not_inferred.update(name for node in added for name in node.output if name)
        if self._view is not None:
            self._view._read_nodes()
            self._view._not_inferred |= self._not_inferred

    def shape(self, tensor: str) -> Shape | None:
        """The shape of a tensor as far as it is known; None if not even the rank is.

        Adds the tensor to `unknown_shapes` if a length besides the batch is not known.
        """
        shape = self._learned.get(tensor) or self._inferred_shape(tensor)
        if self.one_image:
            if shape is None or None in shape:
                self.unknown_shapes.add(tensor)
        elif shape is None or None in (shape if self.fixed_batch is not None else shape[1:]):
            batch = self._depends_on_batch(tensor) or ({0} if self.fixed_batch is None else set())
            if shape is None or any(length is None and axis not in batch for axis, length in enumerate(shape)):
                self.unknown_shapes.add(tensor)
        return shape

    def for_one_image(self) -> Graph:
        """The same graph for a single image, so that also shapes in which the batch is mixed with others are known.

        It is a view of this graph, and made once.
        """
        if self.one_image:
            return self
        if self._view is None:
            view = copy.copy(self)
            view.one_image, view._learned, view.unknown_shapes = True, {}, set()
            view._not_inferred = set(self._not_inferred)
            view.__dict__.pop("fixed_batch", None)
            self._view = view
        return self._view

    def leads(self, tensor: str) -> bool:
        """Whether the first axis of a tensor counts images; in a graph for any number, it is taken to do so."""
        return not self.one_image or (self.shape(tensor) or ())[:1] == (1,)

    def inner(self, tensor: str) -> Shape:
        """The lengths of a tensor's axes without the first, if that counts images."""
        return (self.shape(tensor) or ())[int(self.leads(tensor)) :]

    def known_shapes(self, tensors: Iterable[str]) -> dict[str, Shape]:
        """The shapes of some tensors, as far as they are known."""
        shapes = {tensor: self.shape(tensor) for tensor in tensors}
        return {tensor: shape for tensor, shape in shapes.items() if shape is not None}

    def learn(self, shapes: Mapping[str, Shape]) -> None:
        """Take shapes that were measured in a run, for tensors that inference leaves open."""
        for tensor, shape in shapes.items():
            inferred = self._inferred_shape(tensor)
            if inferred is None or None in inferred:
                self._learned[tensor] = shape

    def _inferred_shape(self, tensor: str) -> Shape | None:
        if self.one_image:
            shape = self._type(tensor)[1]
            return shape if shape is not None and None not in shape else self._type(tensor, 1)[1] or shape
        shape = self._type(tensor)[1]
        if shape is not None and None not in shape[1:]:
            return shape
        # Shapes that are computed at run time are known once the number of images is.
        few, more = self._pinned_shapes(tensor)
        if few is None or (shape is not None and len(shape) != len(few)):
            return shape
        settled = tuple(own if own == other else None for own, other in zip(few, more or few, strict=True))
        if shape is None:
            return (None, *settled[1:]) if few[:1] == (_PINNED,) else settled
        return tuple(own or other for own, other in zip(shape, settled, strict=True))

    def _pinned_shapes(self, tensor: str) -> tuple[Shape | None, Shape | None]:
        """A tensor's shapes for two images and for three, where the model leaves their number open."""
        few, more = (self._type(tensor, count)[1] for count in (_PINNED, _PINNED + 1))
        return few, more if few is not None and more is not None and len(few) == len(more) else None

    def _depends_on_batch(self, tensor: str) -> set[int]:
        """The axes whose length changes with the number of images."""
        few, more = self._pinned_shapes(tensor)
        return set() if few is None or more is None else {axis for axis in range(len(few)) if few[axis] != more[axis]}

    def batch_axis(self, tensor: str) -> int | None:
        """The axis of a tensor that counts photographs alone; None if there is no such axis."""
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
        """How many photographs the model takes at once; None if any number."""
        if self.one_image:
            return 1
        shape = self._type(self.inputs[0].name)[1] if self.inputs else None
        return shape[0] if shape is not None and len(shape) == 4 else 1

    def dtype(self, tensor: str) -> int:
        """The element type of a tensor (`TensorProto.FLOAT`, ...); 0 if unknown."""
        return self._type(tensor)[0]

    def epsilon(self, tensor: str) -> float:
        """The precision of a tensor's element type: the distance from 1 to the next larger number."""
        return _EPSILONS.get(self.dtype(tensor), 2.0**-23)

    def is_stored(self, tensor: str) -> bool:
        """Whether a tensor is constant whatever the shapes are."""
        return super().is_constant(tensor)

    def is_constant(self, tensor: str) -> bool:
        """As `NodeIndex.is_constant`; for one image, also what is made from shapes, which are all known then."""
        return self.is_stored(tensor) or (self.one_image and self.is_from_shapes(tensor))

    def constant(self, tensor: str) -> np.ndarray:
        """As `NodeIndex.constant`.

        Raises
        ------
        HeadError
            It is made from shapes that are not known.
        """
        if self.is_stored(tensor):
            return super().constant(tensor)
        value = self.value_from_shapes(tensor)
        if value is None:
            raise HeadError(f"{tensor!r} is computed from shapes that are not known")
        return value

    def value_from_shapes(self, tensor: str) -> np.ndarray | None:
        """The value, for one image, of a tensor that is computed from shapes alone; None if it is not."""
        return self._value_from_shapes(tensor, self._types_for(1))

    def value_for_two_images(self, tensor: str) -> np.ndarray | None:
        """The value, for two images, of a tensor that is computed from shapes alone; None if it is not."""
        return self._value_from_shapes(tensor, self._types_for(_PINNED))

    def _value_from_shapes(self, tensor: str, types: Types) -> np.ndarray | None:
        if self.is_stored(tensor):
            return super().constant(tensor)
        nodes: dict[int, NodeProto] = {}
        constants: dict[str, np.ndarray] = {}
        todo, seen = [tensor], set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if self.is_stored(name):
                constants[name] = super().constant(name)
                continue
            node = self.producer(name)
            if node is None or node.op_type in RANDOM or len(nodes) > _MOST_NODES:
                return None
            if node.op_type == "Shape":
                read = node.input[0]
                shape = self.shape(read) if self.one_image else types.get(read, (0, None))[1]
                if shape is None or None in shape:
                    return None
                kept = shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))]
                constants[name] = np.asarray(kept, dtype=np.int64)
                continue
            nodes[self.position(name)] = node
            todo += reads(node)
        values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        try:
            return self.evaluate([nodes[position] for position in sorted(nodes)], values, tensor)
        except Exception:  # whatever ONNX's reference implementation raises: the value stays unknown
            return None

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
        return infer_types(copy_for_inference(self.model))

    def _types_for(self, batch: int) -> Types:
        if batch not in self._pinned_types:
            self._pinned_types[batch] = self._inferred_for(batch)
        return self._pinned_types[batch]

    def _inferred_for(self, batch: int) -> Types:
        light = copy_for_inference(self.model)
        pin_batch(light, batch)
        types = infer_types(light)
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
            types = infer_types(light)
        return types
