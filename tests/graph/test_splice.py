"""Nodes of one graph in another."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from secam_onnx.fusion.float16 import halve_weights
from secam_onnx.graph.splice import made_by, needed, renamed

GRAPH = onnx.parser.parse_graph(
    """agraph (float[N] x, bool c) => (float[N] y) {
        a = Neg (x)
        b = If (c) <then_branch = t () => (float[N] inner) { inner = Add (a, w) },
                    else_branch = e () => (float[N] other) { d = Abs (a) other = Mul (d, w) }>
        unused = Exp (b)
        y = Sqrt (b)
    }"""
)


def test_all_that_is_made_is_named_bodies_included() -> None:
    assert set(made_by(GRAPH.node)) == {"a", "b", "unused", "y", "inner", "d", "other"}


def test_renaming_reaches_into_bodies_and_leaves_the_original() -> None:
    before = GRAPH.SerializeToString()
    nodes = renamed(GRAPH.node, {"a": "A", "w": "W", "other": "O"})
    assert GRAPH.SerializeToString() == before
    assert set(made_by(nodes)) == {"A", "b", "unused", "y", "inner", "d", "O"}
    text = str(nodes)
    assert '"a"' not in text
    assert '"w"' not in text
    (branch,) = (entry.g for entry in nodes[1].attribute if entry.name == "else_branch")
    assert branch.output[0].name == "O"


def test_what_leads_nowhere_is_left_out() -> None:
    assert [node.output[0] for node in needed(list(GRAPH.node), ["y"])] == ["a", "b", "y"]


def test_weights_of_16_bits() -> None:
    values = {
        "w": np.linspace(-2, 2, 100),
        "w_float16": np.linspace(1, 2, 100),
        "small": np.ones(3),
        "huge": np.full(100, 1e6),
        "tiny": np.linspace(1e-7, 1e-6, 100),
        "nan": np.full(100, np.nan),
        "zero": np.zeros(100),
        "kept": np.ones(100),
    }
    tensors = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in values]
    outputs = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None) for name in values]
    model = helper.make_model(helper.make_graph(nodes, "g", [], outputs, tensors))
    halve_weights(model, {"kept"})
    assert {tensor.name: tensor.data_type for tensor in model.graph.initializer} == {
        "secam_float16_w": TensorProto.FLOAT16,
        "secam_float16_w_float16": TensorProto.FLOAT16,
        "small": TensorProto.FLOAT,
        "huge": TensorProto.FLOAT,
        "tiny": TensorProto.FLOAT,
        "nan": TensorProto.FLOAT,
        "secam_float16_zero": TensorProto.FLOAT16,
        "kept": TensorProto.FLOAT,
    }
    result = ReferenceEvaluator(model).run(None, {})
    np.testing.assert_array_equal(result[0], values["w"].astype(np.float16).astype(np.float32))
