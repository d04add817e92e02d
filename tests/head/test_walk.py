"""The walk back from the logits: where it ends, what it passes by and why, and what damage it finds."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from heads import build
from onnx import TensorProto, helper, numpy_helper

from secam_onnx.errors import HeadError, ModelError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.head import Head, contribution_model, find_head
from secam_onnx.head_query import HeadQuery

FC = "p = GlobalAveragePool ({}) v = Flatten (p) logits = MatMul (v, w_4x5)"


def found(body: str, **names: str) -> Head:
    return find_head(Graph(build(body)), HeadQuery(**names))


def reasons(head: Head) -> dict[str, str]:
    return {entry.tensor: entry.reason for entry in head.rejected}


@pytest.mark.parametrize(
    "between", ["", "r = Relu (c) ", "b = BatchNormalization (c, w_5, b_5, w_5, p_5) r = Relu (b) "]
)
def test_a_map_of_classes_is_passed_by(between: str) -> None:
    last = "r" if between else "c"
    head = found(f"c = Conv (f, w_5x4x1x1) {between}p = GlobalAveragePool ({last}) logits = Flatten (p)")
    assert head.features == "f"
    assert "it is a map of the classes" in reasons(head)["c"]
    assert head.weights[0] == "w_5x4x1x1"


def test_a_map_of_classes_is_taken_where_the_way_further_up_is_not_understood() -> None:
    head = found("s = Cos (f) c = Conv (s, w_5x4x1x1) a = Relu (c) b = Abs (c) d = Add (a, b) "
        "p = GlobalAveragePool (d) "
                 "logits = Flatten (p)")  # fmt: skip
    assert (head.features, head.kind) == ("d", "gap")
    assert reasons(head)["further up"] == "Add 'd' combines two tensors"


CLASSES_ALONE = {
    "the logits themselves": "p = Conv (f, w_1x4x1x1) y = Flatten (p) u = Unsqueeze (y, i_m1) logits = Sigmoid (u)",
    "without activation": "c = Conv (f, w_1x4x1x1) logits = Reshape (c, i_0_m1)",
    "elementwise nodes": "c = Conv (f, w_1x4x1x1) s = Sin (c) t = Mul (s, b_1) logits = Flatten (t)",
    "a layer for each cell": "s = Sin (f) r = Reshape (s, i_0_4_6) t = Transpose <perm = [0, 2, 1]> (r) "
    "m = MatMul (t, w_4x1) logits = Flatten (m)",
}


@pytest.mark.parametrize("body", CLASSES_ALONE.values(), ids=CLASSES_ALONE)
def test_a_tensor_whose_cells_are_the_classes_is_no_map(body: str) -> None:
    """A stripe at the place of the class's number would say nothing of the picture, and add up to the logit."""
    with pytest.raises(HeadError, match="its cells are the classes"):
        find_head(Graph(build(body)))


def test_such_a_tensor_by_name() -> None:
    with pytest.raises(HeadError, match=r"'c' is not a feature map: .* its cells are the classes"):
        find_head(Graph(build("c = Conv (f, w_1x4x1x1) logits = Flatten (c)")), HeadQuery(features="c"))


@pytest.mark.parametrize("join", ["g = Conv <pads = [1, 1, 1, 1]> (s, w_1x4x3x3)", "g = Conv (s, w_1x4x3x2)"])
def test_what_takes_cells_together_leaves_a_map(join: str) -> None:
    assert find_head(Graph(build(f"s = Relu (f) {join} logits = Flatten (g)"))).features == "s"


def test_an_embedding_beside_the_logits_is_no_second_head() -> None:
    model = build("r = Relu (f) " + FC.format("r") + " e = Flatten (p)")
    model.graph.output.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, None))
    head = find_head(Graph(model))
    assert (head.output, head.features, head.kind) == ("logits", "r", "gap + fc")
    assert find_head(Graph(model), HeadQuery(logits="e")).logits == "e"


