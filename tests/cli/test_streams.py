"""Standard streams that are full, closed or no longer read, with real commands in a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import tiny_models
from processes import UNMEASURED

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")

EXPLAIN = "explain photo.png -m model.onnx -o out"
PRINTING = ["--help", "--version", "explain --help", "inspect model.onnx", EXPLAIN, "export model.onnx -o new.onnx"]


def shell(folder: Path, command: str, redirected: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m secam_onnx {command} {redirected}"],
        cwd=folder, env=UNMEASURED | environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, photo: Path) -> Path:
    onnx.save(tiny_models.classifier(), tmp_path / "model.onnx")
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "unbuffered"), [*((command, "") for command in PRINTING), ("--version", "1"), ("--help", "1")]
)
def test_output_that_cannot_be_written_is_an_error_in_a_sentence(command: str, unbuffered: str, folder: Path) -> None:
    done = shell(folder, command, "> /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert "Error: Standard output cannot be written (No space left on device)." in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    _check_results(folder, command)


@pytest.mark.slow
@pytest.mark.parametrize("redirected", ["2> /dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["--version", *PRINTING[-3:]])
def test_messages_that_cannot_be_written_stop_nothing(command: str, redirected: str, folder: Path) -> None:
    done = shell(folder, command, redirected)
    assert done.returncode == 0, done.stderr
    _check_results(folder, command)


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTING)
def test_a_reader_that_leaves(command: str, folder: Path) -> None:
    done = shell(folder, command, "| true")
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    _check_results(folder, command)


def _check_results(folder: Path, command: str) -> None:
    if command == EXPLAIN:
        assert {"explanation.json", "arrays.npz"} <= {file.name for file in (folder / "out" / "photo").iterdir()}
    if command.startswith("export"):
        onnx.load(folder / "new.onnx")
