"""Weights outside of the models that use them: read once, shared with every session, copied into none."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from secam_onnx.errors import ModelError

__all__ = ["SharedWeights", "without_weights"]

_LARGE = 1024  # numbers in a tensor that is shared with the session instead of copied into the model
_SHARED_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT8}
_IR_VERSION = 4  # from here on initializers need not be inputs


class SharedWeights:
    """The weights that a model in the making declares; the large ones as external data.

    Parameters
    ----------
    folder : path
        Where external data lies.
    known : mapping of str to ndarray, optional
        Values that were read before.

    Attributes
    ----------
    tensors : list of TensorProto
        What the model declares.
    values : dict of str to ndarray
        The values of the large ones (see `runtime.open_session`).
    """

    def __init__(self, folder: str | os.PathLike[str] = "", known: Mapping[str, np.ndarray] | None = None) -> None:
        self._folder = os.fspath(folder)
        self._known = known or {}
        self.tensors: list[TensorProto] = []
        self.values: dict[str, np.ndarray] = {}

    def declare(self, tensor: TensorProto) -> None:
        """Add one more.

        Raises
        ------
        ModelError
            Its value cannot be read.
        """
        external = tensor.data_location == TensorProto.EXTERNAL
        if not external and (math.prod(tensor.dims) <= _LARGE or tensor.data_type not in _SHARED_TYPES):
            self.tensors.append(tensor)
            return
        value = self._known.get(tensor.name)
        if value is None:
            value = self._read(tensor)
        if value.dtype.isbuiltin != 1:  # bfloat16 and its like, which ONNX Runtime does not take from numpy
            self.tensors.append(numpy_helper.from_array(value, tensor.name))
            return
        self.values[tensor.name] = value
        bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        bare.data_location = TensorProto.EXTERNAL
        bare.external_data.add(key="location", value="shared")
        self.tensors.append(bare)

    def _read(self, tensor: TensorProto) -> np.ndarray:
        source = tensor
        if tensor.data_location == TensorProto.EXTERNAL:
            source = TensorProto()
            source.CopyFrom(tensor)  # reading would leave the data in the model
        try:
            return numpy_helper.to_array(source, self._folder)
        except Exception as error:
            raise ModelError(
                f"The weight {tensor.name!r} cannot be read ({error}); is its data file beside it?"
            ) from error


def without_weights(model: ModelProto, folder: str | os.PathLike[str] = "") -> tuple[ModelProto, dict[str, np.ndarray]]:
    """A copy of a model whose large weights are declared as external data, and their values.

    Serialising and parsing half a gigabyte again would take longer than finding the head.

    Raises
    ------
    ModelError
        A weight cannot be read.
    """
    weights = SharedWeights(folder)
    for tensor in model.graph.initializer:
        weights.declare(tensor)
    light = ModelProto(opset_import=model.opset_import, functions=model.functions, domain=model.domain)
    light.ir_version = max(model.ir_version, _IR_VERSION)
    light.graph.name = model.graph.name
    for field in ("node", "output", "value_info", "sparse_initializer", "quantization_annotation"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    names = {tensor.name for tensor in model.graph.initializer}
    light.graph.input.extend(value for value in model.graph.input if value.name not in names)
    light.graph.initializer.extend(weights.tensors)
    return light, weights.values