def test_an_embedding_alone_is_explained() -> None:
    head = found("c = Relu (f) d = Sin (c) p = GlobalAveragePool (d) logits = Flatten (p)")
    assert (head.features, head.kind, head.n_classes) == ("d", "gap", 4)


def test_two_pools_of_one_map_of_classes_ask_for_a_name() -> None:
    model = build(
        "c = Conv (f, w_5x4x1x1) p = GlobalAveragePool (c) logits = Flatten (p) q = GlobalMaxPool (c) y = Flatten (q)"
    )
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    with pytest.raises(OptionError, match=r"Several outputs are logits: 'logits' .*; 'y' "):
        find_head(Graph(model))


def test_the_map_nearest_to_the_logits_that_all_pass_through_is_taken() -> None:
    """A skip connection: neither of its branches is the feature map, the sum is."""
    head = found("r = Relu (f) s = Sigmoid (r) a = Add (s, r) " + FC.format("a"))
    assert head.features == "a"
    assert not {"r", "s"} & set(reasons(head))


def test_a_skip_connection_inside_the_head() -> None:
    body = "g = GlobalAveragePool (f) s = Sigmoid (g) a = Mul (s, g) v = Flatten (a) logits = MatMul (v, w_4x5)"
    head = found(body)
    assert (head.features, head.algebra, head.kind) == ("f", "smooth", "gap + sigmoid + mul + fc")
    assert [step.output for step in head.steps] == ["logits", "v", "a", "s", "g"]


def test_a_map_further_up_by_name() -> None:
    head = found("r = Relu (f) n = Neg (r) " + FC.format("n"), features="r")
    assert (head.features, head.kind) == ("r", "gap + fc")
    assert reasons(head)["n"] == "shape (?, 4, 3, 2): another was asked for"
    with pytest.raises(OptionError, match="no tensor 'q'"):
        found(FC.format("f"), features="q")
    with pytest.raises(HeadError, match="not every path to the logits passes through 'r'"):
        found("r = Relu (f) n = Neg (f) a = Add (r, n) " + FC.format("a"), features="r")


def test_copies_are_named_where_their_values_were_made() -> None:
    assert found("d = Dropout (f) i = Identity (d) " + FC.format("i")).features == "f"


@pytest.mark.parametrize("features", [None, "i"])
def test_what_is_only_a_copy_of_the_image_is_no_feature_map(features: str | None) -> None:
    model = build(FC.format("i").replace("w_4x5", "w_3x5"), shape=(3, 8, 8))
    model.graph.node.remove(model.graph.node[0])
    model.graph.node.insert(0, helper.make_node("Identity", ["x"], ["i"]))
    with pytest.raises(HeadError, match="the image itself"):
        find_head(Graph(model), HeadQuery(features=features))


def test_what_is_not_understood_is_masked_at_the_nearest_map() -> None:
    head = found("r = Relu (f) " + FC.format("r").replace("(v,", "(c,").replace("logits", "c = Cos (v) logits"))
    assert (head.features, head.understood, head.algebra, head.kind) == ("r", False, "unknown", "not understood")
    assert {"c", "v", "p"} < set(reasons(head))


def test_the_shape_of_a_tensor_is_no_value_of_it() -> None:
    """A batch size that is read from the image does not lead the walk past the feature map."""
    shape = "s = Shape (x) b = Gather (s, i_0) t = Concat <axis = 0> (b, i_m1) "
    body = shape + "r = Relu (f) v = Reshape (r, t) c = Cos (v) logits = MatMul (c, w_24x5)"
    assert (found(body).features, found(body).understood) == ("r", False)
    assert found(body.replace("Cos", "Relu")).understood


DAMAGED = {
    "cyclic": ("a = Add (f, b) b = Relu (a) " + FC.format("b"), "reads 'b' before it is made"),
    "its own input": ("a = Add (f, a) " + FC.format("a"), "reads 'a' before it is made"),
    "made by nobody": ("a = Add (f, q) " + FC.format("a"), "reads 'q', which nothing makes"),
}


