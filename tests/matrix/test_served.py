"""One network as it is served: rounded to 8 bits, in float16, optimised; against the same in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.unfused import Classifier

pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torchvision_networks import built, fed, write

CLASS_IDS = np.array([[0, 282, 999]])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet50 through the TorchScript exporter."""
    path = tmp_path_factory.mktemp("variants") / "resnet50.onnx"
    write(built("resnet50", 224), 224, "torchscript", path, ["logits"])
    return path


def explained(path: Path, inputs: np.ndarray) -> tuple[Classifier, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The classifier, its logits, and maps, bias and gap of three classes for one image."""
    classifier = open_classifier(path, providers="cpu")
    features, logits, _ = classifier.forward(inputs)
    maps, bias, gap = classifier.contribute.local(features, CLASS_IDS)
    return classifier, logits[:, CLASS_IDS[0]], maps, bias, gap


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
def test_rounded_to_8_bits(original: Path, photo: Path, tmp_path: Path, per_channel: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    inputs = fed(224, photo)[:1]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest: Iterator[dict[str, np.ndarray]] = iter([{"image": inputs}, {"image": fed(224, photo)[1:]}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._rest, None)

    path = tmp_path / "int8.onnx"
    quantize_static(
        original, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel, weight_type=QuantType.QInt8
    )
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)
    report = inspect_model(path)
    assert (report["head"]["kind"], report["head"]["algebra"]) == ("gap + fc", "rounded")
    assert report["feature_map"]["shape"] == [2048, 7, 7]

    _, _, expected, _, _ = explained(original, inputs)
    _, logits, maps, bias, gap = explained(path, inputs)
    assert alike(maps, expected) > 0.95
    # What the rounding leaves over is a few of its steps, and what remains is the logit.
    assert np.abs(gap).max() < 0.2 * np.abs(maps).sum((2, 3)).max()
    np.testing.assert_allclose(maps.sum((2, 3)) + bias + gap, logits, atol=0.05 * np.abs(maps).sum((2, 3)).max())


@pytest.mark.parametrize("keep_io_types", [True, False], ids=["float32 input", "float16 input"])
def test_float16(original: Path, photo: Path, tmp_path: Path, keep_io_types: bool) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(original), keep_io_types=keep_io_types), tmp_path / "half.onnx")
    report = inspect_model(tmp_path / "half.onnx")
    assert (report["head"]["kind"], report["head"]["algebra"]) == ("gap + fc", "piecewise linear")
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 5e-3
    assert report["completeness"]["measured_now"]["max_relative_error"] < 5e-3
    inputs = fed(224, photo)[:1]
    _, expected_logits, expected, _, _ = explained(original, inputs)
    _, logits, maps, bias, _ = explained(tmp_path / "half.onnx", inputs)
    size = np.abs(expected).sum((2, 3)).max()
    np.testing.assert_allclose(logits, expected_logits, atol=0.02 * size)
    np.testing.assert_allclose(maps, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, atol=5e-3 * size)


def test_optimised(original: Path, photo: Path, tmp_path: Path) -> None:
    onnxslim = pytest.importorskip("onnxslim")
    onnx.save(onnxslim.slim(onnx.load(original)), tmp_path / "slim.onnx")
    assert inspect_model(tmp_path / "slim.onnx")["head"]["kind"] == "gap + fc"
    inputs = fed(224, photo)[:1]
    _, expected_logits, expected, _, _ = explained(original, inputs)
    _, logits, maps, bias, _ = explained(tmp_path / "slim.onnx", inputs)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=1e-3, atol=1e-4)
