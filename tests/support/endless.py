"""Valid classifiers that never end, or that want far more memory than there is; each is a few kilobytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
import tiny_models
from onnx import ModelProto, NodeProto, numpy_helper, parser

__all__ = ["ENDLESS", "GREEDY", "endless_for_black", "long_chain"]

_TURNS = 2**62
_LOOP = (
    "s = Loop (turns, go, START) <body = turn (int64 i, bool on, float v) => (bool more, float w) "
    "{ more = Identity (on) w = Cos (v) }>"
)


def _with(text: str, tensor: str, **constants: object) -> ModelProto:
    """A small classifier that adds `s` to one of its tensors; nodes make it of constants and of that tensor, `OLD`."""
    model = tiny_models.classifier()
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    nodes = list(model.graph.node)
    place = next((index + 1 for index, node in enumerate(nodes) if tensor in node.output), 0)
    before, after = nodes[:place], nodes[place:]
    if before:
        before[-1].output[0], old = "old", "old"
    else:  # the image itself
        old = tensor
        tensor = "moved"
        after[0].input[0] = tensor
    added = list(parser.parse_graph(f"g () => () {{ {text.replace('OLD', old)} {tensor} = Add ({old}, s) }}").node)
    _replace(model, [*before, *added, *after])
    return model


def _replace(model: ModelProto, nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _loop(tensor: str) -> ModelProto:
    text = f"q = ReduceSum <keepdims = 0> (OLD) {_LOOP}"
    return _with(text.replace("START", "q"), tensor, turns=np.int64(_TURNS), go=True)


def _constant_loop(tensor: str) -> ModelProto:
    constants = {"turns": np.int64(_TURNS), "go": True, "zero": np.float32(0)}
    return _with(_LOOP.replace("START", "zero"), tensor, **constants)


def _one_kernel(tensor: str, start: str) -> ModelProto:
    """One kernel of hours; where it starts from a constant, ONNX Runtime computes it when it opens the model."""
    text = f"q = ReduceSum <keepdims = 0> ({start}) a = Expand (q, edges) "
    text += "b = MaxPool <kernel_shape = [2000, 2000]> (a) s = ReduceMean <keepdims = 0> (b)"
    return _with(text, tensor, one=np.ones(1, np.float32), edges=np.array([1, 1, 4000, 4000]))


def endless_for_black() -> ModelProto:
    """A classifier that is quick, but never ends on a black picture."""
    text = (
        "highest = ReduceMax <keepdims = 0> (OLD) is_black = Less (highest, low) one_or_none = Cast <to = 7> "
        f"(is_black) turns = Mul (one_or_none, many) {_LOOP} "
    )
    text = text.replace("START", "highest").replace("s = Loop", "r = Loop") + "s = Mul (r, none)"
    constants = {"low": np.float32(-1.5), "many": np.int64(_TURNS), "go": True, "none": np.float32(0)}
    return _with(text, "image", **constants)


def long_chain(length: int) -> ModelProto:
    """A classifier with so many nodes in a row before its first convolution."""
    model = tiny_models.classifier()
    nodes = list(model.graph.node)
    names = ["image", *(f"step{index}" for index in range(length))]
    chain = [onnx.helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    nodes[0].input[0] = names[-1]
    _replace(model, [*chain, *nodes])
    return model


ENDLESS: dict[str, Callable[[], ModelProto]] = {
    "a loop over the image": lambda: _loop("image"),
    "a loop over the feature map": lambda: _loop("feature_map"),
    "a loop over the logits": lambda: _loop("logits"),
    "a loop over constants": lambda: _constant_loop("feature_map"),
    "a kernel over the feature map": lambda: _one_kernel("feature_map", "OLD"),
    "a kernel over constants": lambda: _one_kernel("feature_map", "one"),
}
"""Models that never end, by name."""


def _greedy(text: str, **constants: object) -> Callable[[], ModelProto]:
    return lambda: _with(f"{text} s = ReduceMean <keepdims = 0> (r)", "feature_map", **constants)


_MANY = 1_500_000_000
GREEDY: dict[str, Callable[[], ModelProto]] = {
    "Range": _greedy(
        "n = Range (zero, many, one) r = Cast <to = 1> (n)", zero=np.int64(0), many=np.int64(_MANY), one=np.int64(1)
    ),
    "ConstantOfShape": _greedy("r = ConstantOfShape (many)", many=np.array([_MANY])),
    "Tile": _greedy("r = Tile (one, many)", one=np.ones(1, np.float32), many=np.array([_MANY])),
    "Expand": _greedy("e = Expand (one, many) r = Neg (e)", one=np.ones(1, np.float32), many=np.array([_MANY])),
    "Pad": _greedy("r = Pad (one, many)", one=np.ones(1, np.float32), many=np.array([0, _MANY])),
    "OneHot": _greedy(
        "r = OneHot (rows, many, ends)",
        rows=np.array([1]),
        many=np.int64(_MANY),
        ends=np.array([0, 1], np.float32),
    ),
    "Concat": _greedy(
        "".join(f"c{index + 1} = Concat <axis = 0> (c{index}, c{index}) " for index in range(30))
        + "r = Cast <to = 1> (c30)",
        c0=np.array([1, 1]),
    ),
    "Resize": _greedy(
        "l = ConstantOfShape (edges) r = Resize <mode = 'nearest'> (l, , many)".replace("'", '"'),
        edges=np.array([1, 1, 8, 8]),
        many=np.array([1, 1, 4000, 4000], np.float32),
    ),
    "data": _greedy("r = Tile (OLD, many)", many=np.array([1, 1, 2000, 1000])),
}
"""Models that want gigabytes, by the operator that makes them; that of "data" makes them of the image."""
