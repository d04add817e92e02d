"""Random heads: whatever understood nodes follow each other, maps, bias and gap are the logits."""

from __future__ import annotations

import numpy as np
from heads import build, check, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.head import find_head
from secam_onnx.head_query import HeadQuery

PIECES = [  # from a map {x} to a map {y} of 4 channels; {i} makes other names unique
    "{y} = Relu ({x})",
    "{y} = LeakyRelu <alpha = 0.3> ({x})",
    "{y} = Clip ({x}, c_m0p5, c_1)",
    "{y} = Mul ({x}, p_4x1x1)",
    "{y} = Add (b_4x1x1, {x})",
    "{y} = Sub (c_1, {x})",
    "{y} = BatchNormalization ({x}, w_4, b_4, w_4, p_4)",
    "{y} = Conv <pads = [1, 1, 1, 1]> ({x}, w_4x4x3x3, b_4)",
    '{y} = Conv <auto_pad = "SAME_UPPER"> ({x}, w_4x4x2x2, b_4)',
    "{y} = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({x})",
    "{y} = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({x})",
    "r{i} = Abs ({x}) {y} = Add (r{i}, {x})",
    "{y} = Mean ({x}, {x}, {x})",
    "s{i}, t{i} = Split <axis = 1> ({x}, i_1_3) {y} = Concat <axis = 1> (t{i}, s{i})",
    "t{i} = Transpose <perm = [0, 3, 2, 1]> ({x}) u{i} = Relu (t{i}) {y} = Transpose <perm = [0, 3, 2, 1]> (u{i})",
    "m{i} = ReduceMean ({x}, i_1) {y} = Sub ({x}, m{i})",
]
CURVES = [
    "{y} = Tanh ({x})",
    "s{i} = Sigmoid ({x}) {y} = Mul ({x}, s{i})",
    "{y} = HardSwish ({x})",
    "{y} = LayerNormalization <axis = 1, epsilon = 0.1> ({x}, w_4x3x2, b_4x3x2)",
    "{y} = InstanceNormalization <epsilon = 0.1> ({x}, w_4, b_4)",
    "g{i} = GlobalAveragePool ({x}) h{i} = HardSigmoid (g{i}) {y} = Mul ({x}, h{i})",
]
POOLS = [
    "p = GlobalAveragePool ({x}) v = Flatten (p)",
    "p = GlobalMaxPool ({x}) v = Flatten (p)",
    "v = ReduceSum <keepdims = 0> ({x}, i_2_3)",
    "a = GlobalAveragePool ({x}) m = GlobalMaxPool ({x}) s = Add (a, m) v = Flatten (s)",
]
VECTORS = [
    "{y} = Gemm ({x}, w_4x4, b_4)",
    "{y} = Gemm <transB = 1, alpha = 0.5> ({x}, w_4x4)",
    "{y} = Relu ({x})",
    "{y} = Max ({x}, c_0p1)",
    "{y} = Div ({x}, p_4)",
]
VECTOR_CURVES = ["{y} = Softmax <axis = -1> ({x})", "{y} = Softplus ({x})"]


def body_of(maps: list[str], pool: str, vectors: list[str]) -> str:
    lines, x = [], "f"
    for index, template in enumerate(maps):
        lines.append(template.format(x=x, y=f"y{index}", i=index))
        x = f"y{index}"
    lines.append(pool.format(x=x))
    x = "v"
    for index, template in enumerate(vectors):
        lines.append(template.format(x=x, y=f"z{index}"))
        x = f"z{index}"
    return " ".join([*lines, f"logits = Gemm ({x}, w_4x5, b_5)"])


SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SOME_MAPS = st.lists(st.sampled_from(PIECES + CURVES), max_size=5)
SOME_VECTORS = st.lists(st.sampled_from(VECTORS + VECTOR_CURVES), max_size=3)


@SETTINGS
@given(maps=SOME_MAPS, pool=st.sampled_from(POOLS), vectors=SOME_VECTORS, seed=st.integers(0, 9))
def test_completeness(maps: list[str], pool: str, vectors: list[str], seed: int) -> None:
    body = body_of(maps, pool, vectors)
    features = np.random.default_rng(seed).standard_normal((3, 4, 3, 2)).astype(np.float32)
    classes = np.tile(np.arange(5), (3, 1))
    model = build(body)
    head = find_head(Graph(model), HeadQuery(features="f"))
    exact = not {*maps, *vectors} & {*CURVES, *VECTOR_CURVES}
    assert head.algebra == ("piecewise linear" if exact else "smooth")
    maps_found, bias, gap = run(model, features, classes)
    (logits,) = runtime.open_session(model.SerializeToString(), "cpu").run(None, {"x": features})
    size = 1 + np.abs(maps_found).sum(axis=(2, 3)) + np.abs(bias) + np.abs(gap)
    assert (np.abs(maps_found.sum(axis=(2, 3)) + bias + gap - logits) / size).max() < 1e-4
    assert not (exact and gap.any())


@settings(SETTINGS, max_examples=15)
@given(maps=SOME_MAPS, pool=st.sampled_from(POOLS), vectors=SOME_VECTORS)
def test_the_gradient_is_that_of_differences(maps: list[str], pool: str, vectors: list[str]) -> None:
    exact = not {*maps, *vectors} & {*CURVES, *VECTOR_CURVES}
    check(body_of(maps, pool, vectors), algebra="piecewise linear" if exact else "smooth", tolerance=1e-3)
