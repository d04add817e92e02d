"""The same classifier as files that say it in other ways: quantised, in half precision, with weights elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["VARIANTS", "Variant", "optimised", "quantised", "to_float16"]

Change = Callable[[ModelProto, Path], ModelProto | None]


@dataclass(frozen=True)
class Variant:
    """A change of a model, and how far its logits may move by it, relative to their largest.

    Attributes
    ----------
    change : callable
        Takes a model and an empty folder; gives another one or changes it in place. A model that it writes to
        `model.onnx` in the folder counts instead.
    tolerance : float
        0 where not a bit may change.
    algebra : str
        Of the head of a classifier that is piecewise linear.
    """

    change: Change
    tolerance: float = 0.0
    algebra: str = "piecewise linear"


def quantised(model: ModelProto, folder: Path, inputs: list[np.ndarray], **options: object) -> ModelProto:
    """int8 weights and uint8 activations, calibrated on some inputs, as ONNX Runtime's quantiser writes them."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self._rest, None)
            return None if x is None else {model.graph.input[0].name: x}

    settings = {"quant_format": quantization.QuantFormat.QDQ, "weight_type": quantization.QuantType.QInt8}
    logging.disable(logging.WARNING)  # it recommends to prepare the model first
    try:
        onnx.save(model, folder / "float.onnx")
        quantization.quantize_static(folder / "float.onnx", folder / "model.onnx", Reader(), **{**settings, **options})
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(folder / "model.onnx")


def noise(model: ModelProto) -> list[np.ndarray]:
    shape = [dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    random = np.random.default_rng(1)
    return [random.standard_normal(shape).astype(np.float32) for _ in range(4)]


def qdq(**options: object) -> Change:
    return lambda model, folder: quantised(model, folder, noise(model), **options)


def prepared(model: ModelProto, folder: Path) -> ModelProto:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save(model, folder / "raw.onnx")
    quant_pre_process(str(folder / "raw.onnx"), str(folder / "prepared.onnx"))
    return quantised(onnx.load(folder / "prepared.onnx"), folder, noise(model), per_channel=True)


def dynamic(model: ModelProto, folder: Path) -> None:
    from onnxruntime import quantization

    logging.disable(logging.WARNING)
    try:
        onnx.save(model, folder / "float.onnx")
        quantization.quantize_dynamic(folder / "float.onnx", folder / "model.onnx")
    finally:
        logging.disable(logging.NOTSET)


def to_float16(model: ModelProto, *, keep_io_types: bool) -> ModelProto:
    """As onnxconverter-common and ONNX Runtime convert models."""
    from onnxruntime.transformers import float16

    return float16.convert_float_to_float16(model, keep_io_types=keep_io_types)


def bfloat16_storage(model: ModelProto, folder: Path) -> None:
    def stored(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
        half = value.astype(ml_dtypes.bfloat16)
        tensor = TensorProto(name=f"{name}_half", data_type=TensorProto.BFLOAT16, dims=value.shape)
        tensor.raw_data = half.tobytes()
        return [tensor], [helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT)]

    elsewhere(stored)(model, folder)


def elsewhere(move: Callable[[str, np.ndarray], tuple[list[TensorProto], list[NodeProto]]]) -> Change:
    """Every float weight is made by nodes that `move` writes."""

    def change(model: ModelProto, folder: Path) -> None:
        weights = [(tensor.name, numpy_helper.to_array(tensor)) for tensor in model.graph.initializer]
        kept = [numpy_helper.from_array(value, name) for name, value in weights if value.dtype != np.float32]
        nodes: list[NodeProto] = []
        for name, value in weights:
            if value.dtype == np.float32:
                tensors, made = move(name, value)
                kept += tensors
                nodes += made
        nodes += [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
        del model.graph.initializer[:], model.graph.node[:]
        model.graph.initializer.extend(kept)
        model.graph.node.extend(nodes)

    return change


def as_constant(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
    return [], [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))]


def behind_transpose(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
    turned = numpy_helper.from_array(np.ascontiguousarray(value.T), f"{name}_turned")
    return [turned], [helper.make_node("Transpose", [turned.name], [name])]


def behind_identity(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
    return [numpy_helper.from_array(value, f"{name}_0")], [
        helper.make_node("Identity", [f"{name}_0"], [f"{name}_1"]),
        helper.make_node("Identity", [f"{name}_1"], [name]),
    ]


def behind_cast(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
    half = numpy_helper.from_array(value.astype(np.float16), f"{name}_half")
    return [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]


def behind_dequantize(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
    step = np.float32(np.abs(value).max() / 127)
    codes = numpy_helper.from_array(np.round(value / step).astype(np.int8), f"{name}_codes")
    return [codes, numpy_helper.from_array(step, f"{name}_step")], [
        helper.make_node("DequantizeLinear", [f"{name}_codes", f"{name}_step"], [name])
    ]


def behind_constant_of_shape(name: str, value: np.ndarray) -> tuple[list[TensorProto], list[NodeProto]]:
    """A shape, filled with ones, times the weights, whose own shape is then one number short of known."""
    shape = numpy_helper.from_array(np.array(value.shape), f"{name}_shape")
    ones = numpy_helper.from_array(np.ones(1, np.float32))
    return [shape, numpy_helper.from_array(value, f"{name}_values")], [
        helper.make_node("ConstantOfShape", [shape.name], [f"{name}_ones"], value=ones),
        helper.make_node("Mul", [f"{name}_ones", f"{name}_values"], [name]),
    ]


def external(model: ModelProto, folder: Path) -> None:
    options = {"save_as_external_data": True, "location": "model.data", "size_threshold": 0}
    onnx.save(model, folder / "model.onnx", **options)


def external_constants(model: ModelProto, folder: Path) -> None:
    elsewhere(as_constant)(model, folder)
    options = {"save_as_external_data": True, "location": "model.data", "size_threshold": 0, "convert_attribute": True}
    onnx.save(model, folder / "model.onnx", **options)


def initializers_as_inputs(model: ModelProto, folder: Path) -> None:
    """IR version 3, as Caffe2's and MXNet's exporters wrote it."""
    model.opset_import[0].version, model.ir_version = 8, 3
    model.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in model.graph.initializer
    )
    onnx.checker.check_model(model)


def opset(version: int) -> Change:
    """Its operators are the same since opset 7."""

    def change(model: ModelProto, folder: Path) -> None:
        model.opset_import[0].version = version
        onnx.checker.check_model(model)

    return change


def unsorted(model: ModelProto, folder: Path) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


def input_of(*dims: int | str) -> Change:
    def change(model: ModelProto, folder: Path) -> None:
        value = model.graph.input[0]
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, dims))
        output = model.graph.output[0]
        classes = output.type.tensor_type.shape.dim[1].dim_value
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [dims[0], classes]))

    return change


