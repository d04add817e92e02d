"""Heads that are run again for every cell: the class activation map where they are linear, a plain loop elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CLASS_IDS_ASKED, answer, build, run
from onnx import ModelProto, helper

from secam_onnx import runtime
from secam_onnx.classifier.attribution import Attribution
from secam_onnx.graph.index import Graph
from secam_onnx.head import contribution_model, find_head, masking
from secam_onnx.head_query import HeadQuery

FEATURES = np.random.default_rng(4).standard_normal((3, 4, 3, 2)).astype(np.float32)
LINEAR = {
    "gap": "p = GlobalAveragePool (f) v = Flatten (p) logits = Gemm (v, w_4x5, b_5)",
    "flatten": "v = Flatten (f) logits = Gemm (v, w_24x5, b_5)",
    "batch norm": "n = BatchNormalization (f, w_4, b_4, w_4, p_4) p = GlobalAveragePool (n) v = Flatten (p) "
    "logits = Gemm (v, w_4x5, b_5)",
}
NONLINEAR = {
    "sine": ("c = Cos (f) v = Flatten (c) logits = Gemm (v, w_24x5, b_5)", "NCHW"),
    "attention": ("t = Transpose <perm = [0, 2, 1]> (f) q = MatMul (f, t) s = Softmax <axis = -1> (q) "
        "a = MatMul (s, f) "
                  "p = ReduceMean <keepdims = 0> (a, i_1) logits = MatMul (p, w_4x5)", "NLC"),
    "sorted": ("s, i = TopK <axis = 2> (f, i_3) v = Flatten (s) logits = MatMul (v, w_12x5)", "NCL"),
    "last": ("c = Cos (f) p = ReduceSum <keepdims = 0> (c, i_1_2) logits = MatMul (p, w_4x5)", "NHWC"),
}  # fmt: skip


@pytest.mark.parametrize("body", LINEAR.values(), ids=LINEAR)
def test_linear_heads_give_the_class_activation_map(body: str) -> None:
    found = answer(body, features=FEATURES)
    maps, bias, gap = run(build(body), FEATURES, masking=True)
    np.testing.assert_allclose(maps, found.maps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias, found.bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def logits_of(model: ModelProto, features: np.ndarray) -> np.ndarray:
    session = runtime.open_session(model.SerializeToString(), "cpu")
    return np.take_along_axis(session.run(None, {"x": features})[0], CLASS_IDS_ASKED[: len(features)], axis=1)


@pytest.mark.parametrize("at_once", [1, 3, 4, 100])
@pytest.mark.parametrize(("body", "layout"), NONLINEAR.values(), ids=NONLINEAR)
def test_other_heads_are_a_loop_over_the_cells(
    body: str, layout: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(body, layout=layout)
    graph = Graph(model)
    head = find_head(graph, HeadQuery(features="f", token_grid=(3, 2)))
    assert (head.algebra, head.grid.layout) == ("detached" if "Softmax" in body else "unknown", layout)
    monkeypatch.setattr(masking, "_BYTES_AT_ONCE", at_once * largest(model))
    assert masking.maps_at_once(graph, head, model.graph.node) == at_once
    derived = contribution_model(graph, head, masking=True)
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    maps, bias, gap = Attribution(session, "masking").local((FEATURES,), CLASS_IDS_ASKED)

    nothing = logits_of(model, 0 * FEATURES)
    np.testing.assert_allclose(bias, nothing, rtol=1e-5, atol=1e-6)
    for row, column in np.ndindex(3, 2):
        alone = np.zeros_like(FEATURES)
        alone[:, :, row, column] = FEATURES[:, :, row, column]
        np.testing.assert_allclose(maps[:, :, row, column], logits_of(model, alone) - nothing, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.sum((2, 3)) + bias + gap, logits_of(model, FEATURES), rtol=1e-4, atol=1e-5)
    if "Softmax" in body or "TopK" in body:  # cells that act together: their sum is not the whole
        assert np.abs(gap).max() > 1e-3


def largest(model: ModelProto) -> int:
    """The bytes of the largest tensor behind the feature map, for one image."""
    session = runtime.open_session(with_all_outputs(model).SerializeToString(), "cpu")
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, {"x": FEATURES[:1]}), strict=True))
    return 4 * max(value.size for name, value in values.items() if name not in ("g", "l"))


def with_all_outputs(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in copy.graph.output}
    made = [name for node in copy.graph.node for name in node.output if name not in known]
    copy.graph.output.extend(map(helper.make_empty_tensor_value_info, made))
    return copy


@pytest.mark.parametrize(("count", "most", "each"), [(51, 41, 26), (51, 51, 51), (51, 99, 51), (198, 6, 6), (8, 1, 1)])
def test_masks_are_spread_evenly_over_the_runs(count: int, most: int, each: int) -> None:
    assert masking.evenly(count, most) == each


def test_heads_whose_images_depend_on_each_other_run_for_one_mask_at_a_time() -> None:
    """The scale of a dynamic quantisation is taken over all images of a run."""
    body = (
        "c = Cos (f) v = Flatten (c) q, s, p = DynamicQuantizeLinear (v) d = DequantizeLinear (q, s, p) "
        "logits = MatMul (d, w_24x5)"
    )
    graph = Graph(build(body))
    head = find_head(graph, HeadQuery(features="f"))
    assert masking.maps_at_once(graph, head, graph.model.graph.node) == 1


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_static_batch(batch: int) -> None:
    body = f"r = Reshape (f, i_{batch}_24) c = Cos (r) logits = MatMul (c, w_24x5)"
    graph = Graph(build(body, batch=batch))
    derived = contribution_model(graph, find_head(graph, HeadQuery(features="f")))
    assert derived.at_once == (1, 1)
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    maps, bias, _ = Attribution(session, "masking", batch).local((FEATURES,), CLASS_IDS_ASKED)
    wanted, bias_wanted, _ = run(build("r = Flatten (f) c = Cos (r) logits = MatMul (c, w_24x5)"), FEATURES)
    np.testing.assert_allclose(maps, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias, bias_wanted, rtol=1e-5, atol=1e-6)


def test_half_precision() -> None:
    body = "c = Cos (f) v = Flatten (c) logits = Gemm (v, w_24x5, b_5)"
    maps, bias, _ = run(build(body, half=True), FEATURES)
    wanted, bias_wanted, _ = run(build(body), FEATURES)
    np.testing.assert_allclose(maps, wanted, atol=2e-2)
    np.testing.assert_allclose(bias, bias_wanted, atol=2e-2)


def test_a_map_of_which_most_is_dead() -> None:
    """Cells of zeros add nothing at all, not rounding noise."""
    features = FEATURES.copy()
    features[:, :, 1:] = 0
    maps, _, _ = run(build(NONLINEAR["sine"][0]), features)
    assert not maps[:, :, 1:].any()
