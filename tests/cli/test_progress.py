"""What is shown of what takes long: seconds on a terminal, now and then a line elsewhere; of what is quick, nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

from secam_onnx import Explainer, cli, runtime
from secam_onnx.classifier.proof import prove
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.cli import progress
from secam_onnx.cli.progress import step
from secam_onnx.head import CAM

RunCli = Callable[..., subprocess.CompletedProcess[str]]


def test_a_quick_step_says_when_it_is_done_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with step("quick"):
        pass
    with step("quick and not kept", keep=False):
        pass
    assert capsys.readouterr().err == "  done: quick (0.0 s)\n"


def test_a_long_step_elsewhere_than_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_TICK", 0.005)
    monkeypatch.setattr(progress, "_LONG", 0.02)
    with step("long", keep=False) as told:
        told(1, 3)
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert set(lines) == {"  ... long, 1 of 3 (0 s so far)"}
    assert 2 <= len(lines) <= 6, "the time between them doubles"


def test_a_long_step_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_TICK", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with step("long", keep=False) as told:
        time.sleep(0.1)
        told(2, 3)
        time.sleep(0.1)
    shown = capsys.readouterr().err
    assert "\r\033[K  ... long 0 s" in shown
    assert "long, 2 of 3 0 s" in shown
    assert shown.endswith("\r\033[K")
    assert "\n" not in shown


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """A model whose head is not understood."""
    (tmp_path / "masked.onnx").write_bytes(tiny_models.classifier("gap+sin+fc", classes=600).SerializeToString())
    return tmp_path / "masked.onnx"


def test_a_proof_tells_how_far_it_is_and_runs_a_masked_head_once_an_image(
    masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Explainer(masked, providers="cpu").classifier
    told, runs, run = [], [], runtime.run
    monkeypatch.setattr(runtime, "run", lambda *arguments: runs.append(arguments[1]) or run(*arguments))
    prove(classifier, lambda *parts: told.append(parts))
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert len([names for names in runs if CAM in names]) == 3, runs


@pytest.mark.parametrize("command", [["inspect", "masked.onnx"], ["export", "masked.onnx", "-o", "out.onnx"]])
def test_proofs_that_take_long_are_shown(command: list[str], masked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(masked.parent)
    monkeypatch.setattr(progress, "_TICK", 0.001)
    monkeypatch.setattr(progress, "_LONG", 0.0)
    forward = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda *arguments: time.sleep(0.1) or forward(*arguments))
    result = CliRunner().invoke(cli.command, command, catch_exceptions=False)
    assert "prove that the map adds up to the logits, 1 of 3 (0 s so far)" in result.stderr


@pytest.mark.parametrize(
    ("head", "options", "why"),
    [
        ("gap+sin+fc", (), "The head is not understood, so maps are"),
        ("gap+fc", ("--attribution", "masking"), "Maps are"),
    ],
)
def test_masking_is_said_with_its_number_of_runs(
    head: str, options: tuple[str, ...], why: str, tmp_path: Path, photo: Path, run_cli: RunCli
) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_models.classifier(head).SerializeToString())
    done = run_cli(
        "explain", photo, "-m", "m.onnx", "--preprocess", "unit", "--activation", "softmax", "--pictures", "0", *options
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "secam-out" / "chelsea" / "explanation.json").read_text(encoding="utf-8"))
    rows, columns = report["method"]["map_size"]
    cells = f"{rows} x {columns} cells alone, then none and all"
    runs = f"which runs the head {rows * columns + 2} times ({cells}) for each image"
    assert done.stderr.startswith(f"{why} made by masking, {runs}")
    assert len(done.stderr.splitlines()) == 1


def test_other_ways_are_not_spoken_of(tmp_path: Path, photo: Path, run_cli: RunCli) -> None:
    (tmp_path / "m.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    done = run_cli(
        "explain", photo, "-m", "m.onnx", "--preprocess", "unit", "--activation", "softmax", "--pictures", "0"
    )
    assert done.stderr == ""
