"""`secam-onnx export --fused`, and what the other commands make of such a file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(tiny_models.classifier(), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def test_from_an_ordinary_file_to_a_picture(run_cli: RunCli, source: Path, tmp_path: Path, photo: Path) -> None:
    done = run_cli("export", source, "--fused", "--mean", "0.5", "--std", "0.5", "--crop", "none")
    assert done.returncode == 0, done.stderr
    assert "Inputs: image uint8 (N, 32, 32, 3); classes int64 (N or 1, K)" in done.stdout
    assert "overlay uint8 (N, K, 32, 32, 3)" in done.stdout
    assert "Compared with the explainer, superpixels are the same" in done.stdout
    path = tmp_path / "tiny-fused.onnx"
    onnx.checker.check_model(path, full_check=True)
    settings = ["--mean", "0.5", "--std", "0.5", "--crop", "none"]
    for model, options, folder in ((path, [], "fused"), (source, settings, "plain")):
        done = run_cli("explain", photo, "--model", model, *options, "--class", "all", "-o", folder)
        assert done.returncode == 0, done.stderr
    fused, plain = (np.load(tmp_path / folder / "chelsea" / "arrays.npz") for folder in ("fused", "plain"))
    np.testing.assert_array_equal(fused["segments"], plain["segments"])
    np.testing.assert_allclose(fused["segment_contributions"], plain["segment_contributions"], atol=1e-5)


def test_every_option(run_cli: RunCli, source: Path, tmp_path: Path) -> None:
    done = run_cli(
        *("export", source, "--fused", "--n-segments", 9, "--compactness", 20, "--top-segments", 4),
        *("--float16", "--require-classes", "--attribution", "masking", "-o", "f.onnx"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(run_cli("inspect", "--json", "f.onnx").stdout)
    assert report["exported"]
    assert report["head"]["attribution"].startswith("the head run again")
    assert report["completeness"]["measured_now"]["max_relative_error"] < 1e-4
    fused = report["fused"]
    assert fused["superpixels"] == {"method": "kmeans", "n_segments": 9, "compactness": 20.0, "at_most": 9}
    assert fused["classes_by_default"] == "none: each run says which"
    assert (fused["overlay"], fused["weights"]) == ("top 4", "stored as float16")
    assert [entry["name"] for entry in fused["inputs"]] == ["image", "classes"]
    assert {"name": "cam", "type": "float32 (N, K, 8, 8)"} in fused["outputs"]
    text = run_cli("inspect", "f.onnx").stdout
    assert "exported: yes: a fused model" in text
    assert "    cam: float32 (N, K, 8, 8)" in text


def test_another_preprocessing_takes_another_file(run_cli: RunCli, source: Path, photo: Path) -> None:
    assert run_cli("export", source, "--fused", "-o", "f.onnx").returncode == 0
    done = run_cli("explain", photo, "--model", "f.onnx")
    assert "To change it: export it --fused again, with --preprocess PRESET." in done.stderr


def test_without_the_picture(run_cli: RunCli, source: Path, tmp_path: Path) -> None:
    assert run_cli("export", source, "--fused", "--no-overlay", "--coverage", "0.7", "-o", "f.onnx").returncode == 0
    report = json.loads(run_cli("inspect", "--json", "f.onnx").stdout)
    assert report["fused"]["overlay"] == "left out"
    assert "overlay" not in {entry["name"] for entry in report["fused"]["outputs"]}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--top-k", "3"], "--top-k goes with --fused"),
        (["--no-overlay"], "--no-overlay goes with --fused"),
        (["--n-segments", "9"], "--n-segments goes with --fused"),
        (["--fused", "--top-k", "2", "--require-classes"], "--top-k is the default of classes"),
        (["--fused", "--top-k", "8"], "top_k is 8, but the model has 7 classes"),
        (["--fused", "--top-k", "0"], "top_k is 0"),
        (["--fused", "--threshold", "2"], "threshold is 2.0"),
        (["--fused", "--top-segments", "1", "--coverage", "0.5"], "choose one way"),
        (["--fused", "--attribution", "magic"], "Unknown attribution 'magic'"),
    ],
)
def test_options_that_do_not_fit(run_cli: RunCli, source: Path, tmp_path: Path, arguments, reason: str) -> None:
    done = run_cli("export", source, *arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_a_fused_file_is_no_source(run_cli: RunCli, source: Path, tmp_path: Path) -> None:
    assert run_cli("export", source, "--fused", "-o", "f.onnx").returncode == 0
    for arguments in (["export", "f.onnx", "--fused"], ["export", "f.onnx"], ["bench", "--model", "f.onnx"]):
        done = run_cli(*arguments)
        assert done.returncode == 2
        assert "is a fused model" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.onnx", "tiny.onnx"]


def test_explain_takes_the_files_own_superpixels_unless_told(run_cli: RunCli, source: Path, photo: Path) -> None:
    assert run_cli("export", source, "--fused", "--n-segments", "9", "-o", "f.onnx").returncode == 0
    counts = []
    for options in ([], ["--n-segments", "50"], ["--segmenter", "grid"]):
        done = run_cli("explain", photo, "--model", "f.onnx", "-o", "out", *options)
        assert done.returncode == 0, done.stderr
        counts.append(np.load(source.parent / "out" / "chelsea" / "arrays.npz")["segment_scores"].shape[1])
    assert counts[0] <= 9 < counts[1] <= counts[2]


def test_into_a_table(run_cli: RunCli, source: Path, photo: Path) -> None:
    pytest.importorskip("pyarrow")
    assert run_cli("export", source, "--fused", "-o", "f.onnx").returncode == 0
    done = run_cli("explain", photo, "--model", "f.onnx", "--to", "parquet", "-o", "table")
    assert done.returncode == 0, done.stderr
