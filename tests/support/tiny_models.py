"""Small ONNX image classifiers with seeded random weights, made for the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["HEADS", "classifier", "mlp_on_pixels", "renamed", "tokens", "two_inputs"]

_STRIDE = 4
_HIDDEN = 10


@dataclass
class _Nodes:
    """Nodes and weights of a graph in the making."""

    seed: int
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def weight(self, name: str, *shape: int) -> str:
        values = self._random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def fc(self, x: str, output: str, inputs: int, outputs: int) -> str:
        weights = [self.weight(f"{output}.weight", outputs, inputs), self.weight(f"{output}.bias", outputs)]
        return self.op("Gemm", [x, *weights], output, transB=1)

    def gap(self, x: str) -> str:
        return self.op("Flatten", [self.op("GlobalAveragePool", [x], "pooled")], "flat")


def _gap_fc(nodes: _Nodes, x: str, channels: int, cells: int, classes: int) -> None:
    nodes.fc(nodes.gap(x), "logits", channels, classes)


def _flatten_fc(nodes: _Nodes, x: str, channels: int, cells: int, classes: int) -> None:
    nodes.fc(nodes.op("Flatten", [x], "flat"), "logits", channels * cells, classes)


def _mlp(nodes: _Nodes, x: str, channels: int, cells: int, classes: int) -> None:
    hidden = nodes.fc(nodes.op("Flatten", [x], "flat"), "hidden", channels * cells, _HIDDEN)
    nodes.fc(nodes.op("Relu", [hidden], "active"), "logits", _HIDDEN, classes)


def _gap_sin_fc(nodes: _Nodes, x: str, channels: int, cells: int, classes: int) -> None:
    nodes.fc(nodes.op("Sin", [nodes.gap(x)], "wave"), "logits", channels, classes)


HEADS: dict[str, Callable[[_Nodes, str, int, int, int], None]] = {
    "gap+fc": _gap_fc,
    "flatten+fc": _flatten_fc,
    "mlp": _mlp,
    "gap+sin+fc": _gap_sin_fc,
}
"""The last one cannot be explained: a sine is not piecewise linear."""


def classifier(
    head: str = "gap+fc",
    *,
    classes: int = 7,
    size: int = 32,
    channels: int = 6,
    layers: int = 1,
    input_shape: Sequence[int | str] | None = None,
    softmax: bool = False,
    seed: int = 0,
) -> ModelProto:
    """A convolution or several, then one of `HEADS`.

    The input `image` is `(N, 3, size, size)`, the feature map `feature_map` is `(N, channels, size / 4, size / 4)`, the
    output is `logits`, or `probabilities` with a softmax. `layers` adds convolutions of stride 1, which cost time;
    `input_shape` declares another input, whose second axis the first convolution follows where it is a number.
    """
    nodes = _Nodes(seed)
    shape = ["N", 3, size, size] if input_shape is None else list(input_shape)
    colours = shape[1] if len(shape) == 4 and isinstance(shape[1], int) else 3
    x = "image"
    for layer in range(layers):
        last, stride = layer == layers - 1, _STRIDE if layer == layers - 1 else 1
        weight = nodes.weight(f"conv{layer}.weight", channels, channels if layer else colours, 3, 3)
        x = nodes.op("Conv", [x, weight], f"conv{layer}", strides=[stride, stride], pads=[1, 1, 1, 1])
        x = nodes.op("Relu", [x], "feature_map" if last else f"relu{layer}")
    HEADS[head](nodes, x, channels, (size // _STRIDE) ** 2, classes)
    output = nodes.op("Softmax", ["logits"], "probabilities", axis=-1) if softmax else "logits"
    return _model(nodes, {"image": shape}, {output: ["N", classes]})


def mlp_on_pixels(*, classes: int = 7, size: int = 8, seed: int = 0) -> ModelProto:
    """Fully connected layers on the flattened image: nowhere a feature map."""
    nodes = _Nodes(seed)
    _mlp(nodes, "image", 3, size * size, classes)
    return _model(nodes, {"image": ["N", 3, size, size]}, {"logits": ["N", classes]})


def two_inputs(*, size: int = 32) -> ModelProto:
    """A classifier that wants a second picture, which it adds to the first."""
    model = classifier(size=size)
    first = model.graph.node[0]
    first.input[0] = "sum"
    model.graph.node.insert(0, helper.make_node("Add", ["image", "other"], ["sum"], name="node_sum"))
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 3, size, size]))
    return model


def _model(nodes: _Nodes, inputs: dict[str, Sequence], outputs: dict[str, Sequence]) -> ModelProto:
    def declared(tensors: dict[str, Sequence]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]

    graph = helper.make_graph(nodes.nodes, "tiny", declared(inputs), declared(outputs), nodes.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def renamed(model: ModelProto, names: Mapping[str, str]) -> ModelProto:
    """The same model with other tensor names, in place."""
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for entry in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        entry.name = names.get(entry.name, entry.name)
    return model


_ATTENTION = (
    "q = MatMul (c, wq) k = MatMul (c, wk) v = MatMul (c, wv) kt = Transpose <perm = [0, 2, 1]> (k) "
    "qk = MatMul (q, kt) p = Softmax (qk) o = MatMul (p, v) s = Add (c, o)"
)


def tokens(channels: int, edge: int, prefix: int) -> ModelProto:
    """Patches, transposed to tokens, a position embedding, one layer of attention, and a mean or the first token."""
    chance = np.random.default_rng(0)
    length, classes = edge * edge, 5
    last = (
        f"c = Concat <axis = 1> (e, a) {_ATTENTION} u = Gather <axis = 1> (s, zero)"
        if prefix
        else f"c = Identity (a) {_ATTENTION} u = ReduceMean <axes = [1], keepdims = 0> (s)"
    )
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[N, 3, {8 * edge}, {8 * edge}] x) => (float[N, {classes}] z) '
        "{ f = Conv <strides = [8, 8]> (x, kernel) r = Reshape (f, flat) t = Transpose <perm = [0, 2, 1]> (r) "
        "a = Add (t, position) n = Shape <end = 1> (a) es = Concat <axis = 0> (n, rest) e = Expand (start, es) "
        f"{last} z = MatMul (u, head) }}"
    )
    shapes = {
        "kernel": (channels, 3, 8, 8),
        "position": (1, length, channels),
        "start": (1, prefix or 1, channels),
        **dict.fromkeys(("wq", "wk", "wv"), (channels, channels)),
        "head": (channels, classes),
    }
    values = {name: (chance.normal(size=shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}
    integers = {"flat": [0, channels, -1], "rest": [prefix or 1, channels]}
    values |= {name: np.array(value) for name, value in integers.items()} | {"zero": np.array(0)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return model
