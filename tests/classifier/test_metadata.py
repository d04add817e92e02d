"""The metadata entry: written, read back, refused when damaged or of another schema."""

from __future__ import annotations

import dataclasses
import json

import pytest
from onnx import ModelProto

from secam_onnx.classifier.metadata import KEY, FusedRecord, HeadRecord, ModelMetadata
from secam_onnx.errors import ModelError
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.superpixels import Segmenter
from secam_onnx.superpixels.selection import Selection

METADATA = ModelMetadata(
    explained_output="probabilities",
    logits="secam_logits",
    activation="softmax",
    head=HeadRecord(
        "gap + fc",
        "relu_48",
        (2048, None, None),
        ("w", "b"),
        (("Gemm fc", "FC"),),
        (("v", "no grid"),),
        layout="NHWC",
        algebra="smooth",
    ),
    preprocessing=Preprocessing.preset("lite", (224, 224)),
    labels=("Katze", "chien «é»", "猫"),
    origin={"source": "test"},
    completeness={"max_relative_error": 1e-6},
)


def test_round_trip_through_a_model() -> None:
    model = ModelProto()
    model.metadata_props.add(key="author", value="somebody")
    assert ModelMetadata.of(model) is None
    METADATA.write_to(model)
    METADATA.write_to(model)
    assert [entry.key for entry in model.metadata_props] == ["author", KEY]
    assert ModelMetadata.of(ModelProto.FromString(model.SerializeToString())) == METADATA


def test_what_is_said_of_a_fused_model() -> None:
    record = FusedRecord(
        size=(96, 160),
        batch=None,
        opset=18,
        n_classes=7,
        map_size=(3, 5),
        n_segments=48,
        segmenter=Segmenter("kmeans", 50, 20.0),
        selection=Selection(top_segments=4),
        attribution="gradient",
        tolerance=1e-3,
        top_k=2,
        default_classes=True,
        overlay=True,
        float16=False,
        own_outputs={"logits": "logits"},
        agreement={"images": ["a"]},
    )
    metadata = dataclasses.replace(METADATA, fused=record)
    assert ModelMetadata.from_json(metadata.to_json()) == metadata
    assert json.loads(metadata.to_json())["fused"]["schema"] == 2
    assert record.inputs == {"image": ("uint8", ["N", 96, 160, 3]), "classes": ("int64", ["N or 1", "K"])}
    assert record.outputs["overlay"] == ("uint8", ["N", "K", 96, 160, 3])
    alone = dataclasses.replace(record, batch=1, overlay=False)
    assert alone.inputs["image"] == ("uint8", [1, 96, 160, 3])
    assert alone.outputs["segment_scores"] == ("float32", [1, "K", 48])
    assert "overlay" not in alone.outputs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.update(schema=1), "has schema 1; this version reads 2"),
        (lambda data: data.pop("schema"), "damaged"),
        (lambda data: data.pop("head"), "damaged"),
        (lambda data: data["head"].pop("kind"), "damaged"),
        (lambda data: data.update(surprise=1), "damaged"),
        (lambda data: data["preprocessing"].update(size=[0, 0]), "damaged"),
        (lambda data: data.update(labels=5), "damaged"),
    ],
)
def test_what_cannot_be_read_is_refused(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    data = json.loads(METADATA.to_json())
    change(data)
    with pytest.raises(ModelError, match=f"{reason}.*secam-onnx export"):
        ModelMetadata.from_json(json.dumps(data))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ModelError, match="damaged"):
        ModelMetadata.from_json("{half")
