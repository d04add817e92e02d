"""Bad images, classes, options, label maps and folders: a sentence, exit code 2, and nothing changed on the disk."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models
from PIL import Image


def png(pixels: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


def png_bomb(side: int) -> bytes:
    """A few bytes that announce `side` x `side` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# A header that announces 800 TB.
HUGE = npy(np.zeros((1, 1), int)).replace(b"(1, 1), }" + b" " * 14, b"(1000000, 100000000), }")

IMAGES: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "empty.png": (lambda photo: b"", ("is empty", "image")),
    "half.png": (lambda photo: photo[: len(photo) // 2], ("cut off", "again")),
    "text.jpg": (lambda photo: b"I am no picture.\n", ("not an image", "JPEG", "PNG")),
    "bomb.png": (lambda photo: png_bomb(60_000), ("limit", "100,000,000", "smaller|shrink")),
    "large.png": (lambda photo: png_bomb(11_000), ("121,000,000", "limit", "100,000,000", "smaller|shrink")),
    "dot.png": (lambda photo: png(np.zeros((1, 1, 3), np.uint8)), ("1 x 1", "at least 4")),
    "strip.png": (lambda photo: png(np.zeros((4, 500, 3), np.uint8)), ("500 x 4", "at most 50")),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_image(name: str, tmp_path: Path, photo: Path, refused: Callable[..., str]) -> None:
    make, words = IMAGES[name]
    (tmp_path / name).write_bytes(make(photo.read_bytes()))
    refused("explain", name, words=(re.escape(name), *words))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.png", ("does not exist", "path")),
        ("empty", ("folder empty holds no image", "JPEG")),
        ("", ("name is empty", "folder")),
    ],
)
def test_an_image_that_is_no_file(
    name: str, words: tuple[str, ...], tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "cut off" not in refused("explain", name, words=words)


@pytest.mark.parametrize(
    ("class_", "words"),
    [
        ("tigr cat", ("tigr cat", r"near matches: .*'tiger cat' \(282\)")),
        ("cat", ("near matches: .*'(tiger|Egyptian|Siamese|Persian) cat'",)),
        ("qqqqq", ("qqqqq", "inspect MODEL --labels")),
        ("", ("class",)),
        ("1000", ("1000 is out of range", "0 to 999")),
        ("-1", ("-1 is out of range", "0 to 999")),
        ("9" * 5000, ("out of range", "0 to 999")),
        ("top-0", ("top-0", "top-1 to top-1000")),
        ("top-1001", ("top-1001", "top-1 to top-1000")),
    ],
    ids=lambda value: value[:9] if isinstance(value, str) else "",
)
def test_a_class_that_the_model_does_not_have(class_: str, words: tuple[str, ...], refused: Callable[..., str]) -> None:
    refused("explain", "photo.png", "--class", class_, words=words)


def test_a_class_name_that_two_classes_share(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "names.txt").write_text("a\ncrane\nb\nc\nCrane\nd\ne\n")
    arguments = ("explain", "photo.png", "-m", "tiny.onnx", "--labels", "names.txt", "-c", "crane")
    refused(*arguments, words=("2 classes have the name 'crane'", "index:1, index:4"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--top-segments 3 --coverage 0.3", ("top.segments and coverage", "choose one")),
        ("--threshold 0.5 --coverage 0.3", ("threshold and coverage", "choose one")),
        ("--top-segments 0", ("top.segments", "is 0", "1 or more")),
        ("--threshold 0", ("threshold", "is 0", "above 0")),
        ("--coverage 2", ("coverage is 2", "at most 1")),
        ("--coverage nan", ("coverage is nan", "at most 1")),
        ("--n-segments 0", ("n_segments is 0", "1 to 10000")),
        ("--n-segments many", ("--n-segments", "'many' is not a valid integer")),
        ("--compactness -1", ("compactness is -1", "0.001 to 10000")),
        ("--pictures -1", ("--pictures", "-1 is negative", "0 or more")),
        ("--segmenter voronoi", ("voronoi", "kmeans, slic, felzenszwalb, quickshift")),
        ("--provider nonsense", ("nonsense", "auto", "cpu", "cuda")),
        ("--labels names.txt", ("fixes its own labels", "--model")),
        ("--preprocess lite", ("fixes its own preprocessing", "--model")),
        ("-m tiny.onnx --preprocess nonsense", ("nonsense", "torchvision, lite")),
        ("-m tiny.onnx --logits nonsense", ("no output or tensor 'nonsense'", "outputs are logits")),
        ("-m tiny.onnx --features nonsense", ("'nonsense'",)),
        ("--frobnicate", ("No such option", "--frobnicate")),
    ],
)
def test_a_bad_option(options: str, words: tuple[str, ...], tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"))
    refused("explain", "photo.png", *options.split(), words=words)


def test_cuda_without_a_gpu_build(refused: Callable[..., str]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this is the GPU build")
    refused("explain", "photo.png", "--provider", "cuda", words=("CPU build", "pip install"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("small.png", png(np.zeros((30, 45), np.uint8)), (r"\(30, 45\)", r"\(300, 451\)", r"\(224, 224\)")),
        ("colour.png", png(np.zeros((300, 451, 3), np.uint8)), (r"\(300, 451, 3\)", "expected")),
        ("float.npy", npy(np.zeros((300, 451))), ("float64", "integers")),
        ("objects.npy", npy(np.array([None, {}])), (r"objects\.npy", "integers")),
        ("empty.npy", b"", (r"empty\.npy", "integers")),
        ("short.npy", npy(np.zeros((300, 451), int))[:5000], (r"short\.npy", "integers")),
        (
            "huge.npy",
            npy(np.zeros((1, 1), int)).replace(b"(1, 1)" + b" " * 30, b"(1000000, 100000000)" + b" " * 16),
            (),
        ),
        ("text.png", b"I am no picture.\n", (r"text\.png", "PNG")),
        ("bomb.png", png_bomb(60_000), (r"bomb\.png", "PNG|pixels")),
        (None, b"", ("gone.png", "no such file|does not exist")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_label_map(
    name: str | None, content: bytes, words: tuple[str, ...], tmp_path: Path, refused: Callable[..., str]
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    refused("explain", "photo.png", "--label-map", name or "gone.png", words=("label map", *words))


def test_a_label_map_for_two_images(refused: Callable[..., str]) -> None:
    refused("explain", "photo.png", "photo.png", "--label-map", "map.png", words=("--label-map", "one image", "2 were"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("two.txt", b"a\nb\n", ("2 labels for 7 classes",)),
        ("empty.txt", b"", ("every class needs a name",)),
        ("gap.txt", b"a\n\nb\nc\nd\ne\nf\n", ("every class needs a name",)),
        ("latin.txt", b"caf\xe9\n", ("latin.txt", "one name per line")),
        ("broken.json", b"{", ("broken.json", "JSON")),
        ("holes.json", b'{"0": "a", "2": "b"}', ("1 is missing", "from 0")),
        ("number.json", b"5", ("number.json", "JSON")),
        ("word.json", b'"abcdefg"', ("word.json", "JSON")),
        (None, b"", ("gone.txt", "no such file")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("command", [["explain", "photo.png", "-m", "tiny.onnx"], ["export", "tiny.onnx"]])
def test_bad_labels(
    command: list[str],
    name: str | None,
    content: bytes,
    words: tuple[str, ...],
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    refused(*command, "--labels", name or "gone.txt", words=words)


@pytest.mark.parametrize("output", ["photo.png", "photo.png/below", "a" * 300], ids=["file", "below a file", "long"])
@pytest.mark.parametrize("command", ["explain photo.png", "export tiny.onnx", "export tiny.onnx --force"])
def test_an_output_that_cannot_be_made(command: str, output: str, refused: Callable[..., str]) -> None:
    if command.endswith("--force") and output == "photo.png":
        pytest.skip("that is what --force is for")
    refused(*command.split(), "-o", output, words=(re.escape(output),))


def test_a_source_is_not_overwritten_with_its_own_export(tmp_path: Path, run_cli: Callable) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "net.onnx")
    before = (tmp_path / "net.onnx").read_bytes()
    result = run_cli("export", "net.onnx", "-o", "./net.onnx", "--force")
    assert result.returncode == 2
    assert "is the source itself" in result.stderr
    assert (tmp_path / "net.onnx").read_bytes() == before
