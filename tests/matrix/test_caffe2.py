"""The Caffe2-era files inside the onnx wheel, as they lie there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from cells import CAFFE2, CAFFE2_OF_EACH_HEAD, each

from secam_onnx import runtime
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"


def test_every_file_is_in_the_matrix() -> None:
    assert {file.stem.removeprefix("light_") for file in FOLDER.glob("*.onnx")} == set(CAFFE2)


@each(CAFFE2, CAFFE2_OF_EACH_HEAD)
def test_features_are_the_named_tensor_and_maps_add_up(name: str) -> None:
    cell, path = CAFFE2[name], FOLDER / f"light_{name}.onnx"
    report = inspect_model(path)
    assert report["feature_map"]["tensor"] == cell.layer
    assert tuple(report["feature_map"]["shape"]) == cell.shape
    assert (report["head"]["kind"], report["head"]["algebra"]) == (cell.head, cell.algebra)
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 1e-4
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-4

    # Its weights are all alike, so the photograph does not matter; what plain ONNX Runtime gives for it does.
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(cell.layer))
    inputs = np.random.default_rng(0).standard_normal((1, 3, cell.size, cell.size)).astype(np.float32)
    session = runtime.open_session(model.SerializeToString(), "cpu")
    own, expected = session.run(None, {session.get_inputs()[0].name: inputs})
    classifier = open_classifier(path, providers="cpu")
    features, logits, probabilities = classifier.forward(inputs)
    np.testing.assert_allclose(features[0], expected, rtol=1e-4)
    given = probabilities if classifier.metadata.activation == "softmax" else logits
    np.testing.assert_allclose(given, own.reshape(given.shape), rtol=1e-3)
    maps, bias = classifier.contribute(features, np.array([[0, 999]]))
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits[:, [0, 999]], rtol=1e-4)
