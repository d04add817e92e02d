"""Shapes that inference leaves open, told by a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.errors import HeadError
from secam_onnx.export import export_model, open_source
from secam_onnx.graph.index import Graph
from secam_onnx.graph.probe import probe_shapes
from secam_onnx.head import find_head

# The shape of `r` depends on the pixels as far as inference can see; those of window partitions are as hard for it.
TEXT = """<ir_version: 10, opset_import: ["" : 18]>
net (float[N, 3, 32, 32] image) => (float[N, 5] logits) {
    c = Conv <strides = [8, 8], pads = [0, 0, 0, 0]> (image, k)
    s = Shape (c)
    n = ReduceMax <keepdims = 0> (image)
    m = IsNaN (n)
    z = Cast <to = 7> (m)
    i = Add (s, z)
    r = Reshape (c, i)
    last = Constant <value_ints = [0, 6, -1]> ()
    u = Reshape (r, last)
    t = Transpose <perm = [0, 2, 1]> (u)
    axis = Constant <value_ints = [1]> ()
    p = ReduceMean <keepdims = 0> (t, axis)
    logits = Gemm (p, w)
}"""


@pytest.fixture
def model() -> onnx.ModelProto:
    """A classifier of 4 x 4 tokens, whose number inference does not find."""
    model = parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name, shape in (("k", (6, 3, 8, 8)), ("w", (6, 5))):
        model.graph.initializer.append(numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name))
    return model


def test_shapes_are_those_of_the_run(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    assert graph.shape("t") == (None, None, 6)
    assert "t" in graph.unknown_shapes
    with pytest.raises(HeadError, match="unknown number of tokens"):
        find_head(graph)
    shapes = probe_shapes(graph, ["t", "r", "logits"], (2, 3, 32, 32))
    assert shapes == {"t": (None, 16, 6), "r": (None, 6, 4, 4), "logits": (None, 5)}
    graph.learn(shapes)
    assert find_head(graph).grid.shape == (6, 4, 4)


def test_a_model_that_does_not_run_tells_nothing(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Nonsense"
    assert probe_shapes(Graph(model), ["t"], (2, 3, 32, 32)) == {}


def test_such_a_model_is_explained_exactly_and_found_again(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    metadata = export_model(open_source(str(tmp_path / "m.onnx")), tmp_path / "e.onnx")
    assert (metadata.head.kind, metadata.head.algebra, metadata.head.shape) == (
        "gap + fc",
        "piecewise linear",
        (6, 4, 4),
    )
    image = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    found = []
    for file in ("m.onnx", "e.onnx"):
        classifier = open_classifier(tmp_path / file, providers="cpu")
        features, logits, _ = classifier.forward(image)
        maps, bias = classifier.contribute(features, np.array([[0, 4], [1, 2]]))
        wanted = np.take_along_axis(logits, np.array([[0, 4], [1, 2]]), axis=1)
        np.testing.assert_allclose(maps.sum((2, 3)) + bias, wanted, rtol=1e-4, atol=1e-4)
        found.append(maps)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)
