"""Classes in requests, where the model's names are numbers, words of ours, or hold commas."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import classifier

pytest.importorskip("kserve")

from secam_onnx import Explainer
from secam_onnx.errors import ClassError
from secam_onnx.serve.request.parameters import explanation_request
from secam_onnx.serve.request_parsing import read_file
from secam_onnx.serve.settings import Limits

LABELS = ["2", "0", "90", "all", "cat, big", "cat", "top-1"]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    path = tmp_path_factory.mktemp("numbered") / "m.onnx"
    onnx.save(classifier(classes=len(LABELS)), path)
    return Explainer(path, labels=LABELS)


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        (2, (2,)),
        ("90", (2,)),
        ("name:2", (0,)),
        ("index:2, name:0", (2, 1)),
        (["name:all", "all"], (3, "all")),
        ("top-1", ("top-1",)),
        (["cat, big"], (4,)),
        ('["cat, big", "name:top-1"]', (4, 6)),
    ],
)
def test_classes_in_json_and_strings(numbered: Explainer, classes: object, found: tuple[object, ...]) -> None:
    images = [np.zeros((32, 32, 3), np.uint8)]
    asked = explanation_request(images, {"classes": classes}, numbered, Limits())
    assert asked.queries == found
    opened: Any = numbered.classifier
    answered = opened.run(np.zeros((1, 3, 32, 32), np.float32), [asked.queries])
    assert len(answered[0].class_ids) == (7 if "all" in found else len(found))


def test_both_readings_are_an_error(numbered: Explainer) -> None:
    with pytest.raises(ClassError, match=r"'2' is the index of '90' and the name of class 0; .*'index:2' or 'name:2'"):
        explanation_request([np.zeros((32, 32, 3), np.uint8)], {"classes": "2"}, numbered, Limits())


def test_classes_in_an_address(numbered: Explainer) -> None:
    asked = read_file(b"", "class=cat,%20big&class=name:2", numbered, Limits(), explain=True)
    assert asked.queries == (4, 0)
