"""Files as transformers 5.23 and timm 1.0.31 wrote them, laid beside a model that need not exist."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

WRITTEN = Path(__file__).parent / "written"
Beside = Callable[[str], Path]


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    """Lay a file of `written` beside a model, under its own name; gives the model's path."""

    def lay(name: str) -> Path:
        own = "config.json" if name.startswith("timm-") or "-config" in name else "preprocessor_config.json"
        shutil.copy(WRITTEN / f"{name}.json", tmp_path / own)
        return tmp_path / "model.onnx"

    return lay