def functions(model: ModelProto, folder: Path) -> None:
    """All nodes in a function, which another one calls."""
    weights = [tensor.name for tensor in model.graph.initializer]
    image, logits = model.graph.input[0].name, model.graph.output[0].name
    opsets = [model.opset_import[0], helper.make_opsetid("own", 1)]
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    inputs = [image, *weights]
    call = helper.make_node("Inner", inputs, [logits], domain="own")
    model.functions.append(helper.make_function("own", "Inner", inputs, [logits], nodes, opsets[:1]))
    model.functions.append(helper.make_function("own", "Outer", inputs, [logits], [call], opsets))
    model.opset_import.append(opsets[1])
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Outer", inputs, [logits], domain="own"))


def optimised(level: str) -> Change:
    def change(model: ModelProto, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
        options.optimized_model_filepath = str(folder / "model.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return change


def slimmed(model: ModelProto, folder: Path) -> ModelProto:
    import onnxslim

    return onnxslim.slim(model)


ROUNDED = {"tolerance": 0.15, "algebra": "rounded"}  # random weights; a trained network moves by a hundredth
VARIANTS = {
    "as it is": Variant(lambda model, folder: None),
    "int8": Variant(qdq(), **ROUNDED),
    "int8 per channel": Variant(qdq(per_channel=True), **ROUNDED),
    "int8 prepared": Variant(prepared, **ROUNDED),
    "int8 of the runtime's own domain": Variant(qdq(extra_options={"UseQDQContribOps": True}), **ROUNDED),
    "int8 dynamic": Variant(dynamic, **ROUNDED),
    "float16": Variant(lambda model, folder: to_float16(model, keep_io_types=False), 4e-3),
    "float16 between float32": Variant(lambda model, folder: to_float16(model, keep_io_types=True), 4e-3),
    "bfloat16 storage": Variant(bfloat16_storage, 2e-2),
    "constants": Variant(elsewhere(as_constant)),
    "weights behind transpose": Variant(elsewhere(behind_transpose)),
    "weights behind identity": Variant(elsewhere(behind_identity)),
    "weights behind cast": Variant(elsewhere(behind_cast), 2e-3),
    "weights behind dequantize": Variant(elsewhere(behind_dequantize), 3e-2),
    "weights behind constant of shape": Variant(elsewhere(behind_constant_of_shape)),
    "external data": Variant(external),
    "external data of constants": Variant(external_constants),
    "IR 3": Variant(initializers_as_inputs),
    **{f"opset {version}": Variant(opset(version)) for version in (7, 8, 9, 11, 13, 20, 23)},
    "batch of 1": Variant(input_of(1, 3, 32, 32)),
    "batch of 4": Variant(input_of(4, 3, 32, 32)),
    "any height and width": Variant(input_of("N", 3, "H", "W")),
    "functions": Variant(functions),
    "out of order": Variant(unsorted),
    "optimised, basic": Variant(optimised("BASIC"), 1e-5),
    "slimmed": Variant(slimmed, 1e-5),
}
