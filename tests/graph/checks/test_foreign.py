"""Files that are not ONNX models are named as what they are, with what to do, by every command that takes a model."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from PIL import Image

from secam_onnx import cli
from secam_onnx.errors import ModelError, SecamError
from secam_onnx.graph.checks.foreign import foreign_file
from secam_onnx.graph.locate import model_file
from secam_onnx.graph.onnx_file import read_model

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 18712345\n"


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def safetensors() -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(4)


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"))
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


KERAS = packed(**{"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b""})
PYTORCH = packed(**{"m/data.pkl": b"\x80\x02ccollections\nOrderedDict\n", "m/data/0": b""})
SAVED_MODEL = b"\x08\x01\x12\x20" + b"Placeholder" * 3
# Name, content, what it is, what to do.
FILES: dict[str, tuple[str, bytes, str, str]] = {
    "lfs": ("m.onnx", LFS, "Git LFS pointer.*18,712,345 bytes", "git lfs pull"),
    "page": ("m.onnx", b"\n<!DOCTYPE html>\n<html>", "web page", "/raw/"),
    "page without doctype": ("m.onnx", b"<html lang='en'>", "web page", "download the file itself"),
    "not found": ("m.onnx", b"404: Not Found", "text .'404: Not Found'", "again"),
    "store": ("m.onnx", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "AccessDenied", "again"),
    "hdf5": ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5.*Keras", r'load_model\("m\.h5"\).*export model\.keras'),
    "keras": ("m.keras", KERAS, "Keras model", "`secam-onnx export m.keras`"),
    "keras by another name": ("m.onnx", KERAS, "Keras model", "Rename it to end in .keras"),
    "pytorch": ("m.pth", PYTORCH, "PyTorch checkpoint", "export NETWORK --weights m.pth.*torch.onnx.export"),
    "pytorch, old": ("m.pt", b"\x80\x02\x8a\nl\xfc\x9cF", "pickle.*PyTorch", "torch.onnx.export"),
    "torchscript": ("m.pt", packed(**{"m/data.pkl": b"", "m/code/x.py": b""}), "TorchScript", r"torch\.jit\.load"),
    "exported": ("m.pt2", packed(**{"m/models/model.json": b"{}"}), "torch.export", r"torch\.export\.load"),
    "ultralytics": (
        "m.pt",
        packed(**{"m/data.pkl": b"cultralytics.nn.tasks"}),
        "Ultralytics",
        "yolo export model=m.pt",
    ),
    "tflite": ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(9), "TensorFlow Lite", "tf2onnx.convert --tflite m.tflite"),
    "ort": ("m.ort", b"\x1c\0\0\0ORTM" + bytes(9), "ORT", "made from"),
    "safetensors": ("m.safetensors", safetensors(), "safetensors", "--weights m.safetensors"),
    "zip": ("m.zip", packed(**{"a/net.onnx": b""}), "zip archive", "give a/net.onnx"),
    "cut zip": ("m.zip", packed(a=b"x" * 99)[:50], "cut off", "again"),
    "gzip": ("m.onnx", gzip.compress(b"x"), "gzip", "Unpack"),
    "tar": ("m.tar", tar(), "tar archive", "Unpack"),
    "saved model": ("saved_model.pb", SAVED_MODEL, "TensorFlow graph", "--saved-model"),
    "saved model by another name": ("m.onnx", SAVED_MODEL, "TensorFlow graph", "--saved-model"),
    "frozen graph": ("m.pb", b"\x0a\x20Placeholder", "TensorFlow graph", "--graphdef m.pb"),
    "tfjs": ("model.json", b'{"modelTopology": {}, "weightsManifest": []}', r"TensorFlow\.js", "--tfjs"),
    "json": ("m.json", b'["tench"]', "JSON", "--labels"),
    "openvino": ("m.xml", b"<?xml version='1.0'?>\n<net name='m' version='11'>", "OpenVINO", "made from"),
    "core ml": ("m.mlmodel", b"\x08\x04\x12\x00", "Core ML", "made from"),
    "tensorrt": ("m.engine", bytes(range(256)), "TensorRT", "made from"),
    "gguf": ("m.gguf", b"GGUF\3\0\0\0", "GGUF", "image classifier"),
    "numpy": ("m.npy", array(), "NumPy", "image classifier"),
    "executorch": ("m.pte", b"\x1c\0\0\0ET12", "ExecuTorch", "made from"),
    "paddle": ("m.pdmodel", b"\x0a\x99\x01", "PaddlePaddle", "--model_filename m.pdmodel"),
    "data file": ("m.onnx.data", bytes(99), "weights beside", "the .onnx file"),
    **{
        kind: (f"m.{kind}", picture(kind), f"{kind.upper()}|WebP", "--model") for kind in ("jpeg", "png", "gif", "webp")
    },
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_kind(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, content, what, todo = FILES[kind]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"(?s)^{name} is .*({what}).*not an ONNX model\. .*{todo}"):
        read_model(name)
    with pytest.raises(ModelError, match=what):
        read_model(name, weights=True)


@pytest.mark.parametrize(
    ("names", "what", "todo"),
    [
        (("saved_model.pb", "variables"), "TensorFlow SavedModel", "--saved-model m "),
        (("Manifest.json", "Data"), "Core ML package", "made from"),
        (("config.json", "model.safetensors"), "Hugging Face", "optimum-cli export onnx --model m "),
        (("config.json", "pytorch_model-00001-of-00002.bin"), "Hugging Face", "optimum-cli"),
        (("model.keras", "notes.txt"), "Keras model", "secam-onnx export m/model.keras"),
        (("notes.txt",), r"holds no \.onnx file", "path of a model"),
    ],
)
def test_a_folder_of_another_kind(
    names: tuple[str, ...], what: str, todo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").mkdir()
    for name in names:
        (Path("m") / name).write_bytes(KERAS if name.endswith(".keras") else b"")
    with pytest.raises(ModelError, match=rf"{what}.*{todo}"):
        model_file("m")


def test_openvino_weights_beside_their_model(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(bytes(99))
    assert foreign_file(tmp_path / "m.bin") is None
    (tmp_path / "m.xml").write_bytes(FILES["openvino"][1])
    assert "OpenVINO" in str(foreign_file(tmp_path / "m.bin"))


def test_what_pytorch_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Linear(2, 2)
    torch.save(network.state_dict(), tmp_path / "new.pth")
    torch.save(network.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.export.save(torch.export.export(network, (torch.zeros(1, 2),)), tmp_path / "m.pt2")
    found = {name: str(foreign_file(tmp_path / name)) for name in ("new.pth", "old.pth", "m.pt2")}
    assert "PyTorch checkpoint" in found["new.pth"]
    assert "pickle" in found["old.pth"]
    assert "torch.export.load" in found["m.pt2"]


def test_models_and_noise_are_no_kind(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    for content in (
        tiny_models.classifier().SerializeToString(),
        tiny_models.classifier().SerializeToString()[:-9],
        np.random.default_rng(0).bytes(999),
    ):
        model.write_bytes(content)
        assert foreign_file(model) is None
    assert foreign_file(tmp_path / "gone") is None


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "explain": lambda model: ["explain", "photo.png", "-m", model],
    "inspect": lambda model: ["inspect", model],
    "export": lambda model: ["export", model],
    "demo": lambda model: ["demo", "-m", model, "--static", "site"],
    "bench": lambda model: ["bench", "-m", model, "--rounds", "1", "--images", "0"],
    "serve": lambda model: ["serve", "-m", model, "--port", "0", "--grpc-port", "0"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["m.onnx", "folder", "m.tflite"])
def test_every_command_says_so(command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command == "serve" and importlib.util.find_spec("kserve") is None:
        pytest.skip("the server is not installed")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40)).save("photo.png")
    Path("m.onnx").write_bytes(LFS)
    Path("m.tflite").write_bytes(FILES["tflite"][1])
    Path("folder").mkdir()
    Path("folder", "saved_model.pb").touch()
    result = CliRunner().invoke(cli.command, COMMANDS[command](name))
    assert isinstance(result.exception, SecamError), result.output
    what = {"m.onnx": "Git LFS pointer", "folder": "TensorFlow SavedModel", "m.tflite": "TensorFlow Lite"}[name]
    assert what in str(result.exception)


@pytest.mark.parametrize("name", ["gone.tflite", "gone.pt", "folder/gone"])
def test_a_file_that_is_not_there_is_no_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.command, ["export", name])
    assert "does not exist" in str(result.exception)
