"""Heads with held factors, compared with the same network whose held tensors were made constants.

That network is affine, so what a cell adds to the logits is the difference of two runs: with what the cell has beyond
the mean cell, and without. ONNX Runtime runs both; no derivative is written by hand.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import onnx
from heads import build
from onnx import ModelProto, helper, numpy_helper

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.graph.probe import probe_shapes
from secam_onnx.head import BIAS, CAM, CLASS_IDS, FEATURES, GAP, Head, contribution_model, find_head
from secam_onnx.head_query import HeadQuery

__all__ = ["check_held"]

_CLASSES = np.array([[4, 0, 2, 2]])


def check_held(
    body: str,
    hold: Sequence[str],
    *,
    spelled: str = "",
    layout: str = "NLC",
    shape: tuple[int, int, int] = (4, 3, 2),
    opset: int = 18,
    batch: int | str = "N",
) -> Head:
    """Maps are those of the network in which `hold` are constants, and maps and bias are the logits.

    `spelled` is the same network in nodes that name what is held, where `body` does it inside of one.
    """
    model = _built(body, layout=layout, shape=shape, opset=opset, batch=batch)
    graph = Graph(model)
    of_one = graph.for_one_image()
    of_one.learn(probe_shapes(of_one, (name for node in model.graph.node for name in node.output), (1, *shape)))
    head = find_head(graph, HeadQuery(features="f", token_grid=shape[1:]))
    assert head.algebra == "detached", head.rejected
    derived = contribution_model(graph, head)
    features = np.random.default_rng(zlib.crc32(body.encode())).standard_normal((1, *shape)).astype(np.float32)
    kept = dict(zip(derived.saved.values(), _run(model, list(derived.saved.values()), features), strict=True))
    saved = {name: kept[of] if name == of else kept[of][None] for name, of in derived.saved.items()}
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    maps, bias, gap = session.run([CAM, BIAS, GAP], {FEATURES: features, CLASS_IDS: _CLASSES, **saved})
    (logits,) = _run(model, ["logits"], features)

    frozen = _built(spelled or body, layout=layout, shape=shape, opset=opset, batch=batch)
    values = _run(frozen, hold, features)
    for node in [node for node in frozen.graph.node if set(node.output) & set(hold)]:
        frozen.graph.node.remove(node)
    frozen.graph.initializer.extend(map(numpy_helper.from_array, values, hold))
    wanted = _contributions(frozen, features)[:, _CLASSES[0]]
    size = max(1.0, float(np.abs(wanted).max()), float(np.abs(logits).max()))
    np.testing.assert_allclose(maps[0], wanted.T.reshape(maps.shape[1:]), rtol=0, atol=2e-5 * size)
    total = maps.sum(axis=(2, 3)) + bias
    np.testing.assert_allclose(total, logits.reshape(1, -1)[:, _CLASSES[0]], rtol=0, atol=4e-5 * size)
    assert not gap.any()
    return head


def _built(body: str, **settings: object) -> ModelProto:
    """`index_1` is the number 1, for what picks it."""
    indices = {f"index_{index}": np.array(index) for index in range(3) if f"index_{index}" in body}
    return build(body, indices, **settings)


def _contributions(frozen: ModelProto, features: np.ndarray) -> np.ndarray:
    """`(cells, classes)`: what each cell adds to the logits with what it has beyond the mean cell."""
    cells = features.reshape(features.shape[1], -1)
    beyond = cells - cells.mean(axis=1, keepdims=True)
    base = _run(frozen, ["logits"], features)[0].reshape(-1).astype(np.float64)
    rows = []
    for index in range(cells.shape[1]):
        less = cells.copy()
        less[:, index] -= beyond[:, index]
        rows.append(base - _run(frozen, ["logits"], less.reshape(features.shape))[0].reshape(-1))
    return np.array(rows)


def _run(model: ModelProto, outputs: Sequence[str], features: np.ndarray) -> list[np.ndarray]:
    """Tensors of a network whose input is the feature map."""
    network = ModelProto()
    network.CopyFrom(model)
    del network.graph.output[:]
    network.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    typed = onnx.shape_inference.infer_shapes(network)
    return runtime.open_session(typed.SerializeToString(), "cpu").run(None, {"x": features})
