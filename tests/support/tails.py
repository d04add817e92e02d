"""Small networks that end in all the ways in which a classifier can: a tail behind the logits `z`, as ONNX text.

Constants of a tail need no declaration; see `heads.constants_of`; `zero` is that of uint8.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from heads import constants_of
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from secam_onnx import Explainer

__all__ = ["PICTURE", "network", "own_values", "saved", "with_maps"]

PICTURE = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)

_CHANNELS = 6


def network(tail: str, outputs: str = "y", *, classes: int = 4, opset: int = 18, seed: int = 0) -> ModelProto:
    """Convolution, ReLU, GAP, FC with `classes` outputs `z`, then the tail.

    `outputs` are names, each perhaps with a type in front (`int64[N] label`); the logits are of about +-2.
    """
    random = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {
        "net_w": random.normal(0, 0.3, (_CHANNELS, 3, 3, 3)),
        "net_b": random.normal(0, 0.3, _CHANNELS),
        "net_f": random.normal(0, 2.0, (classes, _CHANNELS)),
        "net_c": random.normal(0, 0.5, classes),
    }
    if " zero" in tail:
        values["zero"] = np.array(0, np.uint8)
    declared = ", ".join(name if "[" in name else f"float[N, M] {name}" for name in outputs.split("; "))
    text = (
        f'<ir_version: 8, opset_import: ["" : {opset}, "ai.onnx.ml" : 3]> tail (float[N, 3, 32, 32] x) => ({declared}) '
        "{ net_0 = Conv <strides = [4, 4], pads = [1, 1, 1, 1]> (x, net_w, net_b) f = Relu (net_0) "
        f"net_p = GlobalAveragePool (f) net_q = Flatten (net_p) z = Gemm <transB = 1> (net_q, net_f, net_c) {tail} }}"
    )
    model = parser.parse_model(text)
    for name, array in {**values, **constants_of(tail)}.items():
        exact = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(exact), name))
    return model


def with_maps(model: ModelProto, name: str, key: int = TensorProto.STRING) -> ModelProto:
    """The same with one more output, a sequence of maps, as ZipMap gives it."""
    value = onnx.ValueInfoProto(name=name)
    entry = value.type.sequence_type.elem_type.map_type
    entry.key_type = key
    entry.value_type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.output.append(value)
    return model


def saved(model: ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Where it lies."""
    file = folder / name
    file.write_bytes(model.SerializeToString())
    return file


def own_values(
    file: Path, explainer: Explainer, picture: np.ndarray = PICTURE, tensor: str | None = None
) -> np.ndarray:
    """What the untouched file says in plain ONNX Runtime: one of its tensors, the first output by default."""
    model = onnx.load(file)
    if tensor is not None and tensor not in {value.name for value in model.graph.output}:
        model.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    preprocessing = explainer.preprocessing
    given = preprocessing.normalise(preprocessing.crop(PICTURE)[0])
    (value,) = session.run([tensor or session.get_outputs()[0].name], {"x": given})
    return np.asarray(value)
