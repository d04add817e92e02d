"""The index of a graph: constants, shapes and ancestry."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from secam_onnx.graph.index import Graph

TEXT = """<ir_version: 8, opset_import: ["" : 18]>
net (float[N, 4] x) => (float[N, 3] z) <float[3, 4] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {
  t = Transpose <perm = [1, 0]> (w)
  two = Constant <value_float = 2.0> ()
  d = Mul (t, two)
  r = RandomNormal <shape = [4, 3]> ()
  m = MatMul (x, d)
  n = MatMul (x, r)
  z = Add (m, n)
}"""


def test_constants_are_what_is_made_of_constants() -> None:
    graph = Graph(parser.parse_model(TEXT))
    assert all(graph.is_constant(name) for name in ("w", "t", "two", "d"))
    assert not any(graph.is_constant(name) for name in ("x", "m", "z", "r", "unknown"))
    np.testing.assert_array_equal(graph.constant("d"), 2 * np.arange(1, 13).reshape(3, 4).T)


def test_shapes_come_from_inference() -> None:
    graph = Graph(parser.parse_model(TEXT))
    assert graph.shape("m") == (None, 3)
    assert graph.shape("d") == (4, 3)
    assert graph.shape("unknown") is None
    assert (graph.dtype("m"), graph.dtype("unknown")) == (TensorProto.FLOAT, 0)


def test_ancestry_is_in_running_order() -> None:
    graph = Graph(parser.parse_model(TEXT))
    nodes, initializers = graph.ancestry("d")
    assert [node.output[0] for node in nodes] == ["t", "two", "d"]
    assert initializers == ["w"]


def test_initializers_that_are_listed_as_inputs_are_no_inputs() -> None:
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [1, 4]), ("w", [4, 3]))
    ]
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3])
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["z"])], "g", infos, [output], [weight])
    graph = Graph(helper.make_model(body, ir_version=3, opset_imports=[helper.make_opsetid("", 9)]))
    assert [value.name for value in graph.inputs] == ["x"]


def test_a_deep_graph_does_not_exhaust_the_stack() -> None:
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(5000)]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 2, 2]) for name in ("t0", "t5000")]
    graph = Graph(helper.make_model(helper.make_graph(nodes, "deep", info[:1], info[1:])))
    assert not graph.is_constant("t5000")
    assert graph.shape("t4999") == (1, 3, 2, 2)
    assert isinstance(graph.model, onnx.ModelProto)
