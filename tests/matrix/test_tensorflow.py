"""A network of TensorFlow through tf2onnx, against TensorFlow itself and the closed form of CAM."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cells import TENSORFLOW
from keras_networks import enliven

from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier

pytest.importorskip("tf2onnx")
pytest.importorskip("tensorflow")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import tensorflow as tf
import tf2onnx

CLASS_IDS = [0, 282, 999]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """MobileNetV2 with random weights whose numbers keep a usual size on their way."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None)
    enliven(model, np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32))
    return model


@pytest.mark.parametrize("how", ["from_keras", "from_function", "from_function, NCHW"])
def test_features_probabilities_and_maps_equal_tensorflow(network: keras.Model, how: str, tmp_path: Path) -> None:
    cell, path = TENSORFLOW["MobileNetV2"], tmp_path / "model.onnx"
    signature = [tf.TensorSpec((None, 224, 224, 3), tf.float32, name="image")]
    if how == "from_keras":
        tf2onnx.convert.from_keras(network, input_signature=signature, opset=18, output_path=str(path))
    else:
        nchw = {"inputs_as_nchw": ["image"]} if "NCHW" in how else {}
        function = tf.function(lambda image: network(image))
        tf2onnx.convert.from_function(function, input_signature=signature, opset=18, output_path=str(path), **nchw)

    report = inspect_model(path)
    assert (report["head"]["kind"], report["head"]["algebra"]) == (cell.head, cell.algebra)
    assert (tuple(report["feature_map"]["shape"]), report["feature_map"]["layout"]) == (cell.shape, "NHWC")
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 1e-4
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-4

    images = np.random.default_rng(1).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    classifier = open_classifier(path, providers="cpu")
    assert classifier.input.layout == ("NCHW" if "NCHW" in how else "NHWC")
    inputs = images.transpose(0, 3, 1, 2) if classifier.input.layout == "NCHW" else images
    features, logits, probabilities = classifier.forward(np.ascontiguousarray(inputs))
    layer = keras.Model(network.inputs, network.get_layer(cell.layer).output)
    own = np.asarray(layer(images)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(features[0], own, rtol=1e-3, atol=1e-4 * own.max())
    np.testing.assert_allclose(probabilities, np.asarray(network(images)), rtol=1e-3)

    kernel, bias = (np.asarray(value) for value in network.get_layer("predictions").weights)
    maps, ours = classifier.contribute(features, np.array([CLASS_IDS] * 2))
    cam = np.einsum("kc,nkhw->nchw", kernel[:, CLASS_IDS], own) / np.prod(cell.shape[1:])
    np.testing.assert_allclose(maps, cam, rtol=1e-3, atol=1e-4 * np.abs(cam).max())
    np.testing.assert_allclose(ours, [bias[CLASS_IDS]] * 2, rtol=1e-5)
    np.testing.assert_allclose(maps.sum((2, 3)) + ours, logits[:, CLASS_IDS], rtol=1e-3, atol=1e-5)
