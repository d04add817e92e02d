"""Weights apart from the models that use them: read once and shared by all sessions."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from secam_onnx.errors import ModelError
from secam_onnx.graph.checks.external_data import location_of, read_external_data
from secam_onnx.graph.light_copy import without_initializers
from secam_onnx.graph.node_info import reads
from secam_onnx.runtime import SharedWeights

__all__ = [
    "WeightCollector",
    "as_inputs",
    "external_initializer",
    "read_tensor",
    "share_safely",
    "without_weights",
]

_LARGE = 1024  # numbers; larger tensors are shared with the session, others copied into the model
_SHARED_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT8}
_NEVER_PERMUTED = {("Conv", 1), ("ConvTranspose", 1), ("Gemm", 1), ("MatMul", 1), ("Gather", 0)}


class WeightCollector:
    """The weights of a model that is being built; it declares the large ones as external data.

    Parameters
    ----------
    folder : path
        The folder of external data.
    known : SharedWeights, optional
        Values that were read before.

    Attributes
    ----------
    tensors : list of TensorProto
        The initializers for the model.
    values : SharedWeights
        The values of the large ones (see `runtime.open_session`).
    """

    def __init__(self, folder: str | os.PathLike[str] = "", known: SharedWeights | None = None) -> None:
        self._folder = Path(folder)
        self._known = known if known is not None else SharedWeights()
        self.tensors: list[TensorProto] = []
        # ONNX Runtime takes data from one folder only and follows links before it checks. `check_external_data` has
        # checked the places already.
        self.values = SharedWeights(root=self._folder.resolve().anchor)

    def declare(self, tensor: TensorProto) -> None:
        """Add a weight.

        Raises
        ------
        ModelError
            The value cannot be read.
        """
        external = tensor.data_location == TensorProto.EXTERNAL
        large = math.prod(tensor.dims) > _LARGE
        if not external and not (large and tensor.data_type in _SHARED_TYPES):
            self.tensors.append(tensor)
            return
        value = self._known.get(tensor.name)
        if value is None:
            value = read_tensor(tensor, self._folder)
        if not large or value.dtype.isbuiltin != 1:  # ONNX Runtime does not take bfloat16 and the like from numpy
            self.tensors.append(numpy_helper.from_array(value, tensor.name))
            return
        in_file = external and tensor.name not in self._known.copied
        location = self._location(tensor) if in_file else None
        if location is None:
            self.values.copied[tensor.name] = value
            bare = external_initializer(tensor.name, tensor.dims, tensor.data_type)
        else:
            self.values.shared[tensor.name] = value
            bare = external_initializer(tensor.name, tensor.dims, tensor.data_type, location)
            bare.external_data.extend(entry for entry in tensor.external_data if entry.key != "location")
        self.tensors.append(bare)

    def _location(self, tensor: TensorProto) -> str | None:
        """The file of external data, relative to the root; None where ONNX Runtime could not find it."""
        try:
            file = (self._folder / location_of(tensor)).resolve()
            location = file.relative_to(self.values.root).as_posix()
            location.encode()
        except ValueError:  # another drive, or a name that is not Unicode
            return None
        return location


def share_safely(model: ModelProto, weights: SharedWeights) -> None:
    """Mark weights that ONNX Runtime may transpose to be copied into the session, in place.

    ONNX Runtime binds a shared array to the initializer of that name after it has optimised the graph. The optimiser
    may push a Transpose through an Add, say, and transpose the initializer, which keeps its name; the shared array
    would then be read with the wrong axes. Only inputs that the optimiser pushes no Transpose through are safe.

    Parameters
    ----------
    model, weights
        A whole model and the values of the weights that it declares as external data.
    """
    moved = {value.name for value in model.graph.output}
    for node in model.graph.node:
        standard = node.domain in ("", "ai.onnx")
        kept = {name for slot, name in enumerate(node.input) if standard and (node.op_type, slot) in _NEVER_PERMUTED}
        moved.update(name for name in reads(node) if name not in kept)
        moved.update(name for name in kept if list(node.input).count(name) > 1)
    for tensor in model.graph.initializer:
        if tensor.name in moved and tensor.name in weights.shared:
            weights.copied[tensor.name] = weights.shared.pop(tensor.name)
            tensor.CopyFrom(external_initializer(tensor.name, tensor.dims, tensor.data_type))


def external_initializer(name: str, dims: Sequence[int], data_type: int, location: str = "in memory") -> TensorProto:
    """An initializer whose numbers are not in the model; by default they are in no file either."""
    bare = TensorProto(name=name, dims=dims, data_type=data_type, data_location=TensorProto.EXTERNAL)
    bare.external_data.add(key="location", value=location)
    return bare


def read_tensor(tensor: TensorProto, folder: str | os.PathLike[str] = "") -> np.ndarray:
    """The numbers of a tensor, from the model or from external data.

    Raises
    ------
    ModelError
        They cannot be read.
    """
    try:
        if tensor.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        data = read_external_data(tensor, Path(folder))
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if dtype.isbuiltin == 1:
            values = data.view(dtype).reshape(tensor.dims)
            return values if sys.byteorder == "little" else values.byteswap()
        whole = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data.tobytes())
        return numpy_helper.to_array(whole)
    except Exception as error:
        raise ModelError(
            f"The weight {tensor.name!r} cannot be read ({error}). Put the model's data file beside it, "
            "or export it again."
        ) from error


def without_weights(
    model: ModelProto, folder: str | os.PathLike[str] = "", known: SharedWeights | None = None
) -> tuple[ModelProto, SharedWeights]:
    """A copy of a model that declares its large weights as external data, and their values.

    To serialise and parse half a gigabyte would take longer than to find the head.

    Parameters
    ----------
    model : ModelProto
        The model.
    folder, known
        As in `WeightCollector`.

    Raises
    ------
    ModelError
        A weight cannot be read.
    """
    weights = WeightCollector(folder, known)
    # ONNX Runtime drops weights that nothing reads, and then refuses a value for them.
    read = {name for node in model.graph.node for name in reads(node)} | {value.name for value in model.graph.output}
    for tensor in model.graph.initializer:
        if tensor.name in read:
            weights.declare(tensor)
    light = without_initializers(model)
    light.graph.initializer.extend(weights.tensors)
    share_safely(light, weights.values)
    return light, weights.values


def as_inputs(model: ModelProto, weights: SharedWeights, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Turn initializers into inputs, in place, which are then fed with every run.

    On the CPU a session computes with the arrays that it is fed, but copies initializers that are in no file. This
    costs nothing where the kernels do not pack them.

    Parameters
    ----------
    model, weights
        The results of `without_weights`; both lose the initializers.
    names : iterable of str
        The initializers; small ones and those in files stay.

    Returns
    -------
    dict of str to ndarray
        The inputs to feed.
    """
    fed = {name: weights.copied.pop(name) for name in names if name in weights.copied}
    for index in reversed(range(len(model.graph.initializer))):
        tensor = model.graph.initializer[index]
        if tensor.name in fed:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
            del model.graph.initializer[index]
    return fed
