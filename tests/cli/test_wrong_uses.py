"""Thirty things that people type by mistake: each is answered by a sentence that leads on, code 2, and no file."""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from PIL import Image

from secam_onnx import cli

USES = [
    ("explian photo.png", "'explian' is not a command; did you mean 'explain'"),
    ("photo.png", "secam-onnx explain photo.png"),
    ("frobnicate", "choose from bench, demo, explain"),
    ("explain", "Missing argument 'IMAGE...'"),
    ("export tiny.onnx --triton-config", "describes a fused file; add --fused"),
    ("export tiny.onnx --fused --triton-max-batch-size 8", "goes with --triton-config"),
    ("explain photo.png tiny.onnx", "tiny.onnx is a model; name it with --model"),
    ("explain photo.png -m photo.png", "photo.png is a PNG picture, not an ONNX model.*with --model"),
    ("explain photo.png -o photo.png", "'photo.png' is a file; name a new folder"),
    ("explain photos -o photos", "folder photos is the folder of the results.*-o"),
    ("explain https://example.com/photo.png", "an address; a file was expected. Download it"),
    ("explain s3://bucket/photo.png", "--engine ray reads addresses"),
    ("explain gone.png", "gone.png does not exist"),
    ("explain text.jpg", "text.jpg is not an image"),
    ("explain photos/*.gif", "as a pattern, matches nothing"),
    ("explain photo.png -c tigercat", "Unknown class 'tigercat'. Near matches: 'tiger cat' .282."),
    ("explain photo.png -c 1000", "out of range.*0 to 999"),
    ("explain photo.png -c top-0", "top-1 to top-1000"),
    ("explain photo.png --segmenter slick", "Unknown segmenter 'slick'; choose from kmeans"),
    ("explain photo.png --n-segments 0", "n_segments is 0; 1 to 10000"),
    ("explain photo.png --threshold 2", "above 0 and at most 1"),
    ("explain photo.png --top-segments 3 --coverage 0.5", "choose one way"),
    ("explain photo.png --preprocess imagenet -m tiny.onnx", "Unknown preprocessing preset 'imagenet'; there are"),
    ("explain photo.png --mean 0.5", "default model fixes its own preprocessing; name the model"),
    ("explain photo.png --features layer4", "default model fixes its own features; name the model"),
    ("explain photo.png --features layer4 -m tiny.onnx --preprocess unit", "layer4"),
    ("explain photo.png --token-grid 7", "ROWSxCOLUMNS"),
    ("explain photo.png --attribution gradcam", "there are gradient, detached, integrated, masking"),
    ("explain photo.png --provider tpu", "Unknown provider 'tpu'.*'auto', 'cpu', 'cuda'"),
    ("explain photo.png --resume --retry", "No such option.*--retry"),
    ("explain photos --label-map photo.png", "--label-map goes with one image"),
    ("explain --from-list gone.txt", "Cannot read the list gone.txt"),
    ("inspect photo.png", "PNG picture"),
    ("export gone.tflite", "gone.tflite does not exist"),
    ("export tiny.onnx -o gone/out.onnx", "folder gone does not exist; create it first"),
    ("export tiny.onnx -o photos", "photos is a folder; give the name of an .onnx file"),
    ("export tiny.onnx --top-k 3", "--top-k goes with --fused"),
    ("demo tiny.onnx", "name the model with --model"),
    ("demo --static photos", "holds files that are not an earlier page"),
    ("bench tiny.onnx", "name the model with --model"),
    ("bench --json gone/out.json", "the folder gone does not exist"),
]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A photograph, a folder of them, a model, a text called .jpg."""
    (tmp_path / "photos").mkdir()
    for name in ("photo.png", "photos/a.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    (tmp_path / "text.jpg").write_bytes(b"hello")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("arguments", "words"), USES, ids=[arguments for arguments, _ in USES])
def test_a_wrong_use(arguments: str, words: str, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in room.rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "argv", ["secam-onnx", *arguments.split()])
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2, said.getvalue()
    text = " ".join(said.getvalue().split())
    assert re.search(words, text), text
    assert text.count("Error: ") == 1
    after = {path: path.stat().st_mtime_ns for path in room.rglob("*") if path.is_file()}
    # Of images that were named one by one, some of which may be read, a table says what is wrong with them.
    assert {path: time for path, time in after.items() if path.name != "errors.csv"} == before
