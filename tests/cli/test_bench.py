"""`secam-onnx bench` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
from tiny_models import classifier

RunCli = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--rounds", "1", "--images", "0", "--lime-samples", "0")


def test_a_table_and_every_duration(run_cli: RunCli, tmp_path: Path, photo: Path) -> None:
    for room in ("a", "b"):
        (tmp_path / room).mkdir()
        onnx.save(classifier(), tmp_path / room / "tiny.onnx")
    models = ("--model", "a/tiny.onnx", "--model", "b/tiny.onnx")
    done = run_cli("bench", *models, "--image", photo, *QUICK, "--json", "found.json")
    assert done.returncode == 0, done.stderr
    assert "| model " in done.stdout
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert list(found["models"]) == ["tiny", str(Path("b/tiny.onnx"))]
    assert len(found["models"]["tiny"]["ms"]["explain"]) == 1
    assert found["settings"]["rounds"] == 1
    assert found["versions"]["onnxruntime"]


def test_bad_options_are_refused_before_anything_is_measured(refused: Callable[..., str]) -> None:
    refused("bench", "--model", "none.onnx", words=("none.onnx",))
    refused("bench", "--model", "tiny.onnx", "--rounds", "0", words=("rounds is 0", "1 or more"))
    refused(
        "bench", "--model", "tiny.onnx", "--json", "nowhere/found.json", words=("the folder nowhere does not exist",)
    )
    refused("bench", "--model", "tiny.onnx", "--image", "none.jpg", *QUICK, words=("none.jpg",))
