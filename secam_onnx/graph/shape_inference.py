"""ONNX's shape inference, on a copy of the model without its weights."""

from __future__ import annotations

import math

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from secam_onnx.errors import ModelError
from secam_onnx.graph.light_copy import without_initializers
from secam_onnx.graph.node_info import Shape, shape_text
from secam_onnx.graph.onnxruntime_operators import in_shape
from secam_onnx.memory import limit_growth

__all__ = ["Types", "copy_for_inference", "infer_types", "pin_batch"]

Types = dict[str, tuple[int, Shape | None]]
"""Element type and shape of tensors, by name."""

_SMALL = 1024  # numbers; larger constants are weights; inference needs only their dimensions
_MOST_MEMORY = 256 << 20  # bytes; about a second
_LARGEST = 2**31  # numbers in a tensor; no classifier of one photograph comes near


def copy_for_inference(model: ModelProto) -> ModelProto:
    """A copy with the weights' names and dimensions only, so that shape inference costs milliseconds."""
    light = without_initializers(model)
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    if any(in_shape(node)[0] is not node for node in model.graph.node):
        del light.graph.node[:]
        light.graph.node.extend(other for node in model.graph.node for other in in_shape(node, matrices))
    for node in light.graph.node:
        if node.op_type == "GroupNormalization" and not node.domain:
            # Inference does not know it; it keeps the shape.
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    for values in (light.graph.input, light.graph.output, light.graph.value_info):
        for value in values:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value == -1:  # Paddle2ONNX writes open lengths so
                    dim.Clear()
    for tensor in model.graph.initializer:
        small = math.prod(tensor.dims) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL
        bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        light.graph.initializer.append(tensor if small else bare)
    return light


def pin_batch(light: ModelProto, batch: int) -> None:
    """Give the input a fixed number of images where it is open, in place, and forget the shapes of other tensors."""
    for value in light.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4 and not dims[0].HasField("dim_value"):  # fewer axes: perhaps no batch among them
            dims[0].dim_value = batch
    for values in (light.graph.value_info, light.graph.output):
        for value in values:
            value.type.tensor_type.ClearField("shape")  # what the exporter wrote there names the batch


def infer_types(light: ModelProto) -> Types:
    """Element type and shape of all tensors of a copy for inference.

    Raises
    ------
    ModelError
        The shapes contradict each other, or a tensor is far too large.
    """
    try:
        # A vector of computed shapes takes a hundred bytes a number, and nothing interrupts this.
        with limit_growth(_MOST_MEMORY):
            inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except MemoryError as error:
        raise ModelError(
            f"The shapes of the model's tensors cannot be computed in {_MOST_MEMORY >> 20} MB. It is damaged, "
            "or computes with vectors that are far too long; export it with fixed shapes."
        ) from error
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"The model is damaged ({error}); check it with onnx.checker or export it again.") from error
    types: Types = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in light.graph.initializer}
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


def _shape_of(value: ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
