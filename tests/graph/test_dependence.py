"""Which inputs tensors are made from, and the part of a model that some of them need."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from secam_onnx.graph.dependence import inputs_behind, keep_only
from secam_onnx.graph.index import Graph


def model() -> ModelProto:
    """`y = a + b` if `c` holds, else `w a`; `z = w b`; `s` is the shape of `a`."""
    parsed = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> '
        "g (float[2] a, float[2] b, bool c) => (float[2] y, float[2] z, int64[1] s) "
        "<float[2] w = {2, 3}, float[2] unused = {0, 0}> "
        "{ wb = Mul (w, b) z = Identity (wb) k = Neg (w) s = Shape (a) "
        "y = If (c) <then_branch = t () => (float[2] p) { p = Add (a, b) }, "
        "else_branch = e () => (float[2] q) { q = Mul (w, a) }> }"
    )
    onnx.checker.check_model(parsed)
    return parsed


def test_inputs_behind_tensors() -> None:
    behind = inputs_behind(Graph(model()))
    assert behind["y"] == {"a", "b", "c"}
    assert behind["z"] == behind["wb"] == {"b"}
    assert behind["s"] == {"a"}
    assert behind["w"] == behind["k"] == frozenset()


def test_only_what_an_output_needs_is_left() -> None:
    part = model()
    keep_only(part, [part.graph.output[0]])
    onnx.checker.check_model(part, full_check=True)
    assert [node.op_type for node in part.graph.node] == ["If"]
    assert [value.name for value in part.graph.input] == ["a", "b", "c"]
    assert [tensor.name for tensor in part.graph.initializer] == ["w"]
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    one = np.ones(2, np.float32)
    for truth, wanted in ((True, [2, 2]), (False, [2, 3])):
        (found,) = session.run(["y"], {"a": one, "b": one, "c": np.array(truth)})
        np.testing.assert_array_equal(found, wanted)


def test_a_tensor_that_is_made_in_another_way() -> None:
    part = model()
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])
    keep_only(part, [output], ["wb"])
    part.graph.initializer.append(numpy_helper.from_array(np.array([5, 6], np.float32), "wb"))
    onnx.checker.check_model(part, full_check=True)
    assert not part.graph.input
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["z"], {})[0], [5, 6])
