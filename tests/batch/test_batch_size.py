"""The batch size that is chosen where nobody says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models

from secam_onnx import Explainer
from secam_onnx.batch import batch_size
from secam_onnx.batch.batch_size import choose_batch_size
from secam_onnx.errors import ModelError
from secam_onnx.explainer import BATCH_SIZE


def test_on_the_cpu(tiny: Explainer) -> None:
    size, reason = choose_batch_size(tiny.classifier)
    assert size == BATCH_SIZE
    assert "CPU" in reason


def test_of_a_model_that_fixes_it(tmp_path: Path) -> None:
    model = tiny_models.classifier(input_shape=(3, 3, 32, 32))
    (tmp_path / "three.onnx").write_bytes(model.SerializeToString())
    explainer = Explainer(tmp_path / "three.onnx", providers="cpu")
    assert choose_batch_size(explainer.classifier) == (3, "the model's own")


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({1: 100, 2: 150, 4: 200, 8: 210}, 4),
        ({1: 100, 2: 105}, 1),
        ({2**power: 100 * 2**power for power in range(10)}, 64),
        ({1: 100, 2: 200, 4: 400, 8: None}, 4),
    ],
    ids=["flattens out", "no gain", "the largest", "out of memory"],
)
def test_elsewhere_it_is_measured(rates: dict[int, float | None], chosen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(classifier: object, size: int) -> float:
        rate = rates[size]
        if rate is None:
            raise ModelError("out of memory")
        return rate

    monkeypatch.setattr(batch_size, "_images_per_second", measured)
    gpu = SimpleNamespace(batch=None, providers=("CUDAExecutionProvider",))
    assert choose_batch_size(gpu)[0] == chosen  # type: ignore[arg-type]


def test_the_measurement_itself(tiny: Explainer) -> None:
    assert batch_size._images_per_second(tiny.classifier, 2) > 0
