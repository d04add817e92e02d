"""The head on its own: what is cut out of the graph, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, build, check, run
from onnx import ModelProto, TensorProto, helper, numpy_helper

from secam_onnx import runtime
from secam_onnx.errors import HeadError
from secam_onnx.graph.index import Graph
from secam_onnx.graph.weights import WeightCollector
from secam_onnx.head import contribution_model, find_head
from secam_onnx.head.cut import cut_out
from secam_onnx.head_query import HeadQuery

FEATURES = np.random.default_rng(1).standard_normal((3, 4, 3, 2)).astype(np.float32)


def logits_of(model: ModelProto, images: np.ndarray) -> np.ndarray:
    (logits,) = runtime.open_session(model.SerializeToString(), "cpu").run(None, {"x": images})
    return np.take_along_axis(logits, CLASS_IDS_ASKED[: len(images)], axis=1)


def assert_complete(model: ModelProto, *, masking: bool = False) -> None:
    """The image is the feature map."""
    maps, bias, gap = run(model, FEATURES, masking=masking)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)) + bias + gap, logits_of(model, FEATURES), rtol=1e-4, atol=1e-5)


SHAPES = {
    "of the image": "s = Shape (x) b = Gather (s, i_0)",
    "its first axis": "b = Shape <start = 0, end = 1> (x)",
    "its first axis, from behind": "b = Shape <start = -4, end = -3> (x)",
    "of a map further up": "n = Neg (f) u = Neg (n) s = Shape (n) b = Slice (s, i_0, i_1)",
}


@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_shapes_of_tensors_outside_of_the_head(shape: str, masking: bool) -> None:
    body = f"{shape} t = Concat <axis = 0> (b, i_24) r = Relu (f) v = Reshape (r, t) logits = MatMul (v, w_24x5)"
    assert_complete(build(body), masking=masking)


def test_a_shape_outside_that_the_run_decides_is_refused() -> None:
    shape = "o = NonZero (x) s = Shape (o) b = Gather (s, i_0) t = Concat <axis = 0> (b, i_24) "
    graph = Graph(build(shape + "r = Relu (f) v = Reshape (r, t) logits = MatMul (v, w_24x5)"))
    with pytest.raises(HeadError, match=r"asks for the shape of 'o', \(4, \?\), outside it \(Shape 's'\)"):
        cut_out(graph, ["f"], ["v"], WeightCollector(), 18)


def test_a_second_dependence_on_the_image_is_refused() -> None:
    model = build("c = CastLike (f, x) r = Relu (c) v = Flatten (r) logits = MatMul (v, w_24x5)")
    graph = Graph(model)
    head = find_head(graph, HeadQuery(features="f"))
    with pytest.raises(HeadError, match="reads 'x' besides the feature map 'f', so it cannot run alone"):
        contribution_model(graph, head)


def test_only_what_the_gradient_needs_is_cut_out() -> None:
    model = build("h = Flatten (f) a = MatMul (h, w_24x7) r = Relu (a) logits = MatMul (r, w_7x5)")
    graph = Graph(model)
    derived = contribution_model(graph, find_head(graph, HeadQuery(features="f")))
    outputs = {name for node in derived.model.graph.node for name in node.output}
    assert {"h", "a", "r"} <= outputs
    assert "logits" not in outputs


def conditional(read: str, *, constant: bool = True) -> ModelProto:
    """A head with an If whose branches read a tensor from outside: `f` or the image."""
    shape = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4, 3, 2])
    then, other = (
        helper.make_graph([helper.make_node(op, [read], ["z"])], f"{op}_branch", [], [shape]) for op in ("Relu", "Neg")
    )
    model = build("i = Identity (f) a = Add (i, f) v = Flatten (a) logits = MatMul (v, w_24x5)")
    index = next(index for index, node in enumerate(model.graph.node) if node.output[0] == "i")
    model.graph.node[index].CopyFrom(helper.make_node("If", ["yes"], ["i"], then_branch=then, else_branch=other))
    if constant:
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    else:
        model.graph.node.insert(index, helper.make_node("Greater", ["m", "zero"], ["yes"]))
        model.graph.node.insert(index, helper.make_node("ReduceMax", ["f"], ["m"], keepdims=0))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    return model


@pytest.mark.parametrize("constant", [True, False])
def test_bodies_that_read_the_features_are_part_of_the_head(constant: bool) -> None:
    """An If with a constant condition is not constant: it was, and the map missed what goes through it."""
    model = conditional("f", constant=constant)
    graph = Graph(model)
    assert not graph.is_constant("i")
    head = find_head(graph, HeadQuery(features="f"))
    assert not head.understood
    assert "node If 'i'" in head.rejected[-1].reason
    assert_complete(model)


def test_bodies_that_read_the_image_are_refused() -> None:
    with pytest.raises(HeadError, match="not every path to the logits passes through 'f'"):
        find_head(Graph(conditional("x")), HeadQuery(features="f"))


def test_a_loop_that_reads_constants_is_constant() -> None:
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in
              (("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("s", TensorProto.FLOAT, [5]),
               ("go_on", TensorProto.BOOL, []), ("more", TensorProto.FLOAT, [5]))]  # fmt: skip
    nodes = [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["s", "b_5"], ["more"])]
    body = helper.make_graph(nodes, "body", values[:3], values[3:])
    model = build("v = Flatten (f) l = MatMul (v, w_24x5) k = Identity (b_5) logits = Add (l, k)")
    index = next(index for index, node in enumerate(model.graph.node) if node.output[0] == "k")
    model.graph.node[index].CopyFrom(helper.make_node("Loop", ["three", "yes", "b_5"], ["k"], body=body))
    model.graph.initializer.append(numpy_helper.from_array(np.array(3), "three"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    graph = Graph(model)
    assert graph.is_constant("k")
    b = numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == "b_5"))
    np.testing.assert_allclose(graph.constant("k"), 4 * b, rtol=1e-6)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_the_head_is_brought_to_the_opset_of_the_contribution_model(opset: int) -> None:
    """Whose operators take as inputs what they took as attributes before."""
    check("c = Clip <min = -0.4, max = 0.9> (f) m = ReduceMean <axes = [2, 3]> (c) p = Relu (m) "
          "v = Squeeze <axes = [2, 3]> (p) d = Dropout <ratio = 0.2> (v) h = Gemm (d, w_4x7, b_7) r = LeakyRelu (h) "
          "l = MatMul (r, w_7x5) a, b = Split <axis = 1, split = [2, 3]> (l) logits = Concat <axis = 1> (b, a)",
          opset=opset)  # fmt: skip


def test_an_old_resize_goes_on_from_the_corners() -> None:
    """Opset 11 and later resize from the centres of the pixels, and ONNX's converter does not say so."""
    scales = "s = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()"
    head = f'{scales} u = Resize <mode = "linear"> (f, s) v = Flatten (u) logits = MatMul (v, w_96x5)'
    assert_complete(build(head, opset=10), masking=True)


def test_operators_of_others_are_brought_along() -> None:
    model = build("g = com.microsoft.Gelu (f) v = Flatten (g) logits = MatMul (v, w_24x5)", opset=13)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert_complete(model, masking=True)