@pytest.mark.parametrize(("body", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_graphs(body: str, reason: str) -> None:
    model = build(body)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5]))
    model.graph.value_info.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 4]))
    model.graph.value_info.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 4, 1, 1]))
    for name in "ab":
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4, 3, 2]))
    with pytest.raises(ModelError, match=reason):
        find_head(Graph(model), HeadQuery(features="f"))


def test_an_output_that_does_not_depend_on_the_image() -> None:
    with pytest.raises(HeadError, match="does not depend on the image"):
        found(
            "s = Shape (f) g = Gather (s, i_0) k = Cast <to = 1> (g) r = Reshape (k, i_m1_1) logits = MatMul (r, w_1x5)"
        )


def test_operators_of_other_domains_are_not_understood() -> None:
    model = build("r = Relu (f) " + FC.format("r"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.node[-1].domain = "com.example"
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5]))
    assert any("operators of 'com.example'" in entry.reason for entry in find_head(Graph(model)).rejected)


@pytest.mark.parametrize("body", ["c = Cos (f)", "c = LeakyRelu (f)"])
def test_a_class_token_is_no_map(body: str) -> None:
    """Attention above it is not understood: all of the map would be on the token itself."""
    tokens = "g = Reshape (c, i_0_0_m1) t = Transpose <perm = [0, 2, 1]> (g) n = LayerNormalization (t, w_4) "
    model = build(
        f"{body} {tokens} k = Gather <axis = 1> (n, nought) logits = MatMul (k, w_4x5)",
        {"nought": np.array(0)},
        shape=(4, 3, 3),
    )
    head = find_head(Graph(model))
    assert not head.understood
    assert "as one selects a class token" in " ".join(reasons(head).values())


def test_a_mean_over_channels_does_not_turn_tokens_into_channels() -> None:
    """A layer normalisation that is taken apart, of 4 tokens with 9 channels each, before the pool."""
    body = (
        "g = Reshape (f, i_0_9_m1) t = Transpose <perm = [0, 2, 1]> (g) c = Tanh (t) "
        "m = ReduceMean (c, i_m1) d = Sub (c, m) "
        "p = ReduceMean <keepdims = 0> (d, i_1) logits = MatMul (p, w_9x5)"
    )
    head = find_head(Graph(build(body, shape=(9, 2, 2))), HeadQuery(features="c"))
    assert (head.grid.layout, head.grid.shape) == ("NLC", (9, 2, 2))


def test_a_large_graph_takes_no_longer_than_it_must() -> None:
    """Over a thousand nodes, half of which wait at once."""
    nodes = [helper.make_node("Conv", ["x", "k"], ["t0"])]
    nodes += [helper.make_node("Relu" if i % 2 else "Clip", [f"t{i}"], [f"t{i + 1}"]) for i in range(800)]
    nodes += [helper.make_node("Relu", ["t800"], [f"u{i}"]) for i in range(500)]
    nodes += [helper.make_node("Sum", [f"u{i}" for i in range(500)], ["s"])]
    nodes += [helper.make_node("GlobalAveragePool", ["s"], ["p"]), helper.make_node("Flatten", ["p"], ["v"])]
    nodes += [helper.make_node("MatMul", ["v", "w"], ["logits"])]
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("k", (6, 3, 1, 1)), ("w", (6, 5)))
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
             (("x", ["N", 3, 4, 4]), ("logits", ["N", 5]))]  # fmt: skip
    model = helper.make_model(helper.make_graph(nodes, "large", infos[:1], infos[1:], weights))
    graph = Graph(onnx.ModelProto.FromString(model.SerializeToString()))
    started = time.perf_counter()
    head = find_head(graph, HeadQuery(features="t0"))
    assert len(head.steps) == 1304
    assert len(contribution_model(graph, head).model.graph.node) > 1304
    assert time.perf_counter() - started < 10
