"""Names for files that are given as a model but are not ONNX, recognised by their content or else by their name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from secam_onnx.files import open_regular, printable, read_regular
from secam_onnx.schema import LIMITS, parse_json

__all__ = ["foreign_file", "foreign_folder"]

_HEAD = 64 << 10  # bytes to read

_AGAIN = "Export the model that it was made from to ONNX."
_PYTORCH = (
    "If these are weights of a torchvision network: `secam-onnx export NETWORK --weights {file}`. Otherwise build the "
    "network in PyTorch, load the weights, and write it with torch.onnx.export."
)
_KERAS = "Make it explainable with `secam-onnx export {file}`."
_HDF5 = (
    'If it is a whole model, make a .keras file, keras.models.load_model("{file}").save("model.keras"), then run '
    "`secam-onnx export model.keras`. If it has weights alone: `secam-onnx export NETWORK --source keras --weights "
    "{file}`."
)
_TFLITE, _SAVED_MODEL, _TFJS = (
    f"Convert it: `python -m tf2onnx.convert --{kind} {{file}} --output model.onnx`."
    for kind in ("tflite", "saved-model", "tfjs")
)
_UNPACK = "Unpack it and give the .onnx file in it."
_DATA = "Give the .onnx file that it belongs to; both stay in one folder."
_PICTURE = "Give photographs as `secam-onnx explain IMAGE`, and the model with --model."

# Offset, the bytes there, what such a file is, what to do.
_BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _HDF5),
    (4, b"TFL3", "a TensorFlow Lite model", _TFLITE),
    (4, b"ORTM", "a model in ONNX Runtime's own format (ORT)", "Give the .onnx file that it was made from."),
    (4, b"ET12", "an ExecuTorch program", _AGAIN),
    (0, b"GGUF", "a GGUF file, of llama.cpp's language models", "Give an image classifier in ONNX format."),
    (0, b"ftrt", "a TensorRT engine", _AGAIN),
    (0, b"ptrt", "a TensorRT engine", _AGAIN),
    (0, b"RKNN", "an RKNN model", _AGAIN),
    (0, b"7767517", "an ncnn model", _AGAIN),
    (0, b"\x93NUMPY", "a NumPy array", "Give an image classifier in ONNX format."),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\xff\xd8\xff", "a JPEG picture", _PICTURE),
    (0, b"\x89PNG", "a PNG picture", _PICTURE),
    (0, b"GIF8", "a GIF picture", _PICTURE),
    (8, b"WEBP", "a WebP picture", _PICTURE),
    (0, b"%PDF", "a PDF document", "Give an image classifier in ONNX format."),
    *((0, bytes([0x80, version]), "a Python pickle, as PyTorch wrote", _PYTORCH) for version in (2, 3, 4, 5)),
)
# For files whose beginning does not tell.
_NAMES: dict[str, tuple[str, str]] = {
    ".mlmodel": ("a Core ML model", _AGAIN),
    ".engine": ("a TensorRT engine", _AGAIN),
    ".plan": ("a TensorRT engine", _AGAIN),
    ".trt": ("a TensorRT engine", _AGAIN),
    ".pb": ("a TensorFlow graph", "Convert its folder: `python -m tf2onnx.convert --saved-model FOLDER --output "
            "model.onnx`; or a frozen graph: --graphdef {file} --inputs NAME:0 --outputs NAME:0."),
    ".caffemodel": ("a Caffe model", _AGAIN),
    ".weights": ("a file of Darknet weights", _AGAIN),
    ".mnn": ("an MNN model", _AGAIN),
    ".pdmodel": ("a PaddlePaddle model", "Convert it: `paddle2onnx --model_dir FOLDER --model_filename {file} "
                 "--params_filename NAME.pdiparams --save_file model.onnx`."),
    ".pdiparams": ("a file of PaddlePaddle weights", "Convert its folder with paddle2onnx."),
    ".pdparams": ("a file of PaddlePaddle weights", "Convert the inference model that it belongs to with paddle2onnx."),
    ".data": ("a file of weights beside an ONNX model", _DATA),
    ".onnx_data": ("a file of weights beside an ONNX model", _DATA),
}  # fmt: skip

_WORTH_A_LOOK = {*_NAMES, ".keras", ".h5", ".pt", ".pth", ".pt2", ".tflite", ".ort", ".safetensors", ".xml", ".zip"}


def foreign_file(path: Path) -> str | None:
    """Say what a file is that cannot be read as a model.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str or None
        A sentence that names the kind of file, and one that says what to do; None if it is not known.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    found = _by_content(path, head) or _NAMES.get(path.suffix.lower()) or _beside_openvino(path) or _text(head)
    if found is None:
        return None
    return _sentence(path, *found)


