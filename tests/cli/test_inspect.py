"""`secam-onnx inspect`: what is found in a model, for people and for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models

RunCli = Callable[..., subprocess.CompletedProcess[str]]

KINDS = {"gap+fc": "gap + fc", "flatten+fc": "flatten + fc", "mlp": "flatten + fc + relu + fc"}


@pytest.fixture
def inspect(run_cli: RunCli) -> Callable[..., dict[str, Any]]:
    """Run `inspect --json`; gives the report."""

    def run(*arguments: object) -> dict[str, Any]:
        result = run_cli("inspect", "--json", *arguments)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_json_on_a_console_of_another_encoding(encoding: str, tmp_path: Path, run_cli: RunCli) -> None:
    names = ["\U0001f408", "\u732b", "chat é", "\x81", "d", "e", "f"]
    (tmp_path / "m.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = run_cli("inspect", "--json", "m.onnx", env=environment, encoding=encoding)
    assert json.loads(done.stdout)["labels"] == names, done.stderr
    assert ("\u732b" in done.stdout) == (encoding == "utf-8")


def test_the_default_model(inspect: Callable[..., dict[str, Any]]) -> None:
    report = inspect()
    assert Path(report["model"]).name == "efficientnet-lite0.onnx"
    assert report["exported"] is True
    assert report["input"]["shape"] == [None, 3, 224, 224]
    assert report["feature_map"]["shape"] == [1280, 7, 7]
    assert report["head"]["kind"] == "gap + fc"
    assert len(report["head"]["weights"]) == 2
    assert len(report["head"]["steps"]) == 3
    assert all(step["node"] and step["reason"] for step in report["head"]["steps"])
    assert report["rejected"]
    assert all(entry["tensor"] and entry["reason"] for entry in report["rejected"])
    assert report["feature_map"]["tensor"] not in {entry["tensor"] for entry in report["rejected"]}
    assert (report["classes"], len(report["labels"]), report["labels"][282]) == (1000, 1000, "tiger cat")
    for proof in (report["completeness"]["measured_now"], report["completeness"]["at_export"]):
        assert 0 <= proof["max_relative_error"] < 1e-3
        assert proof["classes"] == 1000


def test_the_text_says_the_same(run_cli: RunCli) -> None:
    result = run_cli("inspect")
    assert (result.returncode, result.stderr) == (0, "")
    for words in ("kind: gap + fc", "shape: 1280, 7, 7", "classes: 1000", "rejected:", "no spatial grid", "mean"):
        assert words in result.stdout
    assert "tiger cat" not in result.stdout
    with_labels = run_cli("inspect", "--labels")
    assert with_labels.stdout.startswith(result.stdout)
    listed = with_labels.stdout[len(result.stdout) :].splitlines()
    assert len(listed) == 1000
    assert listed[282].split(": ") == ["  282", "tiger cat"]


@pytest.mark.parametrize("head", KINDS)
def test_an_ordinary_model(head: str, tmp_path: Path, inspect: Callable[..., dict[str, Any]]) -> None:
    file = tmp_path / "tiny.onnx"
    content = tiny_models.classifier(head, softmax=True).SerializeToString()
    file.write_bytes(content)
    report = inspect("tiny.onnx")
    assert report["exported"] is False
    assert report["feature_map"]["tensor"] == "feature_map"
    assert report["feature_map"]["shape"] == [6, 8, 8]
    assert report["head"]["kind"] == KINDS[head]
    assert report["logits"] == {
        "output": "secam_logits",
        "explained_output": "probabilities",
        "activation": "softmax",
        "explained": "logit",
        "probability": "the model's own softmax",
    }
    assert (report["classes"], report["labels"]) == (7, None)
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-3
    assert report["completeness"]["at_export"] == "not exported"
    assert "assumed" in report["origin"]["preprocessing"]
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "names",
    [
        {"feature_map": "features"},
        {"logits.bias": "bias"},
        {"logits": "maps"},
        {"flat": "class_ids"},
        {"logits.weight": "class_ids"},
        {"image": "features"},
    ],
    ids=lambda names: " ".join(f"{old} is {new}" for old, new in names.items()),
)
def test_tensors_may_have_any_name(
    names: dict[str, str], tmp_path: Path, inspect: Callable[..., dict[str, Any]]
) -> None:
    model = tiny_models.renamed(tiny_models.classifier("mlp"), names)
    (tmp_path / "tiny.onnx").write_bytes(model.SerializeToString())
    report = inspect("tiny.onnx")
    assert report["feature_map"]["tensor"] == names.get("feature_map", "feature_map")
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-3


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_model_that_cannot_be_explained(flags: list[str], tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "pixels.onnx").write_bytes(tiny_models.mlp_on_pixels().SerializeToString())
    result = run_cli("inspect", "pixels.onnx", *flags)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    for words in (
        "'logits'",
        "'active' has shape (?, 10): no spatial grid",
        "ends at the image itself",
        "was expected",
    ):
        assert words in result.stderr


def test_a_head_that_is_not_understood(tmp_path: Path, inspect: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "sine.onnx").write_bytes(tiny_models.classifier("gap+sin+fc").SerializeToString())
    report = inspect("sine.onnx")
    assert report["head"] == {
        "kind": "not understood",
        "algebra": "unknown",
        "attribution": "the head run again for every cell alone (Recipro-CAM)",
        "steps": [],
        "weights": [],
    }
    (stopped,) = (entry for entry in report["rejected"] if entry["tensor"] == "logits" and "stopped" in entry["reason"])
    assert "Sin 'node_wave': this operator is not understood" in stopped["reason"]
    assert report["completeness"]["measured_now"]["identity_error"] < 1e-5
    assert report["completeness"]["measured_now"]["max_relative_error"] > 1e-3


def test_a_reader_that_stops_early(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "secam_onnx", "inspect", "--labels"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate(timeout=100)
    assert errors == ""
