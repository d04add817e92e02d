"""`secam-onnx export ENCODER --classes` and `--like`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from encoders import LENGTH, SIDE, clip_like, encoder

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.cli import command
from secam_onnx.errors import SecamError

RunCli = Callable[..., subprocess.CompletedProcess[str]]

VECTORS = np.random.default_rng(2).standard_normal((3, LENGTH)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(encoder(), "encoder.onnx")
    onnx.save(clip_like(), "clip.onnx")
    np.save("vectors.npy", VECTORS)
    np.save("bias.npy", np.array([1.0, 2.0, 3.0]))
    Path("names.txt").write_text("cat\ndog\nbird\n", encoding="utf-8")
    shutil.copy(photo, "chelsea.png")
    return tmp_path


def export(*arguments: str) -> str:
    done = CliRunner().invoke(command, ["export", *arguments, "-o", "out.onnx", "--force"])
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(command, ["export", *arguments, "-o", "out.onnx"])
    assert done.exit_code == 2 or isinstance(done.exception, SecamError), done.output
    assert not Path("out.onnx").exists()
    return f"{done.output} {done.exception}"


def logits(file: str = "out.onnx") -> tuple[np.ndarray, np.ndarray]:
    """The exported logits, and the embedding that the untouched file gives for the same input."""
    images = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    open_ = lambda path: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])  # noqa: E731
    (embeddings,) = open_("encoder.onnx").run(["image_embeds"], {"pixel_values": images})
    return open_(file).run(["logits"], {"pixel_values": images})[0], embeddings


@pytest.mark.parametrize("bias", ["-2.5", "bias.npy", None])
def test_classes(folder: Path, bias: str | None) -> None:
    options = ["--scale", "10", "--normalise", *(["--bias", bias] if bias else [])]
    said = export("encoder.onnx", "--classes", "vectors.npy", "--labels", "names.txt", *options)
    found, e = logits()
    cosines = (e / np.linalg.norm(e, axis=1)[:, None]) @ (VECTORS / np.linalg.norm(VECTORS, axis=1)[:, None]).T
    added = {"-2.5": -2.5, "bias.npy": [1, 2, 3], None: 0}[bias]
    np.testing.assert_allclose(found, 10 * cosines + added, rtol=1e-4, atol=1e-5)
    assert "Class names read from names.txt: 3, the first is 'cat'" in said
    assert "Logits: 10 x cosine with 3 vectors of 12 numbers" in said
    assert "'image_embeds'" in said
    metadata = ModelMetadata.of(onnx.load("out.onnx"))
    assert metadata is not None
    assert metadata.labels == ("cat", "dog", "bird")


def test_the_image_encoder_of_clip(folder: Path) -> None:
    export("clip.onnx", "--classes", "vectors.npy")
    found, embeddings = logits()
    np.testing.assert_allclose(found, embeddings @ VECTORS.T, rtol=1e-4, atol=1e-5)


def test_like(folder: Path, run_cli: RunCli) -> None:
    said = export("encoder.onnx", "--like", "chelsea.png", "--preprocess", "unit")
    assert "Class names given with the class vectors: 1, the first is 'chelsea'" in said
    assert "Explained: the output. Probability: as given: none" in said
    done = run_cli("explain", "chelsea.png", "--model", "out.onnx", "-o", "why")
    assert done.returncode == 0, done.stderr
    assert "chelsea (0) +1.00" in done.stdout


def test_like_several_under_names_of_ones_own(folder: Path) -> None:
    said = export(
        "encoder.onnx",
        *["--like", "chelsea.png", "--like", "chelsea.png", "--like", "chelsea.png", "--labels", "names.txt"],
    )
    assert "3, the first is 'cat'" in said


def test_texts(folder: Path) -> None:
    tokens = {"input_ids": np.array([[1, 2], [3, 4]]), "attention_mask": np.ones((2, 2), np.int64)}
    np.savez("tokens.npz", **tokens)
    images = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    for options, output in (([], "logits_per_image"), (["--logits", "cosine"], "cosine")):
        said = export("clip.onnx", "--texts", "tokens.npz", *options)
        assert f"Logits: '{output}' for 2 texts, encoded by the model itself" in said
        (found,) = onnxruntime.InferenceSession("out.onnx").run(["logits"], {"pixel_values": images})
        onnx.save(clip_like(output), "whole.onnx")
        (wanted,) = onnxruntime.InferenceSession("whole.onnx").run([output], {"pixel_values": images, **tokens})
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


WRONG = {
    "both": ("--classes vectors.npy --like chelsea.png", "give one of them"),
    "texts and classes": ("--classes vectors.npy --texts vectors.npy", "give one of them"),
    "texts and a scale": ("--texts vectors.npy --scale 10", "--scale goes with --classes or --like"),
    "texts of another kind": ("--texts vectors.npy", "Cannot read the texts from vectors.npy: File is not a zip file"),
    "scale alone": ("--scale 10", "--scale goes with --classes or --like"),
    "normalise alone": ("--no-normalise", "--normalise goes with --classes or --like"),
    "logits": ("--classes vectors.npy --logits image_embeds", "--embedding NAME"),
    "bias": ("--classes vectors.npy --bias much", "Cannot read the bias from much: No such file"),
    "no file": ("--classes none.npy", "Cannot read the class vectors from none.npy: No such file"),
    "names": ("--classes bias.npy --labels names.txt", "3 labels for 1 class vectors (1, 3)"),
    "no photograph": ("--like none.png", "none.png"),
    "not an image": ("--like names.txt", "names.txt"),
    "nan": ("--classes vectors.npy --scale nan", "scale is nan; a finite number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case: str, folder: Path) -> None:
    arguments, message = WRONG[case]
    assert message in " ".join(refused("encoder.onnx", *arguments.split()).split())
