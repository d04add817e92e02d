import numpy as np
from onnx import checker, helper
from onnx.reference import ReferenceEvaluator

from secam_onnx.graph.nodes import Nodes


def test_two_collectors_go_into_one_graph() -> None:
    """Names are unique, also between prefixes; constants keep shape, dtype and values."""
    one, other = Nodes(), Nodes("other_")
    doubled = one.op("Mul", ["x", one.floats(2)])
    moved = one.op("Add", [doubled, one.floats([[1, 2, 3]])])
    flat = other.op("Reshape", [moved, other.integers([-1])])
    last = other.op("Gather", [flat, other.integers(5)])
    total = other.op("ReduceSum", [flat, other.integers([0])], keepdims=0)
    nodes, values = [*one.nodes, *other.nodes], [*one.values, *other.values]
    names = [name for node in nodes for name in node.output] + [value.name for value in values]
    assert len(set(names)) == len(names) == 5 + 5
    assert all(name.startswith("other_") for name in (flat, last, total))
    given = [helper.make_tensor_value_info("x", 1, [2, 3])]
    wanted = [helper.make_tensor_value_info(name, 1, []) for name in (last, total)]
    model = helper.make_model(helper.make_graph(nodes, "graph", given, wanted, values))
    checker.check_model(model, full_check=True)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = ReferenceEvaluator(model).run(None, {"x": x})
    assert found == [2 * 5 + 3, 2 * 15 + 2 * 6]


def test_arrays_of_any_type() -> None:
    nodes = Nodes()
    nodes.array(np.array([True, False]))
    nodes.integers(np.int32(7))
    nodes.floats(np.float64(0.1))
    assert [(value.data_type, tuple(value.dims)) for value in nodes.values] == [(9, (2,)), (7, ()), (1, ())]
