"""The index of a graph: constants, shapes and ancestry."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
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


def test_nodes_and_outputs_that_are_appended_are_in_the_index() -> None:
    graph = Graph(parser.parse_model(TEXT))
    assert (graph.shape("z"), graph.is_constant("d"), graph.fixed_batch) == ((None, 3), True, 1)
    nodes = [
        helper.make_node("Cast", ["z"], ["c"], to=TensorProto.DOUBLE),
        helper.make_node("Neg", ["d"], ["e"]),
        helper.make_node("Shape", ["c"], ["s"]),
    ]
    graph.append(nodes, [helper.make_tensor_value_info("c", TensorProto.DOUBLE, ["N", 3])])
    assert graph.outputs == ["z", "c"]
    assert [node.op_type for node in graph.model.graph.node[-3:]] == ["Cast", "Neg", "Shape"]
    assert graph.position("s") == len(graph.model.graph.node) - 1
    assert graph.computed_inputs(nodes[0]) == ("z",)
    assert (graph.shape("c"), graph.dtype("c"), graph.batch_axis("c")) == ((None, 3), TensorProto.DOUBLE, 0)
    assert (graph.is_constant("e"), graph.is_constant("c"), graph.is_from_shapes("s")) == (True, False, True)
    np.testing.assert_array_equal(graph.constant("e"), -graph.constant("d"))
    onnx.checker.check_model(graph.model, full_check=True)


@pytest.mark.parametrize("name", ["x", "w", "m", "twice"])
def test_a_tensor_that_is_there_already_is_not_made_again(name: str) -> None:
    graph = Graph(parser.parse_model(TEXT))
    before = graph.model.SerializeToString()
    nodes = [helper.make_node("Relu", ["z"], [made]) for made in ("twice", name)]
    with pytest.raises(ValueError, match=f"makes {name} already"):
        graph.append(nodes)
    assert graph.model.SerializeToString() == before


def test_what_is_appended_to_a_model_of_opset_12_has_shapes() -> None:
    """Whose own are found by computing with shapes, batch by batch."""
    text = (
        TEXT.replace('"" : 18', '"" : 12')
        .replace("float[N, 4] x", "float[N, 2, 2, 1] i")
        .replace(
            "m = MatMul",
            "s = Shape (i) zero = Constant <value_ints = [0]> () n0 = Gather <axis = 0> (s, zero) "
            "four = Constant <value_ints = [4]> () to = Concat <axis = 0> (n0, four) x = Reshape (i, to) m = MatMul",
        )
    )
    graph = Graph(parser.parse_model(text))
    assert graph.batch_axis("z") == 0
    graph.append([helper.make_node("Relu", ["z"], ["y"])])
    assert (graph.shape("y"), graph.batch_axis("y")) == ((None, 3), 0)
