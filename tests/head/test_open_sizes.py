"""Models that take images of any size: the same contribution model as for one size, run at several."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, build, run

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.head import BIAS, CAM, CLASS_IDS, FEATURES, GAP, contribution_model, find_head
from secam_onnx.head.masking import PARTS, each_cell
from secam_onnx.head_query import HeadQuery

FC = "p = GlobalAveragePool ({}) v = Flatten (p) logits = Gemm (v, w_4x5, b_5)"
HEADS = {
    "gap": FC.format("f"),
    "mean": "v = ReduceMean <keepdims = 0> (f, i_2_3) logits = Gemm (v, w_4x5, b_5)",
    "maximum": "v = ReduceMax <keepdims = 0> (f, i_2_3) logits = Gemm (v, w_4x5, b_5)",
    "relu": "r = Relu (f) " + FC.format("r"),
    "batch norm": "n = BatchNormalization (f, w_4, b_4, w_4, p_4) r = Clip (n, c_0, c_6) " + FC.format("r"),
    "1 x 1": "c = Conv (f, w_5x4x1x1, b_5) p = GlobalAveragePool (c) logits = Flatten (p)",
    "3 x 3": "c = Conv <pads = [1, 1, 1, 1]> (f, w_4x4x3x3, b_4) r = Relu (c) " + FC.format("r"),
    "3 x 3, padded automatically": 'c = Conv <auto_pad = "SAME_UPPER"> (f, w_4x4x3x3, b_4) '
    "r = Relu (c) " + FC.format("r"),
    "windows": "a = AveragePool <kernel_shape = [2, 2]> (f) " + FC.format("a"),
    "windows, maximum": "a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (f) " + FC.format("a"),
    "skip connection": "c = Conv (f, w_4x4x1x1) a = Add (c, f) r = Relu (a) " + FC.format("r"),
    "squeeze and excite": "g = GlobalAveragePool (f) s = Sigmoid (g) m = Mul (f, s) " + FC.format("m"),
    "group norm": "i = InstanceNormalization (f, p_4, b_4) " + FC.format("i"),
    "layer norm": "t = Transpose <perm = [0, 2, 3, 1]> (f) n = LayerNormalization (t, w_4) "
    "v = ReduceMean <keepdims = 0> (n, i_1_2) logits = MatMul (v, w_4x5)",
    "two halves": "a, b = Split <axis = 1> (f, i_1_3) c = Concat <axis = 1> (b, a) " + FC.format("c"),
    "not understood": "c = Cos (f) " + FC.format("c"),
}


@pytest.mark.parametrize("body", HEADS.values(), ids=HEADS)
def test_any_size(body: str) -> None:
    graph = Graph(build(body, shape=(4, "H", "W")))
    head = find_head(graph, HeadQuery(features="f"))
    assert head.grid.shape == (4, None, None)
    derived = contribution_model(graph, head)
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    for size in ((5, 4), (2, 3)):
        features = np.random.default_rng(1).standard_normal((3, 4, *size)).astype(np.float32)
        feed = {FEATURES: features, CLASS_IDS: CLASS_IDS_ASKED}
        if not head.understood:  # what is a part has no default where the number of cells is open
            feed[PARTS] = np.tile(each_cell(*size), (3, 1, 1))
        found = session.run([CAM, BIAS, GAP], feed)
        for one, other in zip(found, run(build(body, shape=(4, *size)), features), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_tokens_of_any_number_are_refused_without_a_grid() -> None:
    tokens = "g = Reshape (f, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (g) y = Relu (t) "
    body = tokens + "p = ReduceMean <keepdims = 0> (y, i_1) logits = MatMul (p, w_4x5)"
    head = find_head(Graph(build(body, shape=(4, "H", "W"))))
    assert head.features == "f"
    assert "unknown number of tokens" in " ".join(entry.reason for entry in head.rejected)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("a = AveragePool <kernel_shape = [3, 3], strides = [2, 2]> (f)", "strides over an input of unknown size"),
        ("a = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (f)", "pads an input of unknown size"),
        ("a = Conv <strides = [2, 2]> (f, w_4x4x3x3)", "strides over an input of unknown size"),
    ],
)
def test_refused(node: str, reason: str) -> None:
    head = find_head(Graph(build(f"{node} {FC.format('a')}", shape=(4, "H", "W"))), HeadQuery(features="f"))
    assert not head.understood
    assert reason in " ".join(entry.reason for entry in head.rejected)
