"""An explanation as a row: every number of it, in the types that the schema says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from secam_onnx import Explainer, Explanation, PreprocessingSettings
from secam_onnx.batch import rows
from secam_onnx.errors import ImageError, ModelError
from secam_onnx.superpixels import decode_label_map

pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def cat(explainer: Explainer, chelsea: np.ndarray) -> Explanation:
    return explainer.explain(chelsea, ["top-3", 0])


def test_a_row_holds_what_the_explanation_holds(cat: Explanation) -> None:
    table = pa.RecordBatch.from_pylist([rows.row("cat.png", cat)], schema=rows.schema({}))
    (row,) = table.to_pylist()
    assert (row["image"], row["width"], row["height"]) == ("cat.png", 451, 300)
    assert list(row["box"].values()) == pytest.approx(list(cat.geometry.box))
    assert row["completeness_error"] == cat.completeness_error
    assert [entry["label"] for entry in row["predictions"]] == [entry.label for entry in cat.predictions]
    assert len(row["classes"]) == 4
    for line, (entry, expected) in enumerate(zip(row["classes"], cat.classes, strict=True)):
        assert (entry["index"], entry["label"]) == (expected.index, expected.label)
        assert entry["probability"] == pytest.approx(expected.probability, rel=1e-6)
        np.testing.assert_array_equal(np.float32(entry["segment_scores"]), cat.segment_scores[line])
        np.testing.assert_array_equal(np.float32(entry["segment_contributions"]), cat.segment_contributions[line])
        np.testing.assert_array_equal(entry["kept"], cat.keep(expected.index))
        total = sum(entry["segment_contributions"]) + entry["bias"] + entry["gap"]
        assert total == pytest.approx(entry["logit"], rel=1e-5)
    assert row["values"] == {"dtype": "uint8", "channels": 3, "black": 0, "white": 255, "doubt": None}
    assert row["in_padding"] == [False] * cat.segment_scores.shape[1]


def test_a_row_says_what_the_image_was_and_what_is_padding(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    settings = PreprocessingSettings(fit="letterbox", value_range=(0, 10_000))
    explainer = Explainer(tmp_path / "model.onnx", providers="cpu", preprocessing=settings)
    with pytest.warns(UserWarning, match="range that was given"):
        dark = explainer.explain(np.eye(80, 160, dtype=np.float32))
    table = pa.RecordBatch.from_pylist([rows.row("dark", dark)], schema=rows.schema({}))
    (row,) = table.to_pylist()
    assert row["values"] == dict(dark.method["image"])
    assert "range that was given" in row["values"]["doubt"]
    assert row["in_padding"] == dark.padding.tolist()
    assert 0 < sum(row["in_padding"]) < len(row["in_padding"])


@pytest.mark.parametrize("n_segments", [1, 200, 256, 257, 3000])
def test_label_maps_come_back(n_segments: int, explainer: Explainer, chelsea: np.ndarray) -> None:
    segments = np.arange(224 * 224).reshape(224, 224) % n_segments
    explanation = explainer.explain(chelsea, segments=segments)
    data = rows.row("cat.png", explanation, label_maps=True)["segments"]
    labels = decode_label_map(data)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, explanation.segments)
    assert "segments" not in rows.row("cat.png", explanation)
    assert "segments" in rows.schema({}, label_maps=True).names


def test_errors_are_rows_as_well() -> None:
    assert rows.error_row("a.jpg", ImageError("cut off")) == {"image": "a.jpg", "kind": "image", "message": "cut off"}
    assert rows.error_row("a.jpg", ModelError("NaN"))["kind"] == "model"
    assert rows.error_schema({}).names == ["image", "kind", "message"]