def foreign_folder(folder: Path) -> str | None:
    """Say which kind of model a folder without an ONNX file holds, and what to do; None if it is not known."""
    names = {entry.name for entry in folder.iterdir()}
    if "saved_model.pb" in names:
        return _sentence(folder, "a TensorFlow SavedModel", _SAVED_MODEL)
    if {"Manifest.json", "Data"} <= names:
        return _sentence(folder, "a Core ML package", _AGAIN)
    if "config.json" in names and any(re.fullmatch(r"(pytorch_)?model.*\.(bin|safetensors)", name) for name in names):
        return _sentence(
            folder, "a model of Hugging Face", "Make one: `optimum-cli export onnx --model {file} OUTPUT`."
        )
    files = (folder / name for name in sorted(names) if Path(name).suffix.lower() in _WORTH_A_LOOK)
    return next((sentence for file in files if file.is_file() and (sentence := foreign_file(file))), None)


def _sentence(path: Path, what: str, todo: str) -> str:
    name = printable(str(path))
    return f"{name} is {what}, not an ONNX model. {todo.replace('{file}', name)}"


def _by_content(path: Path, head: bytes) -> tuple[str, str] | None:
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        stands = f", which stands for a file of {int(size[1]):,} bytes" if size else ""
        return f"a Git LFS pointer{stands}", "Fetch the file itself with `git lfs pull`, or download it."
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if len(head) > 9 and head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file, weights without a network", _PYTORCH
    for offset, beginning, what, todo in _BEGINNINGS:
        if head.startswith(beginning, offset):
            return what, todo
    words = (b"VarHandleOp", b"Placeholder", b"StatefulPartitionedCall")
    if head.startswith((b"\x08\x01\x12", b"\x0a")) and any(word in head for word in words):
        return _NAMES[".pb"]
    return _markup(path, head)


def _markup(path: Path, head: bytes) -> tuple[str, str] | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:200].lower().startswith((b"<!doctype html", b"<html")):
        return (
            "a web page",
            "The download was answered with a page, such as an error or a login; download the file itself (GitHub: "
            "/raw/ in place of /blob/, Hugging Face: /resolve/).",
        )
    if text.startswith((b"<?xml", b"<net")):
        if re.search(rb"<net\s", text):
            return "an OpenVINO model", _AGAIN
        code = re.search(rb"<(?:Code|Message)>([^<]{1,80})", text)
        said = f" ({code[1].decode(errors='replace')})" if code else ""
        return f"an XML document{said}", "Download the model again, from the address of the file itself."
    if text.startswith((b"{", b"[")):
        return _json(path)
    return None


def _json(path: Path) -> tuple[str, str] | None:
    try:
        data = parse_json(read_regular(path, LIMITS.size).decode("utf-8-sig"))
    except (OSError, ValueError):
        return None
    if isinstance(data, dict) and {"modelTopology", "weightsManifest"} & data.keys():
        return "a TensorFlow.js model", _TFJS
    return "JSON", "Give class names with --labels, and an image classifier in ONNX format as the model."


def _zip(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = next((name for name in names if name.endswith("/data.pkl")), None)
            if pickled is not None and b"ultralytics" in archive.open(pickled).read(_HEAD):
                return "a model of Ultralytics", "Convert it: `yolo export model={file} format=onnx`."
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError):
        return "a zip archive that is cut off", "Download it again."
    return _packed(path, names, pickled is not None)


def _packed(path: Path, names: Iterable[str], pickled: bool) -> tuple[str, str]:
    names = set(names)
    inside = next((name for name in sorted(names) if name.lower().endswith(".onnx")), None)
    if inside is not None:
        return "a zip archive", f"Unpack it and give {printable(inside)}."
    if {"config.json", "model.weights.h5"} <= names:
        named = "" if path.suffix.lower() == ".keras" else "Rename it to end in .keras. "
        return "a Keras model", named + _KERAS
    if any("serialized_exported_program" in name or "models/model.json" in name for name in names):
        return (
            "a PyTorch program (torch.export)",
            'Convert it in PyTorch: torch.onnx.export(torch.export.load("{file}"), dynamo=True).save("model.onnx").',
        )
    if any("/code/" in name for name in names):
        return (
            "a TorchScript model",
            'Convert it in PyTorch: torch.onnx.export(torch.jit.load("{file}"), (torch.zeros(1, 3, 224, 224),), '
            '"model.onnx", dynamo=False).',
        )
    if pickled:
        return "a PyTorch checkpoint", _PYTORCH
    if any(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays", "Give an image classifier in ONNX format."
    return "a zip archive", _UNPACK


def _beside_openvino(path: Path) -> tuple[str, str] | None:
    if path.suffix.lower() == ".bin" and path.with_suffix(".xml").is_file():
        return "a file of OpenVINO weights", _AGAIN
    return None


def _text(head: bytes) -> tuple[str, str] | None:
    """Text of any kind; its first line may be a server's message."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or any(not character.isprintable() and character not in "\t\r\n\f" for character in text):
        return None
    return f"text ({lines[0][:60]!r})", "Download or export the model again."
