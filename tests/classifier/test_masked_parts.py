"""Superpixels that are masked in place of cells, by plain ONNX Runtime and by the class activation map."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models
from onnx.utils import Extractor
from token_networks import CLASSES, transformer

from secam_onnx import Explainer, Preprocessing, Segmenter, runtime
from secam_onnx.classifier.masked_parts import masked_parts
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.proof import prove
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.head import PARTS, masking

SETTINGS = Preprocessing((32, 32))
CELLS = np.arange(16).reshape(4, 4)


def test_a_cell_belongs_to_the_superpixel_under_its_centre() -> None:
    labels = np.zeros((32, 32), np.int32)
    labels[:13] = 5  # beyond the centre of the second row of cells, at 12
    labels[:, 29:] = 9  # short of the centre of the last column, at 28
    labels[30:, :2] = 3  # under no centre
    parts, superpixels = masked_parts([labels, None], (4, 4), 1)
    np.testing.assert_array_equal(parts, [np.repeat([1, 1, 0, 0], 4).reshape(4, 4), CELLS])
    assert superpixels == [2, None]


@pytest.mark.parametrize(
    ("superpixels", "at_once", "expected"),
    [(7, 1, 7), (8, 1, None), (7, 9, 7), (7, 8, None), (4, 18, None), (1, 18, None)],
)
def test_superpixels_take_at_most_half_of_the_runs(superpixels: int, at_once: int, expected: int | None) -> None:
    labels = np.minimum(CELLS, superpixels - 1).repeat(8, axis=0).repeat(8, axis=1)
    parts, found = masked_parts([labels], (4, 4), at_once)
    assert found == [expected]
    np.testing.assert_array_equal(parts[0], CELLS if expected is None else np.minimum(CELLS, expected - 1))


@pytest.fixture
def one_mask_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_BYTES_AT_ONCE", 1)


def quarters() -> np.ndarray:
    return np.kron(np.array([[0, 1], [2, 3]]), np.ones((16, 16), dtype=np.int64))


def halves() -> np.ndarray:
    return np.kron(np.array([[0, 1]]), np.ones((32, 16), dtype=np.int64))


@pytest.mark.usefixtures("one_mask_at_a_time")
@pytest.mark.parametrize("special", [(1, 0), (1, 4)])
def test_tokens_of_a_superpixel_alone(special: tuple[int, int], tmp_path: Path) -> None:
    model = transformer(*special, positions_first=True)
    onnx.save(model, tmp_path / "network.onnx")
    explainer = Explainer(tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS, attribution="masking")
    classifier = explainer.classifier
    assert isinstance(classifier, Classifier)
    features = classifier.metadata.head.features
    photographs = list(np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    given = [quarters(), halves(), quarters()]
    results = list(explainer.explain_stream(photographs, "all", segments=given, batch_size=3))

    cut = Extractor(onnx.shape_inference.infer_shapes(model)).extract_model([features], ["logits"])
    behind = onnxruntime.InferenceSession(cut.SerializeToString(), providers=["CPUExecutionProvider"])
    for photograph, labels, result in zip(photographs, given, results, strict=True):
        count = labels.max() + 1
        assert result.method["attribution"] == (
            f"the head run again for the cells of every superpixel alone, {count} for 16 (Recipro-CAM)"
        )
        (tokens,), whole, _ = classifier.forward(SETTINGS.normalise(photograph))
        parts = np.full(tokens.shape[1], -1)
        parts[special[0] : special[0] + 16] = labels[4::8, 4::8].ravel()

        def kept(part: int, tokens: np.ndarray = tokens, parts: np.ndarray = parts) -> np.ndarray:
            mask = (parts == -1) | (parts == part)
            (logits,) = behind.run(None, {features: tokens * mask[None, :, None].astype(np.float32)})
            return logits[0]

        nothing = kept(-1)
        order = [entry.index for entry in result.classes]
        np.testing.assert_allclose(result.bias, nothing[order], rtol=1e-4, atol=1e-5)
        for part in range(count):
            own = result.cam[:, labels[4::8, 4::8] == part]
            assert (own == own[:, :1]).all()  # in equal shares
            np.testing.assert_allclose(own.sum(axis=1), (kept(part) - nothing)[order], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(
            result.segment_contributions.sum(axis=1) + result.bias + result.gap, whole[0, order], rtol=1e-4, atol=1e-5
        )
    assert len(order) == CLASSES


@pytest.mark.usefixtures("one_mask_at_a_time")
def test_a_linear_head_gives_the_sums_of_its_class_activation_map(tmp_path: Path, chelsea: np.ndarray) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_models.classifier("flatten+fc", size=32).SerializeToString())
    explained = [
        Explainer(tmp_path / "m.onnx", providers="cpu", preprocessing=SETTINGS, attribution=way).explain(
            chelsea[:32, :32], "all", segments=halves()
        )
        for way in ("masking", "gradient")
    ]
    masked, wanted = (result.cam.reshape(*result.cam.shape[:2], 2, -1).sum((1, 3)) for result in explained)
    assert (
        explained[0].method["attribution"].startswith("the head run again for the cells of every superpixel alone, 2")
    )
    np.testing.assert_allclose(masked, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(explained[0].gap).max() < 1e-5


def test_cells_stay_where_they_cost_no_further_run(tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(transformer(1, 0, positions_first=True), tmp_path / "network.onnx")
    explainer = Explainer(
        tmp_path / "network.onnx",
        providers="cpu",
        preprocessing=SETTINGS,
        segmenter=Segmenter(n_segments=3),
        attribution="masking",
    )
    assert explainer.explain(chelsea).method["attribution"] == "the head run again for every cell alone (Recipro-CAM)"


@pytest.mark.usefixtures("one_mask_at_a_time")
def test_superpixels_that_failed_leave_the_cells(tmp_path: Path) -> None:
    onnx.save(transformer(1, 0, positions_first=True), tmp_path / "network.onnx")
    classifier = open_classifier(
        tmp_path / "network.onnx", providers="cpu", preprocessing=SETTINGS, attribution="masking"
    )
    failed, made, given_up = (Future[tuple[np.ndarray, float]]() for _ in range(3))
    failed.set_exception(MemoryError())
    assert given_up.cancel()
    made.set_result((halves(), 1.0))
    inputs = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    mixed = classifier.run(inputs, [["all"]] * 3, segments=[failed, made, given_up])
    cells = classifier.run(inputs, [["all"]] * 3)
    assert [output.masked for output in mixed] == [None, 2, None]
    for one, other in ((mixed[0], cells[0]), (mixed[2], cells[2])):
        np.testing.assert_allclose(one.cam, other.cam, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("one_mask_at_a_time")
def test_a_proof_masks_squares_of_many_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_models.classifier("gap+sin+fc", size=64).SerializeToString())
    classifier = open_classifier(tmp_path / "m.onnx", providers="cpu", preprocessing=Preprocessing((64, 64)))
    fed, run = [], runtime.run
    monkeypatch.setattr(runtime, "run", lambda *given: fed.append(given[2].get(PARTS)) or run(*given))
    assert isinstance(classifier, Classifier)
    assert prove(classifier)["identity_error"] < 1e-5
    parts = [array for array in fed if array is not None]
    assert [array.shape for array in parts] == [(1, 16, 16)] * 3
    assert [array.max() for array in parts] == [48] * 3
