"""Metadata that say something else than the graph of their explainable model are refused when it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import tiny_models

from secam_onnx import Explainer
from secam_onnx.classifier.metadata import KEY
from secam_onnx.errors import ModelError
from secam_onnx.export import Source, export_model
from secam_onnx.photograph.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    preprocessing = Preprocessing.preset("torchvision", (32, 32))
    export_model(Source(tiny_models.classifier(softmax=True), preprocessing, None, {}), path)
    return path


def changed(exported: Path, target: Path, changes: dict[str, Any]) -> Path:
    """The file with other values at some paths of its metadata: `head.shape`."""
    model = onnx.load(exported)
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    data = json.loads(entry.value)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = data
        for key in parents:
            place = place[key]
        place[last] = value
    entry.value = json.dumps(data)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head.shape": [6, 4, 16]}, r"head.shape \(6, 4, 16\), but 'feature_map' has shape"),
        ({"head.shape": [6, 64, 1]}, "head.shape"),
        ({"head.shape": [600, 8, 8]}, "head.shape"),
        ({"head.layout": "NHWC"}, "head"),
        ({"head.layout": "NLC", "head.prefix": 1}, "secam_features_own_layout|head"),
        ({"head.features": "ghost"}, "the feature map 'ghost', which is not in it"),
        ({"head.features": "logits"}, "head"),
        ({"head.span": [[0, 1], [1, 0]]}, r"head.span \(\(0.0, 1.0\), \(1.0, 0.0\)\), but the graph has"),
        ({"head.algebra": "smooth"}, "head.algebra 'smooth', but the graph has piecewise linear"),
        ({"head.pick": [[0, 1]]}, r"head.pick\[0\] \(0, 1\), but the graph has None"),
        ({"head.pick": [[6 - index, 1] for index in range(7)]}, r"head.pick\[0\] \(6, 1\)"),
        ({"head.further": [{"features": "x", "shape": [1, 2, 2], "layout": "NCHW", "span": [[0, 1], [0, 1]]}]}, "'x'"),
        ({"activation": "sigmoid"}, "activation 'sigmoid', but the graph has softmax"),
        ({"activation": "none"}, "activation 'none', but the graph has softmax"),
        ({"logits": "probabilities"}, "logits 'probabilities', but the graph has logits"),
        ({"probabilities": None}, "probabilities, which it makes, is null"),
        ({"probabilities": "secam_logits"}, "probabilities 'secam_logits', but the graph has probabilities"),
        ({"explained_output": "ghost"}, "the output 'ghost'"),
        ({"labels": ["one", "two"]}, "2 labels for 7 classes"),
        ({"preprocessing.size": [64, 64], "preprocessing.resize_to": None}, "size|shape"),
        ({"preprocessing.mean": [0], "preprocessing.std": [1]}, "3 channels"),
    ],
)
def test_what_contradicts_the_graph_is_refused(
    exported: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        Explainer(changed(exported, tmp_path / "changed.onnx", changes), providers="cpu")


def test_descriptions_are_those_of_the_graph(exported: Path, tmp_path: Path) -> None:
    wanted = Explainer(exported, providers="cpu").classifier.metadata
    changes = {"head.kind": "attention", "head.weights": ["ghost"], "head.steps": [["nothing", "at all"]]}
    found = Explainer(changed(exported, tmp_path / "changed.onnx", changes), providers="cpu").classifier.metadata
    assert found == wanted
