"""Preprocessing and class names through the real command line: from options, and from the files beside a model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import tiny_models
from beginnings import begun, node

from secam_onnx import Preprocessing
from secam_onnx.classifier.metadata import ModelMetadata

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as Hugging Face's tools write it."""
    made = tmp_path / "net"
    made.mkdir()
    onnx.save(tiny_models.classifier(), made / "model.onnx")
    (made / "config.json").write_text(json.dumps({"id2label": {str(index): f"name {index}" for index in range(7)}}))
    (made / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor", "size": 32}')
    return made


def metadata(path: Path) -> ModelMetadata:
    found = ModelMetadata.of(onnx.load(path))
    assert found is not None
    return found


def test_export_reads_and_tells(folder: Path, tmp_path: Path, run_cli: RunCli) -> None:
    done = run_cli("export", "net")
    assert done.returncode == 0, done.stderr
    assert (
        "Preprocessing read from preprocessor_config.json (ViTImageProcessor): whole picture to 32 x 32" in done.stdout
    )
    assert "Class names read from config.json: 7, the first is 'name 0'" in done.stdout
    assert "Preprocessing assumed" not in done.stdout + done.stderr
    made = metadata(tmp_path / "net-secam.onnx")
    expected = Preprocessing((32, 32), mean=(127.5,) * 3, std=(127.5,) * 3, crop_rounding="down")
    assert (made.preprocessing, made.labels) == (expected, tuple(f"name {index}" for index in range(7)))
    assert made.origin["file"] == "model.onnx"
    inspected = run_cli("inspect", "net-secam.onnx")
    assert (
        f"preprocessing note: read from preprocessor_config.json (ViTImageProcessor): {expected}\n" in inspected.stdout
    )
    assert "labels: read from config.json\n" in inspected.stdout


def test_export_without_any_hint_says_what_it_assumed(tmp_path: Path, run_cli: RunCli) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    done = run_cli("export", "m.onnx")
    note = "assumed: torchvision's ImageNet settings, since the file does not say"
    assert f"Preprocessing {note}: shorter side to 37, centre crop 32 x 32 (bilinear)" in done.stdout
    assert "Class names: none\n" in done.stdout
    assert f"Preprocessing {note}. To change it: --preprocess PRESET, or --mean, --std and --crop." in done.stderr
    for model in ("m.onnx", "m-secam.onnx"):
        assert f"preprocessing note: {note}: shorter side to 37" in run_cli("inspect", model).stdout


OPTIONS = (
    "--mean 0.5,0.25,0 --std 0.5 --size 48x64 --crop none --interpolation Lanczos --layout nchw --channel-order bgr"
)
SET = {
    "size": [48, 64],
    "resize_to": None,
    "interpolation": "lanczos",
    "channel_order": "BGR",
    "mean": [127.5, 63.75, 0],
}


@pytest.mark.parametrize("command", ["inspect --json", "export", "explain photo.png -m"])
def test_every_option_in_every_command(command: str, tmp_path: Path, photo: Path, run_cli: RunCli) -> None:
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    onnx.save(tiny_models.classifier(input_shape=["N", "C", "H", "W"]), tmp_path / "any.onnx")
    done = run_cli(*command.split(), "any.onnx", *OPTIONS.split())
    assert done.returncode == 0, done.stderr
    assert "Preprocessing assumed" not in done.stderr
    if command.startswith("inspect"):
        made = json.loads(done.stdout)["preprocessing"]
    elif command == "export":
        made = metadata(tmp_path / "any-secam.onnx").preprocessing.to_dict()
    else:
        made = json.loads((tmp_path / "secam-out" / "photo" / "explanation.json").read_text())["method"][
            "preprocessing"
        ]
    assert SET.items() <= made.items()
    assert (made["std"], made["layout"]) == ([127.5] * 3, "NCHW")


@pytest.mark.parametrize(
    ("options", "note", "changed"),
    [
        ("--crop 0.5", "(ViTImageProcessor); as given: crop", {"resize_to": 64, "mean": [127.5] * 3}),
        ("--preprocess keras-caffe", "preset keras-caffe", {"mean": [103.939, 116.779, 123.68], "std": [1.0] * 3}),
        (
            "--preprocess lite --std 128 --mean 0,0,0",
            "preset lite; as given: mean, std",
            {"mean": [0.0] * 3, "std": [128.0] * 3, "interpolation": "bicubic"},
        ),
    ],
)
def test_options_win_over_the_files_beside(
    options: str, note: str, changed: dict[str, object], folder: Path, run_cli: RunCli
) -> None:
    report = json.loads(run_cli("inspect", "--json", "net", *options.split()).stdout)
    assert report["origin"]["preprocessing"].endswith(note)
    assert changed.items() <= report["preprocessing"].items()


def test_an_exported_model_can_be_exported_with_changes(folder: Path, tmp_path: Path, run_cli: RunCli) -> None:
    assert run_cli("export", "net", "-o", "one.onnx").returncode == 0
    (tmp_path / "names.csv").write_text("id,name\n" + "\n".join(f"{index},other {index}" for index in range(7)))
    done = run_cli("export", "one.onnx", "-o", "two.onnx", "--crop", "1", "--labels", "names.csv")
    assert done.returncode == 0, done.stderr
    one, two = metadata(tmp_path / "one.onnx"), metadata(tmp_path / "two.onnx")
    assert (one.preprocessing.resize_to, two.preprocessing.resize_to) == (None, 32)
    assert two.preprocessing.mean == one.preprocessing.mean
    assert two.origin["preprocessing"] == f"{one.origin['preprocessing']}; as given: crop"
    assert (two.labels or ())[6] == "other 6"
    assert two.origin["labels"] == "read from names.csv"


@pytest.mark.parametrize("command", ["explain photo.png -m tiny.onnx", "export tiny.onnx", "inspect tiny.onnx"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--mean a,b", ("--mean", "'a,b'; one number, or several such as 0.485,0.456,0.406, were expected")),
        ("--mean 1,2", ("takes 3 channels, but the preprocessing",)),
        ("--std 0", ("std is 0.0;", "above 0")),
        ("--size big", ("--size", "'big'; pixels, such as 224, or height and width, such as 192x256")),
        ("--size 0", ("--size", "'0'; pixels")),
        ("--size 64", ("takes inputs of 32 x 32", "makes 64 x 64")),
        ("--crop most", ("--crop", "'most'; a fraction, such as 0.875, or none was expected")),
        ("--crop 2", ("crop is 2.0; a fraction above 0 and at most 1",)),
        ("--crop 0.0001", ("resize_to is 320000; None",)),
        ("--interpolation area", ("--interpolation", "'area' is not one of")),
        ("--layout NHWC", ("input is NCHW", "makes NHWC")),
        ("--channel-order GBR", ("--channel-order", "'GBR' is not one of")),
        ("--preprocess nonsense --mean 0", ("Unknown preprocessing preset 'nonsense'; there are torchvision, lite",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_options(command: str, options: str, words: tuple[str, ...], refused: Callable[..., str]) -> None:
    refused(*command.split(), *options.split(), words=words)


@pytest.mark.parametrize("options", ["--mean 0", "--size 224", "--preprocess lite --crop none"])
def test_an_explainable_model_keeps_its_own(options: str, refused: Callable[..., str]) -> None:
    refused("inspect", *options.split(), words=())
    refused("explain", "photo.png", *options.split(), words=("fixes its own preprocessing", "--model"))


def test_a_graph_that_divides_itself_is_warned_of_in_every_command(
    tmp_path: Path, photo: Path, run_cli: RunCli
) -> None:
    onnx.save(begun([node("Div", "image", "k", "x")], {"k": 255.0}), tmp_path / "m.onnx")
    warning = "Warning: The graph begins with a division by 255, which is made for pixels of 0..255"
    for command in ("export m.onnx -o {}.onnx", "export m.onnx --fused -o {}.onnx", "explain photo.png -m m.onnx"):
        twice = run_cli(*command.format("twice").replace("photo.png", str(photo)).split(), "--preprocess", "unit")
        assert (twice.returncode, warning in twice.stderr) == (0, True), twice.stderr
        (tmp_path / "twice.onnx").unlink(missing_ok=True)
        once = run_cli(*command.format("once").replace("photo.png", str(photo)).split())
        assert (once.returncode, "Warning" in once.stderr) == (0, False), once.stderr
        assert "the graph begins with a division by 255: raw pixels are fed" in once.stderr
        (tmp_path / "once.onnx").unlink(missing_ok=True)
    shown = run_cli("inspect", "m.onnx", "--preprocess", "unit").stdout
    assert "graph begins with: a division by 255\n" in shown
    assert "preprocessing warning: The graph begins with" in shown


def test_letterboxing_and_stretching_before_the_crop(tmp_path: Path, run_cli: RunCli) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    done = run_cli("export", "m.onnx", "--preprocess", "unit", "--fit", "letterbox", "--pad-color", "114")
    assert "whole picture fitted inside 32 x 32, the rest padded with 114 (bilinear)" in done.stdout
    made = metadata(tmp_path / "m-secam.onnx").preprocessing
    assert (made.resize_to, made.pad_color, made.std) == ("letterbox", (114.0,), (255.0,) * 3)
    stretched = run_cli("inspect", "m.onnx", "--preprocess", "unit", "--fit", "stretch", "--crop", "0.5")
    assert "whole picture to 64 x 64, centre crop 32 x 32" in stretched.stdout
    wrong = run_cli("inspect", "m.onnx", "--fit", "letterbox", "--crop", "0.5")
    assert (wrong.returncode, "does not go with crop" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("command", ["export", "export --fused", "inspect", "explain photo.png -m"])
def test_a_mean_for_whole_numbers_is_refused(command: str, tmp_path: Path, photo: Path, run_cli: RunCli) -> None:
    onnx.save(begun([node("Cast", "image", "x", to=1)], dtype=onnx.TensorProto.UINT8), tmp_path / "m.onnx")
    done = run_cli(*command.replace("photo.png", str(photo)).split(), "m.onnx", "--mean", "0.5")
    assert done.returncode == 2
    assert "'image' is uint8: it takes raw pixels, 0..255, and nothing else" in done.stderr
    assert "Traceback" not in done.stderr
