"""The metadata entry: written, read back, refused when damaged or of another schema."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

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
    probabilities="probabilities",
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
        size=(224, 224),
        batch=None,
        opset=18,
        n_classes=3,
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
        own_outputs={"secam_logits": "logits", "probabilities": "probabilities"},
        agreement={"images": ["a"]},
    )
    metadata = dataclasses.replace(METADATA, fused=record)
    assert ModelMetadata.from_json(metadata.to_json()) == metadata
    assert json.loads(metadata.to_json())["fused"]["schema"] == 2
    assert record.inputs == {"image": ("uint8", ["N", 224, 224, 3]), "classes": ("int64", ["N or 1", "K"])}
    assert record.outputs["overlay"] == ("uint8", ["N", "K", 224, 224, 3])
    alone = dataclasses.replace(record, batch=1, overlay=False)
    assert alone.inputs["image"] == ("uint8", [1, 224, 224, 3])
    assert alone.outputs["segment_scores"] == ("float32", [1, "K", 48])
    assert "overlay" not in alone.outputs


def changed(path: str, value: Any) -> str:
    """The text with another value at a path: `head.shape`."""
    data = json.loads(METADATA.to_json())
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


MISSING = object()
NUMBER = "a whole number of 1 to 2147483647 or null was expected"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("schema", 1, "has schema 1; this version reads 2"),
        ("schema", MISSING, "damaged: it has no schema"),
        ("schema", "2", "damaged: schema is '2'; a whole number"),
        ("head", MISSING, "damaged: it has no head"),
        ("head", [], "damaged: head is a list of 0; an object was expected"),
        ("head.kind", MISSING, "damaged: head has no kind"),
        ("head.kind", 5, "head.kind is 5; text was expected"),
        ("head.shape", [1, 2], r"head.shape is \(1, 2\); \(C, h, w\)"),
        ("head.shape", [1, 2, 0], r"head.shape\[2\] is 0; a whole number of 1 to 2147483647"),
        ("head.shape", [1, 2, True], r"head.shape\[2\] is true; a whole number"),
        ("head.shape", "wide", "head.shape is 'wide'; a list"),
        ("head.layout", "CHWN", "head.layout is 'CHWN'; one of NCHW, NHWC, NLC, NCL, LNC was expected"),
        ("head.algebra", "magic", "head.algebra is 'magic'; one of piecewise linear"),
        ("head.prefix", -1, "head.prefix is -1"),
        ("head.prefix", 1, "a map of NHWC has none"),
        ("head.span", [[0, 1], [0, 1.5]], r"head.span\[1\]\[1\] is 1.5; a finite number of 0 to 1"),
        ("head.span", [[0, 1], [1, 1]], "head.span is .*, which is empty"),
        ("head.pick", [[0, 2]], r"head.pick\[0\]\[1\] is 2; one of 1, -1"),
        ("head.pick", [[-1, 1]], r"head.pick\[0\]\[0\] is -1"),
        ("head.pick", [[0, 1]], "3 labels for 1 classes"),
        (
            "head.attention",
            {"passed": [1], "total": 2, "plain": True, "rounds": False},
            "head.algebra is 'smooth', but head.attention is given",
        ),
        ("head.attention", {"passed": [1], "total": 2}, "head.attention has no plain"),
        ("head.algebra", "detached", "head.attention is null"),
        ("head.steps", [["a"]], r"head.steps\[0\] is a list of 1; a list \(text, text\) was expected"),
        ("head.further", [{"features": "f", "shape": [1, 2, 3]}], r"head.further\[0\] has no layout"),
        ("surprise", 1, "it has 'surprise', which is not known"),
        ("preprocessing.size", [0, 0], "preprocessing: .*size"),
        ("preprocessing.size", [8], "preprocessing.size is a list of 1"),
        ("preprocessing.mean", [None], r"preprocessing.mean\[0\] is null; a finite number"),
        ("preprocessing.layout", "HWC", "preprocessing.layout is 'HWC'; 'NCHW' or 'NHWC' was expected"),
        ("preprocessing.resize_to", {}, "preprocessing.resize_to is an object of 0; a whole number or a list"),
        ("labels", 5, "labels is 5; a list"),
        ("labels", [], "labels is empty"),
        ("labels", ["a", None, "c"], r"labels\[1\] is null; text"),
        ("labels", ["a", "\ud800", "c"], "half of a surrogate pair"),
        ("origin", [], "origin is a list of 0; an object"),
        ("origin.preprocessing", 7, r"origin\['preprocessing'\] is 7; text"),
        ("completeness", 5, "completeness is 5; an object"),
        ("completeness.max_relative_error", "small", "completeness.max_relative_error is 'small'; a finite number"),
        ("completeness.max_relative_error", math.nan, "NaN, which is no number of JSON"),
        ("completeness.max_relative_error", 10**30, "larger than int64"),
        ("fidelity.images", ["a", 1], r"fidelity.images\[1\] is 1"),
        ("activation", "magic", "activation is 'magic'; one of none, softmax, log_softmax, sigmoid"),
        ("probability", "magic", "probability is 'magic'; one of softmax, sigmoid, none"),
        ("probabilities", None, "activation is 'softmax', but probabilities, which it makes, is null"),
        ("probabilities", 1, "probabilities is 1; text"),
        ("fused", 5, "fused is 5; an object"),
    ],
)
def test_what_cannot_be_read_is_refused(path: str, value: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=f"{reason}.*secam-onnx export"):
        ModelMetadata.from_json(changed(path, value))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{half", "it is not JSON"),
        ("[]", "it holds a list"),
        ('{"schema": 2, "schema": 2}', "the key 'schema' occurs twice"),
        ('{"schema": 1e400}', "larger than float64"),
        ('{"a": ' + "9" * 5000 + "}", "larger than int64"),
        ("[" * 40 + "]" * 40, "nested 40 deep"),
        ("[" + "[]," * 2_000_000 + "[]]", "more than 1,000,000 entries"),
        ('"' + "x" * 17_000_000 + '"', "17,000,002 characters"),
        ('"' + r"\"" * 1_000_000, "it is not JSON"),
    ],
)
def test_texts_that_are_no_metadata_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ModelError, match=f"damaged: .*{reason}"):
        ModelMetadata.from_json(text)


def test_what_could_not_be_read_is_not_written() -> None:
    with pytest.raises(ModelError, match="half of a surrogate pair"):
        dataclasses.replace(METADATA, labels=("a", "\ud800", "c")).write_to(ModelProto())
