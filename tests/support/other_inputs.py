"""A small classifier for inputs of any shape: a convolution, ReLU, global average pool, one layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

__all__ = ["CLASSES", "SIZE", "classifier_of"]

CLASSES = 5
SIZE = 32
_HEAD = (
    "f = Conv <strides = [4, 4], pads = [1, 1, 1, 1]> (x, w) r = Relu (f) p = GlobalAveragePool (r) "
    "v = Flatten (p) l = Gemm <transB = 1> (v, fc, b) "
)
_INTEGERS = {"i_0": [0], "i_1": [1], "i_3": [3], "i_0_1": [0, 1], "nchw": [-1, 1, SIZE, SIZE], "minus": [-1]}


def classifier_of(
    shape: Sequence[int | str | None],
    body: str = "x = Identity (image)",
    channels: int = 1,
    *,
    end: str = "logits = Identity (l)",
    scores: Sequence[int | str] = ("N", CLASSES),
    dtype: int = TensorProto.FLOAT,
    seed: int = 0,
) -> ModelProto:
    """A classifier whose input `image` has a shape.

    `body` makes `x (N, channels, H, W)` of it, `end` makes `logits`, of the shape `scores`, of `l (N, CLASSES)`; both
    in ONNX's text format.
    """
    random = np.random.default_rng(seed)
    weights = {"w": (6, channels, 3, 3), "fc": (CLASSES, 6), "b": (CLASSES,)}
    values = {name: random.normal(0, 0.5, lengths).astype(np.float32) for name, lengths in weights.items()}
    values["zero"] = np.array(0)
    values |= {name: np.array(numbers, dtype=np.int64) for name, numbers in _INTEGERS.items()}
    text = f'<ir_version: 8, opset_import: ["" : 18]> g (float i) => (float o) {{ {body} {_HEAD} {end} }}'
    model = parser.parse_model(text)
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in values.items() if name in read
    )
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, list(shape)))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, list(scores)))
    onnx.checker.check_model(model)
    return model
