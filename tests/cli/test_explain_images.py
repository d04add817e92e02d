"""`secam-onnx explain` with images of all kinds, several at once, bad ones among them, and awkward names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image, features

RunCli = Callable[..., subprocess.CompletedProcess[str]]

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
TURNED = 6  # EXIF: turn by 90 degrees clockwise to see it upright


def save_kinds(photo: Image.Image, folder: Path) -> list[str]:
    """The photograph in all the forms that photographs come in; gives the file names."""
    exif = Image.Exif()
    exif[0x0112] = TURNED
    black = Image.new("RGB", photo.size)
    sixteen = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    see_through = photo.copy()
    see_through.putalpha(255)
    kinds: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "turned.jpg": (photo.transpose(Image.Transpose.ROTATE_90), {"exif": exif, "quality": 95}),
        "grey.png": (photo.convert("L"), {}),
        "palette.png": (photo.quantize(256), {}),
        "alpha.png": (see_through, {}),
        "cmyk.jpg": (photo.convert("CMYK"), {"quality": 95}),
        "sixteen.png": (Image.fromarray(sixteen), {}),
        "animated.gif": (photo, {"save_all": True, "append_images": [black]}),
        "animated.webp": (photo, {"save_all": True, "append_images": [black], "lossless": True}),
        "two.mpo": (photo, {"save_all": True, "append_images": [black], "quality": 95}),
        "plain.tiff": (photo, {}),
        "plain.bmp": (photo, {}),
    }
    if features.check_module("avif"):
        kinds["plain.avif"] = (photo, {"quality": 90})
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return list(kinds)


def test_images_of_every_kind(photo: Path, tmp_path: Path, run_cli: RunCli) -> None:
    with Image.open(photo) as image:
        names = save_kinds(image.convert("RGB"), tmp_path)
    done = run_cli("explain", *names)
    # A run that takes over ten seconds says so now and then.
    said = [line for line in done.stderr.splitlines() if not re.fullmatch(r"  \.\.\. .* s so far\)", line)]
    assert (done.returncode, said) == (0, []), done.stderr
    assert len(done.stdout.splitlines()) == len(names)
    for folder in ("animated", "animated-2", "two", *(Path(name).stem for name in names if "animated" not in name)):
        report = json.loads((tmp_path / "secam-out" / folder / "explanation.json").read_text())
        assert report["classes"][0]["index"] in CATS, folder
        assert report["geometry"]["image_size"] == [300, 451], folder
        for picture in (tmp_path / "secam-out" / folder).glob("*-heatmap.png"):
            with Image.open(picture) as drawn:
                assert drawn.size == (451, 300), folder


def test_several_images_of_one_name(photo: Path, tmp_path: Path, run_cli: RunCli) -> None:
    for name in ("a/cat.png", "b/cat.png", "b/Cat.png", "cat-2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    done = run_cli("explain", "a/cat.png", "b/cat.png", "b/Cat.png", "cat-2.png", "-o", "here/there", "--pictures", "0")
    assert (done.returncode, done.stderr) == (0, "")
    folders = [line.split(" -> ")[1].split(" (")[0] for line in done.stdout.splitlines()]
    assert folders == [str(Path("here/there", name)) for name in ("cat", "cat-2", "Cat-3", "cat-2-2")]
    assert {path.name for path in (tmp_path / "here/there").iterdir()} == {"cat", "cat-2", "Cat-3", "cat-2-2"}
    for folder in folders:
        assert {path.name for path in (tmp_path / folder).iterdir()} == {"explanation.json", "arrays.npz"}


@pytest.mark.parametrize(
    ("names", "code", "explained"),
    [
        (["good.png", "bad.png", "gone.png", "also good.png"], 1, ["also good", "good"]),
        (["bad.png", "gone.png"], 2, []),
    ],
)
def test_bad_images_are_reported_and_the_others_explained(
    names: list[str], code: int, explained: list[str], photo: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    for name in ("good.png", "also good.png"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "bad.png").write_bytes(photo.read_bytes()[:1000])
    done = run_cli("explain", *names, "--pictures", "0")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert all(words in done.stderr for words in ("bad.png cannot be decoded", "gone.png does not exist"))
    assert f"2 of {len(names)} images could not be explained" in done.stderr
    assert len(done.stdout.splitlines()) == len(explained)
    assert sorted(path.name for path in tmp_path.glob("secam-out/*")) == explained


def test_another_working_directory(photo: Path, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(photo, tmp_path / "cat.png")
    done = run_cli("explain", Path("..", "cat.png"), "--pictures", "0", cwd=tmp_path / "elsewhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "elsewhere" / "secam-out" / "cat" / "explanation.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "elsewhere"]


def test_labels_that_the_terminal_cannot_show(photo: Path, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier(classes=2).SerializeToString())
    (tmp_path / "names.txt").write_text("猫\n犬\n", encoding="utf-8")
    terminal = {**os.environ, "PYTHONIOENCODING": "cp1252"}  # as on many a Windows machine
    arguments = ("explain", photo, "-m", "tiny.onnx", "--labels", "names.txt", "--pictures", "0")
    done = run_cli(*arguments, env=terminal)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    report = json.loads((tmp_path / "secam-out" / "chelsea" / "explanation.json").read_text(encoding="utf-8"))
    assert {entry["label"] for entry in report["predictions"]} == {"猫", "犬"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems demand Unicode names")
@pytest.mark.parametrize(
    "command",
    ["explain caf\udce9.png", "explain photo.png -m caf\udce9.onnx", "inspect caf\udce9.onnx", "export caf\udce9.onnx"],
    ids=["image", "model", "inspect", "export"],
)
def test_names_that_are_not_unicode(command: str, photo: Path, tmp_path: Path) -> None:
    for name in ("photo.png", "caf\udce9.png"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "caf\udce9.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    terminal = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # what Python takes in most locales
    arguments = [sys.executable, "-m", "secam_onnx", *map(os.fsencode, command.split())]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, timeout=100, check=False, env=terminal)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


def test_formats_that_are_off(photo: Path, tmp_path: Path, run_cli: RunCli) -> None:
    with Image.open(photo) as image:
        image.save(tmp_path / "a.jp2")
        image.save(tmp_path / "b.png")
    done = run_cli("explain", "a.jp2", "b.png", "--pictures", "0")
    assert done.returncode == 1
    assert "a.jp2 is of the format JPEG2000, which is switched off. Add it to --formats" in done.stderr
    done = run_cli("explain", "a.jp2", "b.png", "--pictures", "0", "--formats", "jpeg2000", "-o", "other")
    assert done.returncode == 1
    assert "b.png is of the format PNG, which is switched off" in done.stderr
    done = run_cli("explain", "a.jp2", "b.png", "--pictures", "0", "--formats", "all", "-o", "all")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    done = run_cli("explain", "photos", "b.png", "--pictures", "0", "-o", "mixed")
    assert done.returncode == 1
    assert "HEIC, which is not read" in (tmp_path / "mixed" / "errors.csv").read_text(encoding="utf-8")
    done = run_cli("explain", "b.png", "--formats", "png,svg")
    assert done.returncode == 2
    assert "formats has 'svg'; some of JPEG, PNG" in done.stderr
