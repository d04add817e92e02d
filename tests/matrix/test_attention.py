"""Transformers of torchvision, timm and transformers through both exporters, against PyTorch with detached factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from attention_families import FAMILIES  # noqa: E402
from attention_networks import picture, write  # noqa: E402
from held_attention import contributions, linearise  # noqa: E402

from secam_onnx.classifier.inspection import inspect_model  # noqa: E402
from secam_onnx.classifier.open_classifier import open_classifier  # noqa: E402
from secam_onnx.head_query import HeadQuery  # noqa: E402

CLASS_IDS = [7, 2]
OF_EACH_EXPORTER = "torchvision VisionTransformer"


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == OF_EACH_EXPORTER else pytest.mark.full) for n in FAMILIES]
)
def test_logits_and_maps_equal_pytorch(name: str, exporter: str, tmp_path: Path) -> None:
    family, path = FAMILIES[name], tmp_path / "model.onnx"
    network, blocks = family.network()
    write(network, exporter, path, family.size)
    report = inspect_model(path)
    assert report["head"]["algebra"] == "detached"
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-4
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 1e-4

    query = HeadQuery(blocks=2 + family.after)
    classifier = open_classifier(path, providers="cpu", query=query)
    inputs = torch.cat([picture(0, family.size), picture(1, family.size)])
    tensors, logits, _ = classifier.forward(inputs.numpy())
    maps, bias, gap = classifier.contribute.local(tensors, np.array([CLASS_IDS] * 2))
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits[:, CLASS_IDS], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gap, 0, atol=1e-4)
    network, inputs = network.double(), inputs.double()
    for index, place in np.ndindex(2, 2):
        line = linearise(network, inputs[index : index + 1], blocks[-2], CLASS_IDS[place])
        np.testing.assert_allclose(logits[index], line.logits, rtol=1e-4, atol=1e-4)
        expected = contributions(family.cells(line.stream), family.cells(line.gradient)).numpy()
        ours = maps[index, place].ravel()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
