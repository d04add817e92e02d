"""Small heads in ONNX's text format, their contribution models run, and the Jacobian from another source.

The other source is central differences, in float64, of ONNX's reference implementation. Constants need no declaration,
for their names say what they are: `w_5x4` is a weight of shape (5, 4), `b_5` something that is added, `p_4x1x1`
something positive, all of random numbers; `i_2_m1` is the integers [2, -1] and `c_m0p5` the number -0.5.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from reference_operators import OPERATORS

from secam_onnx import runtime
from secam_onnx.graph.index import Graph
from secam_onnx.head import BIAS, CAM, CLASS_IDS, FEATURES, GAP, ContributionModel, Head, contribution_model, find_head
from secam_onnx.head_query import HeadQuery

__all__ = [
    "CLASS_IDS_ASKED",
    "SHAPE",
    "Answer",
    "answer",
    "build",
    "check",
    "constants_of",
    "fill",
    "own_layout",
    "run",
]

SHAPE = (4, 3, 2)
"""Channels, rows, columns of the feature map, unless a case says otherwise."""

CLASS_IDS_ASKED = np.array([[4, 0, 2], [1, 1, 3], [2, 3, 0]])
"""For three images: in any order, and one twice."""

_NAME = re.compile(r"\b[wbp]_\d+(?:x\d+)*\b|\bi(?:_m?\d+)+\b|\bc_m?\d+(?:p\d+)?\b")
_BACKBONE = {
    "NCHW": "f = Conv <group = {c}> (x, ones)",
    "NHWC": "g = Conv <group = {c}> (x, ones) f = Transpose <perm = [0, 2, 3, 1]> (g)",
    "NCL": "g = Conv <group = {c}> (x, ones) f = Reshape (g, rows)",
    "NLC": "g = Conv <group = {c}> (x, ones) l = Reshape (g, rows) f = Transpose <perm = [0, 2, 1]> (l)",
}
_STEP = 1e-6


@dataclass(frozen=True)
class Answer:
    """What came out, and what was expected."""

    model: ModelProto
    head: Head
    features: np.ndarray
    class_ids: np.ndarray
    maps: np.ndarray
    bias: np.ndarray
    gap: np.ndarray
    logits: np.ndarray

    def expected_maps(self) -> np.ndarray:
        """Jacobian times features, by differences."""
        jacobian = differences(self.model, self.head.logits, self.features, self.head.grid.layout)
        asked = np.take_along_axis(jacobian, self.class_ids[:, :, None, None, None], axis=1)
        return (asked * self.features[:, None]).sum(axis=2)


def constants_of(body: str) -> dict[str, np.ndarray]:
    """The constants that a body names."""
    values: dict[str, np.ndarray] = {}
    for name in _NAME.findall(body):
        kind, *numbers = name.split("_")
        if kind == "i":
            values[name] = np.array([int(number.replace("m", "-")) for number in numbers])
        elif kind == "c":
            values[name] = np.array(numbers[0].replace("m", "-").replace("p", "."), np.float32)
        else:
            shape = tuple(map(int, numbers[0].split("x")))
            random = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
            values[name] = np.abs(random) + np.float32(0.5) if kind == "p" else random
    return values


def fill(template: str, place: str, shape: tuple[int, ...] = SHAPE, after: tuple[int, ...] | None = None) -> str:
    """A head around a node `Y = ... (X)`.

    `dense`: on the feature map, before flatten + FC; `uniform`: before GAP + FC; `hidden`: between two FC layers;
    `logits`: after the last. `after` is the shape of Y, where it is not that of the feature map.
    """
    size, into = int(np.prod(shape)), int(np.prod(after or shape))
    before, behind, x, y = {
        "dense": ("", f"v = Flatten (y) logits = Gemm <transB = 1> (v, w_5x{into}, b_5)", "f", "y"),
        "uniform": (
            "",
            f"p = GlobalAveragePool (y) v = Flatten (p) logits = Gemm <transB = 1> (v, w_5x{(after or shape)[0]}, b_5)",
            "f",
            "y",
        ),
        "hidden": (
            f"v = Flatten (f) h = Gemm <transB = 1> (v, w_6x{size}, b_6)",
            "logits = Gemm <transB = 1> (y, w_5x6, b_5)",
            "h",
            "y",
        ),
        "logits": (f"v = Flatten (f) l = Gemm <transB = 1> (v, w_5x{size}, b_5)", "", "l", "logits"),
    }[place]
    return " ".join([before, re.sub(r"\bY\b", y, re.sub(r"\bX\b", x, template)), behind])


def build(
    body: str,
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    shape: tuple[int, ...] = SHAPE,
    layout: str = "NCHW",
    opset: int = 18,
    half: bool = False,
    batch: int | str = "N",
) -> ModelProto:
    """A model whose feature map `f` is its input `(N, C, h, w)` in the given layout, then the head."""
    own = {"ones": np.ones((shape[0], 1, 1, 1), np.float32), "rows": np.array([0, 0, -1])}
    text = f"{_BACKBONE[layout].format(c=shape[0])} {body}"
    used = {key: value for key, value in own.items() if re.search(rf"\b{key}\b", text)}
    values = {**used, **constants_of(body), **(constants or {})}
    kind = "float16" if half else "float"
    dims = ", ".join(map(str, (batch, *shape)))
    opsets = f'"" : {opset}' + (', "com.microsoft" : 1' if "com.microsoft." in body else "")
    model = parser.parse_model(
        f"<ir_version: 8, opset_import: [{opsets}]> head ({kind}[{dims}] x) => ({kind}[N, M] logits) {{ {text} }}"
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for name, value in values.items():
        exact = value.astype(np.float16) if half and value.dtype == np.float32 else value
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(exact), name))
    return model


def own_layout(features: np.ndarray, layout: str) -> np.ndarray:
    """`(N, C, h, w)` in another layout."""
    if layout == "NHWC":
        return features.transpose(0, 2, 3, 1)
    rows = features.reshape(*features.shape[:2], -1)
    return {"NCHW": features, "NCL": rows, "NLC": rows.transpose(0, 2, 1)}[layout]


def _reference(model: ModelProto, logits: str) -> ReferenceEvaluator:
    """The head alone, from `f`, in float64."""
    double = ModelProto()
    double.CopyFrom(model)
    if any(node.op_type == "BatchNormalization" for node in model.graph.node):
        # ONNX's own takes the older versions for training.
        double.opset_import[0].version = max(15, double.opset_import[0].version)
    graph = double.graph
    start = next(index for index, node in enumerate(graph.node) if "f" in node.output)
    del graph.node[: start + 1]
    for node in graph.node:
        for entry in node.attribute:
            if node.op_type == "Cast" and entry.name == "to" and entry.i in (TensorProto.FLOAT, TensorProto.FLOAT16):
                entry.i = TensorProto.DOUBLE
            if node.op_type == "Constant" and entry.name == "value" and entry.t.data_type == TensorProto.FLOAT:
                entry.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry.t).astype(np.float64)))
    for tensor in graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("f", TensorProto.DOUBLE, None))
    graph.output.append(helper.make_empty_tensor_value_info(logits))
    return ReferenceEvaluator(double, new_ops=OPERATORS)


def differences(model: ModelProto, logits: str, features: np.ndarray, layout: str) -> np.ndarray:
    """The Jacobian `(N, classes, C, h, w)` by central differences."""
    n, size = len(features), features[0].size
    steps = _STEP * np.concatenate([np.eye(size), -np.eye(size)])
    moved = features.astype(np.float64).reshape(n, 1, size) + steps
    run = _reference(model, logits)
    (values,) = run.run(None, {"f": own_layout(moved.reshape(-1, *features.shape[1:]), layout)})
    values = values.reshape(n, 2, size, -1)
    return np.moveaxis((values[:, 0] - values[:, 1]) / (2 * _STEP), 1, 2).reshape(n, -1, *features.shape[1:])


def run(
    model: ModelProto,
    features: np.ndarray,
    class_ids: np.ndarray = CLASS_IDS_ASKED,
    *,
    masking: bool = False,
    tokens: tuple[int, int] | None = None,
) -> list[np.ndarray]:
    """Maps, bias and gap of a model that `build` made."""
    graph = Graph(model)
    head = find_head(graph, HeadQuery(features="f", token_grid=tokens))
    return _run(contribution_model(graph, head, masking=masking), features, class_ids)


def _run(derived: ContributionModel, features: np.ndarray, class_ids: np.ndarray) -> list[np.ndarray]:
    session = runtime.open_session(
        derived.model.SerializeToString(), "cpu", weights=derived.weights, integer_kernels=False
    )
    return session.run([CAM, BIAS, GAP], {FEATURES: features.astype(np.float32), CLASS_IDS: class_ids})


def answer(
    body: str,
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    shape: tuple[int, ...] = SHAPE,
    layout: str = "NCHW",
    opset: int = 18,
    half: bool = False,
    features: np.ndarray | None = None,
) -> Answer:
    """Run the contribution model of a head on three random feature maps."""
    model = build(body, constants, shape=shape, layout=layout, opset=opset, half=half)
    graph = Graph(model)
    head = find_head(graph, HeadQuery(features="f", token_grid=shape[1:]))
    assert head.understood, head.rejected
    assert head.grid.layout == layout
    derived = contribution_model(graph, head)
    # The checker would look for the file of large weights, and inference knows nothing of group normalisation.
    if not derived.weights and "GroupNormalization" not in body:
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(derived.model, strict_mode=True))
    if features is None:
        features = np.random.default_rng(zlib.crc32(body.encode())).standard_normal((3, *shape))
    features = features.astype(np.float16 if half else np.float32).astype(np.float32)
    class_ids = CLASS_IDS_ASKED % head.n_classes
    maps, bias, gap = _run(derived, features, class_ids)

    network = ModelProto()
    network.CopyFrom(model)
    del network.graph.output[:]
    network.graph.output.append(helper.make_empty_tensor_value_info(head.logits))
    (logits,) = runtime.open_session(onnx.shape_inference.infer_shapes(network).SerializeToString(), "cpu").run(
        None, {"x": features.astype(np.float16 if half else np.float32)}
    )
    asked = np.take_along_axis(logits.reshape(3, -1).astype(np.float32), class_ids, axis=1)
    return Answer(model, head, features, class_ids, maps, bias, gap, asked)


def check(
    body: str,
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    algebra: str = "piecewise linear",
    tolerance: float | None = None,
    **settings: object,
) -> Answer:
    """Maps are Jacobian times features, and maps, bias and gap are the logits; no gap where the head is linear."""
    if tolerance is None:
        tolerance = 1e-2 if settings.get("half") else 2e-5
    found = answer(body, constants, **settings)
    assert found.head.algebra == algebra
    wanted = found.expected_maps()
    size = max(1.0, float(np.abs(wanted).max()), float(np.abs(found.logits).max()))
    np.testing.assert_allclose(found.maps, wanted, rtol=0, atol=tolerance * size)
    total = found.maps.sum(axis=(2, 3)) + found.bias + found.gap
    np.testing.assert_allclose(total, found.logits, rtol=0, atol=4 * tolerance * size)
    if algebra == "piecewise linear":
        assert not found.gap.any()
    return found


def same(body: str, other: str, opset: int, **settings: Any) -> None:
    """One function in two spellings, the second at opset 18 and checked, where the first has no good reference."""
    shape = settings.get("shape", SHAPE)
    features = np.random.default_rng(11).standard_normal((3, *shape))
    wanted = check(other, features=features, **settings)
    found = answer(body, features=features, opset=opset, shape=shape)
    for name in ("maps", "bias", "gap", "logits"):
        size = float(np.abs(wanted.maps).max())
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-4 * size)


def assert_refused(body: str, reason: str, **settings: object) -> None:
    """The head is not understood, for a reason that holds these words."""
    head = find_head(Graph(build(body, **settings)), HeadQuery(features="f"))
    assert not head.understood
    assert reason in " ".join(entry.reason for entry in head.rejected)
