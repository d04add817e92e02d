"""A transformer behind the server: alone, together, all classes, and what its answers say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("kserve")

from servers import encoded
from serving import Server, instances
from token_networks import CLASSES, joint_transformer, transformer

from secam_onnx import Explainer
from secam_onnx.photograph.images import EncodedImage


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("transformers")
    for name, model in (("front", transformer(1, 0, positions_first=True)), ("inside", joint_transformer())):
        onnx.save(model, folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in ("front", "inside")}


@pytest.fixture(scope="module")
def vits(start: Callable[..., Server], files: dict[str, Path]) -> Server:
    return start(*(word for name, file in files.items() for word in ("--model", f"{name}={file}")))


@pytest.mark.parametrize("name", ["front", "inside"])
def test_answers_are_those_of_the_package(vits: Server, files: dict[str, Path], name: str) -> None:
    random = np.random.default_rng(0)
    images = [encoded(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(3)]
    answer = vits.post(f"/v1/models/{name}:explain", instances(*images, classes="all"))
    assert answer.status_code == 200, answer.text
    explainer = Explainer(files[name], providers="cpu")
    for image, found in zip(images, answer.json()["explanations"], strict=True):
        expected = explainer.explain(EncodedImage("image", image), "all")
        assert len(found["classes"]) == CLASSES
        assert "attention weights held" in found["method"]["attribution"]
        for key in ("attribution", "attention_blocks", "outlier_tokens"):
            assert found["method"][key] == expected.method[key]
        for entry, wanted in zip(found["classes"], expected.to_dict()["classes"], strict=True):
            assert entry["bias_share"] == pytest.approx(wanted["bias_share"], rel=1e-3)
            scores = [[part["score"] for part in one["superpixels"]] for one in (entry, wanted)]
            np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-5)
