"""The metadata entry: written, read back, refused when damaged or of another schema."""

from __future__ import annotations

import json

import pytest
from onnx import ModelProto

from secam_onnx.contract import KEY, Contract, HeadRecord
from secam_onnx.errors import ModelError
from secam_onnx.preprocess import Preprocessing

CONTRACT = Contract(
    output="probabilities",
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
    assert Contract.of(model) is None
    CONTRACT.write_to(model)
    CONTRACT.write_to(model)
    assert [entry.key for entry in model.metadata_props] == ["author", KEY]
    assert Contract.of(ModelProto.FromString(model.SerializeToString())) == CONTRACT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.update(schema=2), "has schema 2; this version reads 1"),
        (lambda data: data.pop("schema"), "damaged"),
        (lambda data: data.pop("head"), "damaged"),
        (lambda data: data["head"].pop("kind"), "damaged"),
        (lambda data: data.update(surprise=1), "damaged"),
        (lambda data: data["preprocessing"].update(size=[0, 0]), "damaged"),
        (lambda data: data.update(labels=5), "damaged"),
    ],
)
def test_what_cannot_be_read_is_refused(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    data = json.loads(CONTRACT.to_json())
    change(data)
    with pytest.raises(ModelError, match=f"{reason}.*secam-onnx export"):
        Contract.from_json(json.dumps(data))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ModelError, match="damaged"):
        Contract.from_json("{half")
