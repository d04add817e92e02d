"""Finding the head: what is chosen, what is refused, and whether the reason names the culprit."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import parser

from secam_onnx.errors import HeadError, OptionError
from secam_onnx.graph.index import Graph
from secam_onnx.head import expose, find_head, unexpose
from secam_onnx.head_query import HeadQuery

WEIGHTS = {"w": (5, 6), "wf": (5, 6 * 4 * 4), "b": (5,), "k": (6, 3, 1, 1), "k4": (4, 5), "kf": (5, 5)}


def model(body: str, outputs: str = "float[N, 5] z", inputs: str = "float[N, 3, 4, 4] x") -> onnx.ModelProto:
    """A model of ONNX's own text format; `c = Conv(x, k)` is the backbone, of 6 channels."""
    constants = ", ".join(f"float[{', '.join(map(str, shape))}] {name}" for name, shape in WEIGHTS.items())
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    net ({inputs}) => ({outputs}) <{constants}> {{ c = Conv (x, k) {body} }}"""
    return parser.parse_model(_with_values(text))


def _with_values(text: str) -> str:
    for name, shape in WEIGHTS.items():
        size = int(np.prod(shape))
        dims = ", ".join(map(str, shape))
        text = text.replace(f"float[{dims}] {name}", f"float[{dims}] {name} = {{{', '.join(['0.5'] * size)}}}", 1)
    return text


GOOD = "p = GlobalAveragePool (c) v = Flatten (p) z = Gemm <transB = 1> (v, w, b)"


def test_the_last_spatial_tensor_is_chosen_and_the_rest_has_reasons() -> None:
    head = find_head(Graph(model(GOOD)))
    assert (head.features, head.logits, head.n_classes, head.activation) == ("c", "z", 5, "none")
    assert head.weights == ("w", "b")
    assert {entry.tensor: entry.reason for entry in head.rejected} == {
        "z": "shape (?, 5): no spatial grid",
        "v": "shape (?, 6): no spatial grid",
        "p": "shape (?, 6, 1, 1): no spatial grid",
    }


@pytest.mark.parametrize(
    ("operator", "name"), [("Softmax", "softmax"), ("Sigmoid", "sigmoid"), ("LogSoftmax", "log_softmax")]
)
def test_logits_are_found_before_the_activation(operator: str, name: str) -> None:
    body = GOOD.replace("z =", "l =") + f" z = {operator} (l)"
    head = find_head(Graph(model(body)))
    assert (head.logits, head.activation, head.output) == ("l", name, "z")


LAST = "z = Gemm <transB = 1> (v, w, b)"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"p = GlobalAveragePool (c) s = Sin (p) v = Flatten (s) {LAST}", r"node Sin 's': .*not understood"),
        (f"p = GlobalAveragePool (c) v = Flatten (p) {LAST.replace('= 1>', '= 1, transA = 1>')}", "transA=1"),
        ("p = Flatten (c) z = MatMul (kf, p)", "left operand is constant"),
        (f"p = GlobalAveragePool (c) f = Flatten (p) v = Cos (f) {LAST}", "node Cos 'v'"),
        (f"p = GlobalAveragePool (c) f = Flatten (p) v = Clip (f, f, f) {LAST}", "its parameters is computed"),
    ],
)
def test_what_is_not_understood_is_named_with_node_and_reason(body: str, reason: str) -> None:
    head = find_head(Graph(model(body)))
    assert (head.kind, head.algebra, head.steps, head.features) == ("not understood", "unknown", (), "c")
    (stopped,) = (entry.reason for entry in head.rejected if entry.reason.startswith("stopped"))
    assert re.search(reason, stopped)


def test_an_output_of_another_rank_is_no_logits() -> None:
    with pytest.raises(HeadError, match=r"its shape is \(\?, 6, 4, 4\); a classifier's output has the shape"):
        find_head(Graph(model("z = Relu (c)", "float[N, 6, 4, 4] z")))


def test_a_reason_is_given_once_for_each_output() -> None:
    body = "y = Relu (c) z = Sigmoid (c)"
    with pytest.raises(HeadError) as caught:
        find_head(Graph(model(body, "float[N, 6, 4, 4] y, float[N, 6, 4, 4] z")))
    assert str(caught.value).count("with a fixed number of classes") == 2
    assert "number known" not in str(caught.value)


def test_a_first_axis_that_is_not_the_batch_is_no_logits() -> None:
    """Text recognition gives a row of classes for each letter, however many images there are."""
    letters = "m = MaxPool <kernel_shape = [1, 4]> (c) z = Transpose <perm = [2, 3, 0, 1]> (m)"
    with pytest.raises(HeadError, match=r"its shape is \(4, 1, 1, 6\), but the model takes batches of 1"):
        find_head(Graph(model(letters, "float[4, 1, 1, 6] z", "float[1, 3, 4, 4] x")))


def test_a_model_without_spatial_map_names_the_dead_end() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> net (float[N, 2] x) => (float[N, 2] z)
    <float[2, 2] w = {1, 2, 3, 4}> { z = MatMul (x, w) }"""
    with pytest.raises(HeadError, match=r"ends at the model's input 'x' without a spatial feature map"):
        find_head(Graph(parser.parse_model(text)))


def test_of_several_outputs_the_one_with_a_head_is_taken() -> None:
    body = GOOD + " mask = Relu (c)"
    head = find_head(Graph(model(body, "float[N, 6, 4, 4] mask, float[N, 5] z")))
    assert head.output == "z"
    assert any(entry.tensor == "mask" and "output has the shape (N, " in entry.reason for entry in head.rejected)


def test_two_heads_ask_for_a_name() -> None:
    body = GOOD + " y = Gemm <transB = 1> (v, w)"
    graph = Graph(model(body, "float[N, 5] y, float[N, 5] z"))
    with pytest.raises(OptionError, match=r"'y' \(\?, 5\), 5 classes, no activation; 'z' .*--logits NAME"):
        find_head(graph)
    assert find_head(graph, HeadQuery(logits="y")).logits == "y"
    with pytest.raises(OptionError, match="no output or tensor 'q'; its outputs are y, z"):
        find_head(graph, HeadQuery(logits="q"))


def test_a_feature_map_that_is_not_on_the_way_is_refused() -> None:
    with pytest.raises(HeadError, match=r"the tensor 'x' is not a feature map: .*the image itself"):
        find_head(Graph(model(GOOD)), HeadQuery(features="x"))


def test_expose_adds_outputs_and_unexpose_takes_them_away() -> None:
    original = model(GOOD.replace("z =", "l =") + " z = Softmax (l)")
    changed = onnx.ModelProto.FromString(original.SerializeToString())
    graph = Graph(changed)
    names = {"features": "secam_features", "logits": "secam_logits", "probabilities": "secam_probabilities"}
    assert expose(graph, find_head(graph), **names) == ("secam_logits", "z")
    assert [value.name for value in changed.graph.output] == ["z", "secam_features", "secam_logits"]
    assert graph.outputs == ["z", "secam_features", "secam_logits"]
    assert graph.shape("secam_features") == graph.shape(find_head(graph).features)
    assert graph.producer("secam_logits") in list(changed.graph.node)
    onnx.checker.check_model(changed, full_check=True)
    assert find_head(Graph(changed)).logits == "l"  # the added outputs are not taken for heads
    unexpose(changed)
    assert changed == original
