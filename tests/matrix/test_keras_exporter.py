"""The paper's three networks through Keras's own exporter, against Keras and autograd on its layers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from cells import KERAS
from keras_networks import enliven

from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier

if importlib.util.find_spec("keras") is None:  # to import it here would choose its backend
    pytest.skip("Keras is not installed", allow_module_level=True)

from secam_onnx.export.keras import keras

torch = pytest.importorskip("torch")
CLASS_IDS = [0, 282, 999]


@pytest.mark.parametrize("name", KERAS)
def test_features_probabilities_and_maps_equal_keras(name: str, tmp_path: Path) -> None:
    cell, path = KERAS[name], tmp_path / "model.onnx"
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None)
    images = np.random.default_rng(1).uniform(-1, 1, (2, cell.size, cell.size, 3)).astype(np.float32)
    enliven(network, images)
    network.export(path, format="onnx", verbose=False)

    report = inspect_model(path)
    assert (report["head"]["kind"], report["head"]["algebra"]) == (cell.head, cell.algebra)
    assert report["feature_map"]["layout"] == "NHWC"
    assert report["feature_map"]["shape"][0] == cell.shape[0]
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 1e-4
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-4
    assert all(entry["reason"] for entry in report["rejected"])

    classifier = open_classifier(path, providers="cpu")
    features, logits, probabilities = classifier.forward(images)
    own, theirs, maps = reference(network, cell.layer, images)
    if cell.split:  # the classifier runs that layer cell by cell, and has what it makes of each
        kernel = network.get_layer(cell.split).kernel.value.detach().numpy()
        own = np.einsum("yxcj,ncyx->njyx", kernel.reshape(*cell.shape[1:], cell.shape[0], -1), own)
    ours, bias = classifier.contribute(features, np.array([CLASS_IDS] * 2))
    assert ours.shape[2:] == cell.shape[1:]
    for one, other in ((features[0], own), (probabilities, theirs), (ours, maps)):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=5e-4 * np.abs(other).max())
    np.testing.assert_allclose(ours.sum((2, 3)) + bias, logits[:, CLASS_IDS], rtol=1e-3, atol=1e-4)


def reference(network: keras.Model, layer: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature map, probabilities, and autograd's gradient x activation, with the channels first."""
    names = [entry.name for entry in network.layers]
    features = keras.Model(network.inputs, network.get_layer(layer).output)(images, training=False).detach()
    features.requires_grad_()
    x = features
    *between, last = network.layers[names.index(layer) + 1 :]
    for entry in between:
        x = entry(x, training=False)
    kernel, bias = (weight.value for weight in last.weights)
    logits = x @ kernel + bias
    maps = []
    for class_id in CLASS_IDS:
        (gradient,) = torch.autograd.grad(logits[:, class_id].sum(), features, retain_graph=True)
        maps.append((gradient * features).sum(dim=-1).detach().numpy())
    probabilities = logits.softmax(dim=1).detach().numpy()
    return features.detach().numpy().transpose(0, 3, 1, 2), probabilities, np.stack(maps, axis=1)
