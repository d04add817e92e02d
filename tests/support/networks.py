"""Classifiers for every way that a fused graph is written, each a small network but for the default model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tiny_models import classifier
from token_networks import joint_transformer, transformer
from variants import noise, quantised

from secam_onnx.default_model import default_model
from secam_onnx.fusion import Fusion

__all__ = ["NETWORKS", "Network"]

_SIZE = 96


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes
    ----------
    write : callable
        Takes an empty folder; gives the file of the model that is not fused yet.
    head, algebra : str
        What it is there for: how its head is read.
    fusion : Fusion
        How it is fused.
    batch : int or None
        How many pictures it takes at once, where that is fixed.
    """

    write: Callable[[Path], Path]
    head: str
    algebra: str = "piecewise linear"
    fusion: Fusion = field(default_factory=lambda: Fusion(default_classes=False))
    batch: int | None = None


def _saved(model: ModelProto, folder: Path) -> Path:
    path = folder / "plain.onnx"
    onnx.save(model, path)
    return path


def _channels_last(model: ModelProto) -> ModelProto:
    """Pictures `(N, H, W, C)`, and a feature map of such a layout."""
    graph = model.graph
    graph.node[0].input[0] = "planes"
    graph.node.insert(0, helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", _SIZE, _SIZE, 3])
    graph.input[0].CopyFrom(image)
    relu = next(index for index, node in enumerate(graph.node) if node.op_type == "Relu")
    graph.node[relu].output[0] = "active_planes"
    graph.node.insert(relu + 1, helper.make_node("Transpose", ["active_planes"], ["feature_map"], perm=[0, 2, 3, 1]))
    pool = next(index for index, node in enumerate(graph.node) if node.op_type == "GlobalAveragePool")
    del graph.node[pool]
    graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "axes"))
    graph.node.insert(pool, helper.make_node("ReduceMean", ["feature_map", "axes"], ["pooled"], keepdims=1))
    return model


def _smooth(model: ModelProto) -> ModelProto:
    """The hidden layer's ReLU becomes a hard swish."""
    next(node for node in model.graph.node if node.output[0] == "active").op_type = "HardSwish"
    return model


def _tiny(head: str = "gap+fc", change: Callable[[ModelProto], ModelProto] = lambda model: model, **options: object):
    return lambda folder: _saved(change(classifier(head, size=_SIZE, **options)), folder)


def _int8(folder: Path) -> Path:
    model = classifier("gap+fc", size=_SIZE)
    return _saved(quantised(model, folder, noise(model)), folder)


def _square(activation: str) -> Callable[[Path], Path]:
    """A hidden layer with as many inputs as outputs, whose weights are read as they are and transposed."""
    random = np.random.default_rng(0)
    shapes = {"c": (4, 3, 8, 8), "a": (64, 64), "ab": (64,), "b": (64, 5), "bb": (5,)}
    weights = {name: (0.3 * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    model = onnx.parser.parse_model(
        "<ir_version: 8, opset_import: ['': 17]> g (float[N, 3, 32, 32] image) => (float[N, 5] logits) {"
        "planes = Conv <strides = [8, 8]> (image, c) f = Relu (planes) v = Flatten (f) u = Gemm (v, a, ab)"
        f"r = {activation} (u) logits = Gemm (r, b, bb) }}".replace("'", '"')
    )
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return lambda folder: _saved(model, folder)


NETWORKS = {
    "default": Network(lambda folder: default_model(), "gap + fc"),
    "mlp": Network(_tiny("mlp"), "flatten + fc + relu + fc"),
    "channels last": Network(_tiny("gap+fc", _channels_last), "gap + fc"),
    "smooth": Network(_tiny("mlp", _smooth), "flatten + fc + hardswish + fc", "smooth"),
    "not understood": Network(_tiny("gap+sin+fc"), "not understood", "unknown"),
    "batch of one": Network(_tiny(input_shape=[1, 3, _SIZE, _SIZE]), "gap + fc", batch=1),
    "float16": Network(_tiny("mlp"), "flatten + fc + relu + fc", fusion=Fusion(default_classes=False, float16=True)),
    "int8": Network(_int8, "gap + fc", "rounded"),
    "class token": Network(
        lambda folder: _saved(transformer(1, 0, positions_first=True), folder),
        "1 attention block + fc",
        "detached",
    ),
    "class token, batch inside": Network(
        lambda folder: _saved(joint_transformer(), folder),
        "1 attention block + fc",
        "detached",
        batch=1,
    ),
    "square": Network(_square("Relu"), "flatten + fc + relu + fc"),
    "square and smooth": Network(_square("HardSwish"), "flatten + fc + hardswish + fc", "smooth"),
    "default classes": Network(_tiny(), "gap + fc", fusion=Fusion(top_k=3)),
}
"""By what is special about each."""
