"""The contribution model against closed forms written in numpy, operator by operator as exporters write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.head import BIAS, CAM, CLASS_IDS, FEATURES, contribution_model, find_head
from secam_onnx.head_query import HeadQuery

CHANNELS, HEIGHT, WIDTH, CLASSES, HIDDEN = 6, 3, 4, 5, 8
CELLS = HEIGHT * WIDTH
RNG = np.random.default_rng(7)


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


W_POOL, W_FLAT, B = weights(CLASSES, CHANNELS), weights(CLASSES, CHANNELS * CELLS), weights(CLASSES)
W1, B1 = weights(HIDDEN, CHANNELS * CELLS), weights(HIDDEN)
W2, B2 = weights(CLASSES, HIDDEN), weights(CLASSES)
W_SMALL = weights(CLASSES, CHANNELS * 2)  # after a 2 x 2 max pool of 3 x 4: 1 x 2 positions
CONSTANTS = {
    "w_pool": W_POOL,
    "w_pool_t": W_POOL.T.copy(),
    "w_pool_half": W_POOL.astype(np.float16),
    "w_flat": W_FLAT,
    "b": B,
    "b_row": B[None],
    "w1": W1,
    "b1": B1,
    "w2": W2,
    "w2_t": W2.T.copy(),
    "b2": B2,
    "w_small": W_SMALL,
    "spatial": np.array([2, 3]),
    "flat": np.array([0, -1]),
    "squeezed": np.array([2, 3]),
    "one": np.array([1.0], dtype=np.float32),
    "axis": np.array([0]),
    "minus": np.array([-1]),
}


def node(op: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"node_{output}", **attributes)


def pooled(features: np.ndarray) -> np.ndarray:
    """dz/df of GAP + FC: W / (h w) at every position."""
    return np.broadcast_to(W_POOL[None, :, :, None, None] / CELLS, (len(features), CLASSES, *features.shape[1:]))


def flattened(features: np.ndarray) -> np.ndarray:
    """dz/df of flatten + FC: the rows of W, one weight a channel and position."""
    shape = (CLASSES, CHANNELS, HEIGHT, WIDTH)
    return np.broadcast_to(W_FLAT.reshape(shape), (len(features), *shape))


def perceptron(features: np.ndarray) -> np.ndarray:
    """dz/df of flatten + FC + ReLU + FC: W2 diag(hidden > 0) W1."""
    hidden = features.reshape(len(features), -1) @ W1.T + B1
    jacobian = np.einsum("ch,nh,hd->ncd", W2, hidden > 0, W1)
    return jacobian.reshape(len(features), CLASSES, CHANNELS, HEIGHT, WIDTH)


def max_pooled(features: np.ndarray) -> np.ndarray:
    """dz/df of max pool + flatten + FC: each weight at the position that won its window."""
    out = np.zeros((len(features), CLASSES, *features.shape[1:]), dtype=np.float32)
    weight = W_SMALL.reshape(CLASSES, CHANNELS, 1, 2)
    for n, k, x in np.ndindex(len(features), CHANNELS, 2):
        window = features[n, k, 0:2, 2 * x : 2 * x + 2]
        row, column = np.unravel_index(window.argmax(), window.shape)
        out[n, :, k, row, 2 * x + column] = weight[:, k, 0, x]
    return out


@dataclass
class Case:
    nodes: Sequence[NodeProto]
    jacobian: Callable[[np.ndarray], np.ndarray]
    kind: str
    opset: int = 18
    features: str | None = None


GAP = node("GlobalAveragePool", "f", "p")
FLAT = node("Flatten", "p", "v")
FC = node("Gemm", "v w_pool b", "logits", transB=1)
MLP = (node("Flatten", "f", "v"), node("Gemm", "v w1 b1", "h", transB=1), node("Relu", "h", "r"))

CASES = {
    "gap, flatten, gemm": Case([GAP, FLAT, FC], pooled, "gap + fc"),
    "reduce mean with axes as input": Case(
        [node("ReduceMean", "f spatial", "p", keepdims=0), node("Gemm", "p w_pool b", "logits", transB=1)],
        pooled,
        "gap + fc",
    ),
    "reduce mean with axes as attribute": Case(
        [node("ReduceMean", "f", "p", axes=[-2, -1]), node("Reshape", "p flat", "v"), FC], pooled, "gap + fc", opset=13
    ),
    "average pool of a full kernel, squeeze": Case(
        [node("AveragePool", "f", "p", kernel_shape=[HEIGHT, WIDTH]), node("Squeeze", "p squeezed", "v"), FC],
        pooled,
        "gap + fc",
    ),
    "dropout and identity between": Case(
        [GAP, FLAT, node("Dropout", "v", "d"), node("Identity", "d", "i"), node("Gemm", "i w_pool b", "z", transB=1)],
        pooled,
        "gap + fc",
    ),
    "matmul and add": Case(
        [GAP, FLAT, node("MatMul", "v w_pool_t", "m"), node("Add", "b m", "logits")], pooled, "gap + fc"
    ),
    "gemm without transB, bias as a row": Case(
        [GAP, FLAT, node("Gemm", "v w_pool_t b_row", "logits")], pooled, "gap + fc"
    ),
    "weights behind a transpose": Case(
        [node("Transpose", "w_pool_t", "w", perm=[1, 0]), GAP, FLAT, node("Gemm", "v w b", "logits", transB=1)],
        pooled,
        "gap + fc",
    ),
    "softmax at the end": Case([GAP, FLAT, FC, node("Softmax", "logits", "p_out", axis=-1)], pooled, "gap + fc"),
    "opset 9": Case([GAP, FLAT, FC, node("Softmax", "logits", "p_out", axis=1)], pooled, "gap + fc", opset=9),
    "flatten, gemm": Case(
        [node("Flatten", "f", "v"), node("Gemm", "v w_flat b", "logits", transB=1)], flattened, "flatten + fc"
    ),
    "average pool of kernel 1, reshape": Case(
        [
            node("AveragePool", "f", "p", kernel_shape=[1, 1]),
            node("Reshape", "p flat", "v"),
            node("Gemm", "v w_flat b", "logits", transB=1),
        ],
        flattened,
        "flatten + fc",
        features="f",
    ),
    "mlp": Case(
        [*MLP, node("Gemm", "r w2 b2", "logits", transB=1)], perceptron, "flatten + fc + relu + fc"
    ),
    "mlp with dropout, matmul and add": Case(
        [*MLP, node("Dropout", "r", "d"), node("MatMul", "d w2_t", "m"), node("Add", "m b2", "logits")],
        perceptron,
        "flatten + fc + relu + fc",
    ),
    "mlp at opset 11": Case(
        [*MLP, node("Gemm", "r w2 b2", "logits", transB=1)], perceptron, "flatten + fc + relu + fc", opset=11
    ),
    "a feature map above a max pool": Case(
        [
            node("MaxPool", "f", "p", kernel_shape=[2, 2], strides=[2, 2]),
            FLAT,
            node("Gemm", "v w_small b", "logits", transB=1),
        ],
        max_pooled,
        "maxpool + fc",
        features="f",
    ),
    "an added bias above the pool": Case(
        [node("Relu", "f", "q"), node("GlobalAveragePool", "q", "p"), FLAT, FC],
        lambda features: pooled(features) * (features > 0)[:, None],
        "relu + gap + fc",
        features="f",
    ),
}  # fmt: skip


def build(case: Case) -> onnx.ModelProto:
    """`f = -x`, by a convolution, then the head of the case."""
    used = {name for entry in case.nodes for name in entry.input}
    initializers = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used]
    initializers.append(numpy_helper.from_array(np.full((CHANNELS, 1, 1, 1), -1, np.float32), "minus_one"))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "minus_one"], ["f"], group=CHANNELS), *case.nodes],
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(case.nodes[-1].output[0], TensorProto.FLOAT, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_maps_equal_the_closed_form_and_add_up(case: Case) -> None:
    model = build(case)
    graph = Graph(model)
    head = find_head(graph, HeadQuery(features=case.features))
    assert (head.features, head.kind, head.n_classes) == ("f", case.kind, CLASSES)
    derived = contribution_model(graph, head)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(derived.model, strict_mode=True))

    features = RNG.standard_normal((3, CHANNELS, HEIGHT, WIDTH)).astype(np.float32)
    class_ids = np.array([[4, 0], [1, 1], [2, 3]])
    session = runtime.open_session(derived.model.SerializeToString(), "cpu", weights=derived.weights)
    maps, bias = session.run([CAM, BIAS], {FEATURES: features, CLASS_IDS: class_ids})

    jacobian = np.take_along_axis(case.jacobian(features), class_ids[:, :, None, None, None], axis=1)
    np.testing.assert_allclose(maps, (jacobian * features[:, None]).sum(axis=2), rtol=1e-4, atol=1e-5)
    model.graph.output.append(helper.make_empty_tensor_value_info(head.logits))
    (logits,) = runtime.open_session(model.SerializeToString(), "cpu").run([head.logits], {"x": -features})
    wanted = np.take_along_axis(logits, class_ids, axis=1)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)) + bias, wanted, rtol=1e-4, atol=1e-5)


def test_large_weights_are_shared_and_not_copied() -> None:
    case = CASES["flatten, gemm"]
    model = build(case)
    large = np.tile(W_FLAT, (100, 1))  # 500 classes
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(large, "w_flat"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.tile(B, 100), "b"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 500
    graph = Graph(model)
    derived = contribution_model(graph, find_head(graph))
    assert list(derived.weights.copied) == ["w_flat"]
    np.testing.assert_array_equal(derived.weights.get("w_flat"), large)
    assert derived.model.ByteSize() < large.nbytes / 10
