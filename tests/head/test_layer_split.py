"""Layers that are split: the same logits and maps as before, from terms that are products with single cells."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from heads import SHAPE, answer, build, constants_of, own_layout, run
from onnx import ModelProto, helper

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.head import (
    BIAS,
    CAM,
    CLASS_IDS,
    FEATURES,
    GAP,
    TERMS,
    Head,
    contribution_model,
    find_head,
    layer_split,
    layer_to_split,
    split_layer,
)
from secam_onnx.head_query import HeadQuery

REST = "r = Relu (h) logits = Gemm <transB = 1> (r, w_5x6, b_5)"
LAYERS = {
    "gemm, transposed": f"v = Flatten (f) h = Gemm <transB = 1> (v, w_6x24, b_6) {REST}",
    "gemm": f"v = Flatten (f) h = Gemm (v, w_24x6, b_6) {REST}",
    "matmul and add": f"v = Flatten (f) m = MatMul (v, w_24x6) h = Add (m, b_6) {REST}",
    "the last": "v = Flatten (f) logits = Gemm <transB = 1> (v, w_5x24, b_5)",
    "between others": f"d = Identity (f) v = Flatten (d) e = Identity (v) h = Gemm (e, w_24x6, b_6) {REST}",
    "smooth": "v = Flatten (f) h = Gemm (v, w_24x6, b_6) r = Sigmoid (h) logits = Gemm <transB = 1> (r, w_5x6, b_5)",
}
UNFIT = {
    "pool": ("p = GlobalAveragePool (f) v = Flatten (p) logits = Gemm (v, w_4x5, b_5)", {}),
    "pool before": ("p = MaxPool <kernel_shape = [2, 2], pads = [0, 0, 1, 1]> (f) v = Flatten (p) "
                    "logits = Gemm (v, w_24x5, b_5)", {}),
    "scaled": ("v = Flatten (f) logits = Gemm <alpha = 0.5> (v, w_24x5, b_5)", {}),
    "scaled bias": ("v = Flatten (f) logits = Gemm <beta = 0.5> (v, w_24x5, b_5)", {}),
    "computed weight": ("v = Flatten (f) w = Neg (w_24x5) logits = MatMul (v, w)", {}),
    "float16": ("v = Flatten (f) logits = Gemm (v, w_24x5, b_5)", {"half": True}),
    "a name of ours": ("secam_terms_a = Flatten (f) logits = Gemm (secam_terms_a, w_24x5, b_5)", {}),
    "two layers": ("v = Flatten (f) a = Gemm (v, w_24x5, b_5) b = MatMul (v, w_24x5) logits = Add (a, b)", {}),
    "a skip": ("v = Flatten (f) a = Gemm (v, w_24x5, b_5) p = GlobalMaxPool (f) q = Flatten (p) "
               "b = MatMul (q, w_4x5) logits = Add (a, b)", {}),
    "old": ("v = Flatten (f) logits = MatMul (v, w_24x5)", {"opset": 8}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_split, "_LARGE", 1)
    monkeypatch.setattr(layer_split, "_FEWEST", 1)


def found_in(model: ModelProto, features: str) -> tuple[Graph, Head]:
    graph = Graph(model)
    return graph, find_head(graph, HeadQuery(features=features, token_grid=SHAPE[1:] if features == "f" else None))


@pytest.mark.parametrize("opset", [9, 12, 13, 18])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NLC", "NCL"])
@pytest.mark.parametrize("body", LAYERS.values(), ids=LAYERS)
def test_logits_and_maps_stay_as_they_were(body: str, layout: str, opset: int) -> None:
    wanted = answer(body, layout=layout, opset=opset)
    graph, head = found_in(wanted.model, "f")
    layer = layer_to_split(graph, head)
    assert layer is not None
    model, weights = split_layer(graph, head, layer)
    assert layer.weight not in {tensor.name for tensor in model.graph.initializer}

    graph, head = found_in(model, TERMS)
    assert (head.features, head.grid.layout) == (TERMS, "NCHW")
    model.graph.output.append(helper.make_tensor_value_info(TERMS, onnx.TensorProto.FLOAT, None))
    session = runtime.open_session(model.SerializeToString(), "cpu", weights=weights)
    logits, terms = session.run(["logits", TERMS], {"x": wanted.features})
    np.testing.assert_allclose(
        np.take_along_axis(logits, wanted.class_ids, axis=1), wanted.logits, rtol=1e-5, atol=1e-5
    )

    matrix = constants_of(body)[layer.weight]
    matrix = matrix if layer.transposed else matrix.T
    cells = np.zeros((6, *wanted.features.shape), np.float32)  # of each cell alone
    for index, (row, column) in enumerate(np.ndindex(SHAPE[1:])):
        cells[index, :, :, row, column] = wanted.features[:, :, row, column]
    single = [own_layout(cell, layout).reshape(3, -1) @ matrix for cell in cells]
    np.testing.assert_allclose(terms.reshape(3, -1, 6), np.stack(single, axis=2), rtol=1e-4, atol=1e-5)

    for masking, expected in (
        (False, (wanted.expected_maps(), wanted.bias, wanted.gap)),
        (True, run(wanted.model, wanted.features, wanted.class_ids, masking=True, tokens=SHAPE[1:])),
    ):
        derived = contribution_model(graph, head, known=weights, masking=masking)
        session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
        found = session.run([CAM, BIAS, GAP], {FEATURES: terms, CLASS_IDS: wanted.class_ids})
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reader", ["a node", "an output"])
def test_a_matrix_that_is_read_elsewhere_stays(reader: str) -> None:
    body = "v = Flatten (f) a = Gemm (v, w_24x5, b_5) b = Neg (w_24x5) n = ReduceSum <keepdims = 0> (b, i_0) "
    if reader == "a node":
        model = build(f"{body} logits = Add (a, n)")
    else:
        model = build("v = Flatten (f) logits = Gemm (v, w_24x5, b_5)")
        model.graph.output.append(helper.make_tensor_value_info("w_24x5", onnx.TensorProto.FLOAT, [24, 5]))
    graph, head = found_in(model, "f")
    layer = layer_to_split(graph, head)
    assert layer is not None
    before = model.SerializeToString()
    result, _ = split_layer(graph, head, layer)
    assert "w_24x5" in {tensor.name for tensor in result.graph.initializer}
    assert model.SerializeToString() == before


@pytest.mark.parametrize(("body", "settings"), UNFIT.values(), ids=UNFIT)
def test_other_layers_stay_whole(body: str, settings: dict[str, object]) -> None:
    graph = Graph(build(body, **settings))
    assert layer_to_split(graph, find_head(graph, HeadQuery(features="f"))) is None


@pytest.mark.parametrize(("name", "most"), [("_LARGE", 144), ("_FEWEST", 4)])
def test_a_small_matrix_or_one_of_few_channels_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    graph, head = found_in(build(LAYERS["gemm"]), "f")
    for value, there in ((most, True), (most + 1, False)):
        monkeypatch.setattr(layer_split, name, value)
        assert (layer_to_split(graph, head) is not None) == there


@pytest.mark.parametrize("shape", [(4, 1, 6), (4, 6, 1)])
def test_maps_of_a_single_row(shape: tuple[int, ...]) -> None:
    graph, head = found_in(build(LAYERS["gemm"], shape=shape), "f")
    layer = layer_to_split(graph, head)
    assert layer is not None
    _, found = found_in(split_layer(graph, head, layer)[0], TERMS)
    assert (found.understood, found.grid.shape) == (True, (6, *shape[1:]))
