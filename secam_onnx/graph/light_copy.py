"""Copies of a model without its weights, which may be more than protobuf can serialise and take long to copy."""

from __future__ import annotations

from onnx import ModelProto, helper

__all__ = ["with_initializers_as_inputs", "without_initializers"]

_IR_VERSION = 4  # from here on initializers need not be inputs


def without_initializers(model: ModelProto) -> ModelProto:
    """A copy of a model without its initializers, and without what does not say how to run it."""
    copy = ModelProto(opset_import=model.opset_import, functions=model.functions, domain=model.domain)
    copy.ir_version = max(model.ir_version, _IR_VERSION)
    copy.graph.name = model.graph.name
    for field in ("node", "output", "value_info", "sparse_initializer", "quantization_annotation"):
        getattr(copy.graph, field).extend(getattr(model.graph, field))
    names = {tensor.name for tensor in model.graph.initializer}
    copy.graph.input.extend(value for value in model.graph.input if value.name not in names)
    return copy


def with_initializers_as_inputs(model: ModelProto) -> ModelProto:
    """The same copy, which is whole: the initializers are inputs of their types and shapes, behind the others."""
    copy = without_initializers(model)
    copy.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in model.graph.initializer
    )
    return copy
