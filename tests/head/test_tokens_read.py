"""Heads that read some tokens compute only these where they can: the same values, of fewer rows."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from heads import constants_of
from onnx import ModelProto, helper, numpy_helper, parser

from secam_onnx.graph.index import Graph
from secam_onnx.head.tokens_read import only_tokens_read

TOKENS, CHANNELS = 5, 4
MLP = (
    "n = LayerNormalization <axis = -1> (X, p_4, b_4) h = MatMul (n, w_4x6) a = Add (h, b_6) e = Erf (a) "
    "g = Mul (a, e) m = MatMul (g, w_6x4) y = Add (m, X) "
)
QKV = (
    "l = MatMul (X, w_4x12) q, k, v = Split <axis = -1, num_outputs = 3> (l) u = Transpose <perm = [0, 2, 1]> (k) "
    "s = MatMul (q, u) z = Mul (s, c_0p5) p = Softmax (z) o = MatMul (p, v) "
)
HEADS = (
    "l = MatMul (X, w_4x12) r = Reshape (l, i_0_m1_3_2_2) t = Transpose <perm = [2, 0, 3, 1, 4]> (r) "
    "q, k, v = Split <axis = 0, num_outputs = 3> (t) u = Transpose <perm = [0, 1, 2, 4, 3]> (k) s = MatMul (q, u) "
    "p = Softmax (s) o = MatMul (p, v) w = Squeeze (o, i_0) c = Transpose <perm = [0, 2, 1, 3]> (w) "
)
PICK = "c0 = Gather <axis = 1> (y, first) logits = Gemm (c0, w_4x3) "
CASES = {  # the body, and tensors with the number of numbers that are left of them for each image
    "layers": (MLP.replace("X", "x") + PICK, {"n": 4, "h": 6, "g": 6, "y": 4}),
    "attention": (
        QKV.replace("X", "x") + MLP.replace("X", "o") + PICK,
        {"l": 60, "u": 20, "s": 5, "p": 5, "o": 4, "g": 6},
    ),
    "attention of heads": (
        HEADS.replace("X", "x") + "f = Reshape (c, i_0_0_4) j = MatMul (f, w_4x4) y = Add (j, x) " + PICK,
        {"l": 60, "s": 10, "p": 10, "c": 4, "f": 4, "j": 4},
    ),
    "images and tokens in one axis": (
        "b = Transpose <perm = [1, 0, 2]> (x) f = Reshape (b, i_m1_4) j = Gemm <transB = 1> (f, w_6x4, b_6) "
        "i = Gemm (j, w_6x4) r = Reshape (i, i_5_m1_4) y = Transpose <perm = [1, 0, 2]> (r) " + PICK,
        {"f": 4, "j": 6, "r": 4},
    ),
    "axes of one": (
        "e = Cos (x) a = Unsqueeze (e, i_0_m1) b = Sin (a) c = Squeeze (b, i_m1) d = Squeeze (c, i_0) "
        + PICK.replace("y", "d"),
        {"e": 4, "a": 4, "b": 4, "d": 4},
    ),
    "positions": ("m = Add (x, w_1x5x4) y = Mul (m, w_4) " + PICK, {"m": 4, "y": 4}),
    "the last token": ("y = Cos (x) c0 = Gather <axis = 1> (y, last) logits = Gemm (c0, w_4x3)", {"y": 4}),
    "two tokens": (
        "y = Cos (x) c0 = Gather <axis = 1> (y, last) c1 = Gather <axis = 1> (y, i_1) d = Squeeze (c1, i_1) "
        "s = Add (c0, d) logits = Gemm (s, w_4x3)",
        {"y": 8},
    ),
    "means over channels": (
        "m = ReduceMean (x, i_m1) d = Sub (x, m) q = Mul (d, d) r = ReduceMean (q, i_2) y = Div (d, r) " + PICK,
        {"m": 1, "d": 4, "q": 4, "r": 1},
    ),
    "a mean over tokens": ("m = ReduceMean (x, i_1) y = Sub (x, m) " + PICK, {"m": 4, "y": 4}),
    "weights over tokens": ("e = Cos (x) s = Softmax <axis = 1> (e) y = Sqrt (s) " + PICK, {"e": 20, "s": 20, "y": 4}),
    "tokens times tokens": (
        "e = Cos (x) u = Transpose <perm = [0, 2, 1]> (e) s = MatMul (u, e) y = MatMul (x, s) " + PICK,
        {"e": 20, "s": 16, "y": 4},
    ),
    "read whole as well": (
        "e = Cos (x) y = Sqrt (e) n = Sin (e) m = ReduceSum <keepdims = 0> (n, i_1) c0 = Gather <axis = 1> (y, first) "
        "j = Add (m, c0) logits = Gemm (j, w_4x3)",
        {"e": 20, "y": 4, "n": 20},
    ),
    "tokens that change places": (
        "e = Cos (x) f = Reshape (e, i_0_4_5) t = Transpose <perm = [0, 2, 1]> (f) y = Sin (t) " + PICK,
        {"e": 20, "y": 4},
    ),
    "most tokens": (
        "y = Cos (x) c0 = Gather <axis = 1> (y, i_0_1_2) v = ReduceSum <keepdims = 0> (c0, i_1) "
        "logits = Gemm (v, w_4x3)",
        {"y": 20},
    ),
}  # fmt: skip


def model_of(body: str) -> ModelProto:
    head = f'<ir_version: 8, opset_import: ["" : 18]> g (float[N, {TOKENS}, {CHANNELS}] x) => (float[N, 3] logits)'
    model = parser.parse_model(f"{head} {{ {body} }}")
    values = {**constants_of(body), "first": np.array(0), "last": np.array(-1)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return model


@pytest.mark.parametrize(("body", "left"), CASES.values(), ids=CASES)
def test_the_same_logits_from_fewer_rows(body: str, left: dict[str, int]) -> None:
    model = model_of(body)
    features = np.random.default_rng(3).standard_normal((2, TOKENS, CHANNELS)).astype(np.float32)
    if "Sqrt" in body:
        features = np.abs(features) * np.float32(0.25)

    def run(model: ModelProto, names: list[str]) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(names, {"x": features})

    (wanted,) = run(model, ["logits"])
    nodes = only_tokens_read(Graph(model), list(model.graph.node), TOKENS)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output.extend(map(helper.make_empty_tensor_value_info, left))
    logits, *found = run(model, ["logits", *left])
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-6)
    assert {name: value.size // 2 for name, value in zip(left, found, strict=True)} == left
