"""`secam-onnx explain` of models with several heads, and what makes probabilities of raw outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from tails import PICTURE, network, saved

from secam_onnx import Explainer
from secam_onnx.errors import OptionError

TWO = "age = Gemm <transB = 1> (net_q, w_1x6, b_1) gender = Softmax (z)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(network(TWO, "age; gender", classes=2), tmp_path)
    saved(network("y = Identity (z)", classes=1), tmp_path, "one.onnx")
    for name in ("a", "b", "c"):
        Image.fromarray(np.roll(PICTURE, ord(name), axis=1)).save(tmp_path / f"{name}.png")
    return tmp_path


def report(path: Path) -> dict[str, Any]:
    return json.loads((path / "explanation.json").read_text(encoding="utf-8"))


def test_all_heads(folder: Path, run_cli: Any) -> None:
    asked = run_cli("explain", "a.png", "-m", "model.onnx")
    assert asked.returncode == 2
    for words in ("'age' (?, 1), 1 class, no activation", "'gender' (?, 2), 2 classes, softmax", "--logits NAME"):
        assert words in asked.stderr
    result = run_cli("explain", "a.png", "b.png", "-m", "model.onnx", "--logits", "all", "-o", "out")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("Preprocessing assumed") == 1  # not once a head
    assert "a.png, age: class 0 (0) " in result.stdout
    for name in ("age", "gender"):
        wanted = Explainer(folder / "model.onnx", providers="cpu", logits=name).explain(folder / "a.png")
        found = report(folder / "out" / name / "a")
        assert found["classes"][0]["logit"] == pytest.approx(wanted.classes[0].logit)
        assert (folder / "out" / name / "b" / "explanation.json").exists()
    assert report(folder / "out" / "age" / "a")["classes"][0]["probability"] is None


def test_a_class_that_one_head_lacks(folder: Path, run_cli: Any) -> None:
    result = run_cli("explain", "a.png", "-m", "model.onnx", "--logits", "all", "-c", "1")
    assert result.returncode == 2
    assert "The head 'age': Class 1 is out of range; this model has 1 class, 0." in result.stderr


@pytest.mark.parametrize("command", ["inspect", "export", "explain", "demo"])
def test_what_to_do_about_several_heads(command: str, folder: Path, run_cli: Any) -> None:
    """The words hold for every command: of these only `explain` takes `--logits all`."""
    arguments = {"explain": ["a.png", "-m"], "demo": ["--model"]}.get(command, [])
    result = run_cli(command, *arguments, "model.onnx", *(["-o", "new.onnx"] if command == "export" else []))
    assert result.returncode != 0
    for words in ("--logits NAME of explain, inspect or export", "logits=NAME in Python", "explain --logits all"):
        assert words in result.stderr


def test_softmax_of_one_output(folder: Path, run_cli: Any) -> None:
    result = run_cli("explain", "a.png", "-m", "one.onnx", "--activation", "softmax")
    assert result.returncode == 2
    assert "is one raw output: its softmax is always 1" in result.stderr
    assert "sigmoid gives its probability" in result.stderr
    assert run_cli("export", "one.onnx", "-o", "own.onnx").returncode == 0
    assert "its softmax is always 1" in run_cli("explain", "a.png", "-m", "own.onnx", "--activation", "softmax").stderr
    with pytest.raises(OptionError, match="one raw output"):
        Explainer(folder / "one.onnx", activation="softmax")


def test_names_that_are_too_few(folder: Path, run_cli: Any) -> None:
    model = onnx.load(folder / "one.onnx")
    model.metadata_props.add(key="names", value="{0: 'cat', 1: 'dog', 2: 'cow'}")
    onnx.save(model, folder / "three.onnx")
    result = run_cli("explain", "a.png", "-m", "three.onnx")
    assert "Class names: none in the file's metadata (names): it names 3 classes, and the model has 1." in result.stderr
    assert "Give them with --labels FILE" in result.stderr


def test_a_comparison_leaves_a_trace(folder: Path, run_cli: Any) -> None:
    result = run_cli("explain", "a.png", "-m", "one.onnx", "--verify", "-o", "compared")
    assert "Verified: on 3 images y differ" in result.stderr
    told = report(folder / "compared" / "a")["method"]["fidelity"]
    assert told["outputs"] == ["y"]
    assert len(told["images"]) == 3
    assert told["max_relative_difference"] <= told["tolerance"]
    run_cli("explain", "a.png", "-m", "one.onnx", "--no-verify", "-o", "not")
    assert "fidelity" not in report(folder / "not" / "a")["method"]


def test_all_heads_as_tables_that_are_resumed(folder: Path, run_cli: Any) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    options = ("-m", "model.onnx", "--logits", "all", "--to", "parquet", "-o", "out")
    assert run_cli("explain", "a.png", "b.png", *options).returncode == 0
    again = run_cli("explain", "a.png", "b.png", "c.png", *options, "--resume")
    assert "2 finished earlier" in again.stdout
    for name in ("age", "gender"):
        rows = pq.read_table(folder / "out" / name).to_pylist()
        assert sorted(row["image"] for row in rows) == ["a.png", "b.png", "c.png"]
        assert (rows[0]["classes"][0]["probability"] is None) == (name == "age")


@pytest.mark.parametrize("option", [("--features", "f"), ("--activation", "sigmoid"), ("--token-grid", "2x2")])
def test_what_goes_with_one_head(option: tuple[str, str], folder: Path, run_cli: Any) -> None:
    result = run_cli("explain", "a.png", "-m", "model.onnx", "--logits", "all", *option)
    assert result.returncode == 2
    assert f"{option[0]} goes with one head" in result.stderr


def test_activation(folder: Path, run_cli: Any) -> None:
    result = run_cli("explain", "a.png", "-m", "one.onnx", "-o", "none")
    assert result.returncode == 0
    assert "Probability none: one raw output" in result.stderr
    assert report(folder / "none" / "a")["method"]["explained"] == "output"
    (folder / "names.txt").write_text("benign\nmalignant\n")
    options = ("--activation", "sigmoid", "--labels", "names.txt")
    result = run_cli("explain", "a.png", "-m", "one.onnx", "-o", "pair", "-c", "all", *options)
    assert result.returncode == 0, result.stderr
    assert "Probability" not in result.stderr
    found = {entry["label"]: entry for entry in report(folder / "pair" / "a")["classes"]}
    assert found["benign"]["logit"] == -found["malignant"]["logit"]
    assert found["benign"]["probability"] + found["malignant"]["probability"] == pytest.approx(1)
    assert run_cli("export", "one.onnx", "-o", "pair.onnx", *options).returncode == 0
    again = run_cli("explain", "a.png", "-m", "pair.onnx", "-o", "again", "-c", "all")
    assert again.returncode == 0, again.stderr
    assert report(folder / "again" / "a")["classes"][0]["probability"] == pytest.approx(
        report(folder / "pair" / "a")["classes"][0]["probability"], rel=1e-5
    )
    inspected = json.loads(run_cli("inspect", "one.onnx", "--json", "--activation", "sigmoid").stdout)
    assert inspected["logits"]["probability"] == "as given: sigmoid"
    assert run_cli("inspect", "one.onnx", "--activation", "tanh").returncode == 2
    outputs = {entry.name for entry in onnxruntime.InferenceSession(folder / "pair.onnx").get_outputs()}
    assert outputs == {"y", "secam_features", "secam_logits"}


def test_an_inner_tensor(folder: Path, run_cli: Any) -> None:
    tail = "s = Softmax (z) label = ArgMax <axis = 1, keepdims = 0> (s)"
    saved(network(tail, "int64[N] label"), folder, "label.onnx")
    for place, options in enumerate([(), ("--logits", "s"), ("--logits", "z")]):
        result = run_cli("explain", "a.png", "-m", "label.onnx", "-o", f"out{place}", *options)
        assert result.returncode == 0, result.stderr
    reports = [report(folder / f"out{place}" / "a")["predictions"] for place in range(3)]
    for one in reports[1:]:
        assert [entry["index"] for entry in one] == [entry["index"] for entry in reports[0]]
        np.testing.assert_allclose(
            [entry["probability"] for entry in one], [entry["probability"] for entry in reports[0]], rtol=1e-4
        )
