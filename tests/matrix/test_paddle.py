"""Networks of PaddlePaddle through paddle2onnx, against what PaddlePaddle itself gave.

paddle2onnx wants an older onnx than this package, so `nox -s paddle` writes files and references in one environment
(this file as a program) and reads them in another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

CLASS_IDS = [0, 282, 999]
FOLDER = os.environ.get("SECAM_TEST_PADDLE_FILES")


def write(name: str, folder: Path) -> None:
    """Export one network of paddle.vision with random weights, and what it gives for one image."""
    import paddle

    paddle.set_device("cpu")
    paddle.seed(0)
    network = getattr(paddle.vision.models, name)(pretrained=False)
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0
    random = np.random.default_rng(0)
    network.train()
    network(paddle.to_tensor(random.standard_normal((8, 3, 224, 224)).astype(np.float32)))
    network.eval()
    seen = {}
    pool = next(layer for layer in network.sublayers() if isinstance(layer, paddle.nn.AdaptiveAvgPool2D))
    handle = pool.register_forward_pre_hook(lambda layer, inputs: seen.update(f=inputs[0]))
    image = random.standard_normal((1, 3, 224, 224)).astype(np.float32)
    logits = network(paddle.to_tensor(image))
    maps = []
    for class_id in CLASS_IDS:
        (gradient,) = paddle.grad(logits[:, class_id].sum(), seen["f"], retain_graph=True)
        maps.append((gradient * seen["f"]).sum(axis=1).numpy())
    handle.remove()
    np.savez(
        folder / f"{name}.npz", image=image, logits=logits.numpy(), features=seen["f"].numpy(), maps=np.stack(maps, 1)
    )
    spec = [paddle.static.InputSpec([None, 3, 224, 224], "float32", "image")]
    paddle.onnx.export(network, str(folder / name), input_spec=spec, opset_version=17)


@pytest.mark.skipif(FOLDER is None, reason="nox -s paddle makes the files")
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_features_logits_and_maps_equal_paddle(name: str) -> None:
    from cells import PADDLE

    from secam_onnx.classifier.inspection import inspect_model
    from secam_onnx.classifier.open_classifier import open_classifier

    cell, path = PADDLE[name], Path(str(FOLDER)) / f"{name}.onnx"
    report = inspect_model(path)
    assert (report["head"]["kind"], report["head"]["algebra"]) == (cell.head, cell.algebra)
    assert tuple(report["feature_map"]["shape"]) == cell.shape
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 1e-4
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-4
    reference = np.load(path.with_suffix(".npz"))
    classifier = open_classifier(path, providers="cpu")
    features, logits, _ = classifier.forward(reference["image"])
    maps, bias = classifier.contribute(features, np.array([CLASS_IDS]))
    for ours, own in ((features[0], reference["features"]), (logits, reference["logits"]), (maps, reference["maps"])):
        np.testing.assert_allclose(ours, own, rtol=2e-3, atol=2e-4 * np.abs(own).max())
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits[:, CLASS_IDS], rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
