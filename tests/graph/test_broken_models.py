"""Broken and hostile model files: each is a named error with a reason, for every use of a model, and leaves nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from broken_models import BROKEN, external, write_external

from secam_onnx import Explainer, SecamError
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.export import export_model, open_source


def explain(model: Path) -> None:
    Explainer(model, providers="cpu").explain(np.zeros((32, 32, 3), np.uint8))


def export(model: Path) -> None:
    export_model(open_source(str(model)), model.with_name("new.onnx"))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    make, words = BROKEN[name]
    folder = tmp_path / "in"
    folder.mkdir()
    model = folder / f"{name}.onnx"
    model.write_bytes(make(folder))
    before = sorted(tmp_path.rglob("*"))
    uses = (explain, inspect_model) if name.startswith("metadata-") else (explain, inspect_model, export)
    for use in uses:
        with pytest.raises(SecamError) as caught:
            use(model)
        message = str(caught.value)
        for word in words:
            assert re.search(word, message, re.IGNORECASE), (use, word, message)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that cannot be read without waiting")
@pytest.mark.parametrize("command", [["explain", "photo.png", "-m"], ["inspect"], ["export"]], ids=lambda use: use[0])
@pytest.mark.parametrize("way", ["above", "link"])
def test_what_lies_outside_of_the_folder_is_not_opened(
    command: list[str], way: str, tmp_path: Path, photo: Path, run_cli: Callable
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "photo.png").write_bytes(photo.read_bytes())
    os.mkfifo(tmp_path / "outside.data")  # who opens it waits for ever
    location = "../outside.data"
    if way == "link":
        location = "link.data"
        (folder / location).symlink_to(tmp_path / "outside.data")
    (folder / "model.onnx").write_bytes(external(location)(folder))
    result = run_cli(*command, "model.onnx", cwd=folder, timeout=60)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search("outside its own folder|is a link", result.stderr)


@pytest.mark.parametrize("name", ["tiny.data", "weights/tiny.data"])
def test_external_data_beside_the_model_is_used(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "tiny.onnx").write_bytes(write_external(tmp_path, name, offset=0, length=168))
    assert open_classifier(tmp_path / "tiny.onnx", providers="cpu").n_classes == 7
