"""A model whose output is a value, as an age: served without a probability, in every way to ask."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image
from serving import Server, b64, instances

from secam_onnx import Explainer

pytest.importorskip("kserve")


@pytest.fixture(scope="module")
def photograph() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_there_is_no_probability(start, photograph: bytes, tmp_path: Path) -> None:
    file = tmp_path / "age.onnx"
    file.write_bytes(tiny_models.classifier(classes=1).SerializeToString())
    server: Server = start("--model", f"age={file}")
    (entry,) = Explainer(file, providers="cpu").explain(np.asarray(Image.open(io.BytesIO(photograph)))).classes
    ((predicted,),) = server.post("/v1/models/age:predict", instances(photograph)).json()["predictions"]
    assert predicted["probability"] is None
    assert predicted["logit"] == pytest.approx(entry.logit, rel=1e-5)
    (explained,) = server.post("/v1/models/age:explain", instances(photograph)).json()["explanations"]
    assert explained["classes"][0]["probability"] is None
    assert explained["method"]["explained"] == "output"
    image = {"name": "encoded_image", "shape": [1], "datatype": "BYTES", "data": [b64(photograph)]}
    asked = [{"name": name} for name in ("class_probabilities", "class_logits")]
    reply = server.post("/v2/models/age/infer", {"inputs": [image], "outputs": asked}).json()
    values = {output["name"]: output["data"] for output in reply["outputs"]}
    assert values["class_probabilities"] == [None]
    assert values["class_logits"] == pytest.approx([entry.logit], rel=1e-5)
    assert any("probability none: one raw output" in str(line) for line in server.process.lines)
