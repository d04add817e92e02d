"""Models that cannot be explained, through the real command line: a sentence, exit code 2, nothing on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from onnx import ModelProto

ROOT = Path(__file__).parents[2]


def default_model(share: float) -> bytes:
    """The beginning of the default model's file."""
    content = (ROOT / "models" / "efficientnet-lite0.onnx").read_bytes()
    return content[: int(len(content) * share)]


def damaged(change: Callable[[ModelProto], object]) -> bytes:
    model = tiny_models.classifier()
    change(model)
    return model.SerializeToString()


MODELS: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "empty.onnx": (lambda: b"", (r"empty\.onnx", "is empty", "ONNX")),
    "half.onnx": (lambda: default_model(0.5), (r"half\.onnx", "cut off", "again")),
    "most.onnx": (lambda: default_model(0.99), (r"most\.onnx", "cut off", "again")),
    "random.onnx": (lambda: np.random.default_rng(0).bytes(5000), (r"random\.onnx", "not an ONNX model")),
    "text.onnx": (lambda: b"I am no model.\n" * 20, (r"text\.onnx", "not an ONNX model")),
    # onnx.load chooses a parser by the ending of the name.
    "labels.json": (lambda: b'["tench", "goldfish"]', (r"labels\.json", "ONNX")),
    "text.textproto": (lambda: b"hello", (r"text\.textproto", "ONNX")),
    "text.onnxtxt": (lambda: b"hello", (r"text\.onnxtxt", "ONNX")),
    "pixels.onnx": (lambda: tiny_models.mlp_on_pixels().SerializeToString(), ("image", "spatial feature map")),
    "two.onnx": (lambda: tiny_models.two_inputs().SerializeToString(), ("2 inputs", "'image', 'other'", "one image")),
    "rank.onnx": (
        lambda: tiny_models.classifier(input_shape=["N", 3, 32]).SerializeToString(),
        ("one feature map", "damaged", "strides has incorrect size"),
    ),
    "no-weight.onnx": (
        lambda: damaged(lambda model: model.graph.node[-1].input.__delitem__(slice(1, None))),
        ("Gemm",),
    ),
    "no-opset.onnx": (lambda: damaged(lambda model: model.ClearField("opset_import")), ("opset",)),
    "metadata.onnx": (
        lambda: damaged(lambda model: model.metadata_props.add(key="secam_onnx", value="{")),
        ("metadata is damaged", "export"),
    ),
}


@pytest.mark.parametrize("command", ["explain", "export", "inspect"])
@pytest.mark.parametrize("name", MODELS)
def test_a_bad_model(command: str, name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    make, words = MODELS[name]
    (tmp_path / name).write_bytes(make())
    refused(command, *(["photo.png", "-m"] if command == "explain" else []), name, words=words)


@pytest.mark.parametrize("command", [["explain", "photo.png", "-m"], ["export"], ["inspect"]])
@pytest.mark.parametrize(
    ("name", "words"), [("gone.onnx", ("does not exist", "path")), ("empty", ("holds no .onnx file",))]
)
def test_a_model_that_is_no_file(
    command: list[str], name: str, words: tuple[str, ...], tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "empty").mkdir()
    refused(*command, name, words=words)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("command", [["explain", "photo.png", "-m"], ["export"], ["inspect"], ["bench", "-m"]])
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "536870912000 bytes"])
def test_a_model_that_would_never_be_read_to_its_end(
    command: list[str], kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, refused: Callable[..., str]
) -> None:
    model = tmp_path_factory.mktemp("elsewhere") / "model.onnx"  # the fixture reads all that lies in the other folder
    if kind == "a named pipe":
        os.mkfifo(model)
    elif kind == "a device":
        model.symlink_to("/dev/zero")
    else:
        with model.open("wb") as file:
            file.truncate(int(kind.split()[0]))  # which takes no place on the disk
    refused(*command, model, words=("model.onnx", kind))
    model.unlink()
