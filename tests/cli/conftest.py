"""A run of the command line that must be refused, and what lies in a folder before and after."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

RunCli = Callable[..., subprocess.CompletedProcess[str]]
Snapshot = Callable[[Path], dict[str, bytes | None]]


@pytest.fixture(scope="session")
def snapshot() -> Snapshot:
    """Everything in a folder, hidden and temporary files included."""
    return lambda folder: {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(tmp_path: Path, run_cli: RunCli, photo: Path, snapshot: Snapshot) -> Callable[..., str]:
    """Run a command that must be refused; gives its stderr. `photo.png` and `tiny.onnx` (7 classes) are there."""
    shutil.copy(photo, tmp_path / "photo.png")
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier().SerializeToString())

    def run(*arguments: object, words: tuple[str, ...]) -> str:
        before = snapshot(tmp_path)
        result = run_cli(*arguments)
        assert "Traceback" not in result.stderr, result.stderr
        assert result.returncode == 2, (result.stdout, result.stderr)
        assert result.stdout == ""
        for word in words:
            assert re.search(word, result.stderr, re.IGNORECASE), (word, result.stderr)
        assert snapshot(tmp_path) == before
        return result.stderr

    return run
