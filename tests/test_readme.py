"""The README's snippets, run as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import onnx
import pytest
import tifffile
from other_inputs import classifier_of
from PIL import Image
from tiny_models import classifier

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, photo: Path) -> Path:
    """What the snippets talk of: photographs and an ONNX classifier with its class names."""
    with Image.open(photo) as image:
        image.convert("RGB").save(tmp_path / "photo.jpg")
    onnx.save(classifier(classes=400), tmp_path / "classifier.onnx")
    random = np.random.default_rng(0)
    for image, model, channels in (("lungs", "x-ray", 1), ("scene", "bands", 12)):
        onnx.save(classifier_of(("N", channels, 32, 32), channels=channels), tmp_path / f"{model}.onnx")
        pages = random.integers(0, 4096, (channels, 60, 80)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{image}.tif", pages, photometric="minisblack")
    (tmp_path / "names.txt").write_text("\n".join(f"name {index}" for index in range(400)))
    (tmp_path / "photos").mkdir()
    for name in (*"012", "photos/0"):
        shutil.copy(tmp_path / "photo.jpg", tmp_path / f"{name}.jpg")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(tmp_path / "photo.jpg", "0001.jpg")
    (tmp_path / "list.txt").write_text("photos\nphoto.jpg\n")
    return tmp_path


COMMANDS = [
    line for block in blocks("sh") for line in block.splitlines() if line.startswith("secam-onnx ")
]  # the two commands that set everything up are run by .ci/run


def test_the_matrix_names_every_network_that_is_tried() -> None:
    table = README.split("## What was tried")[1].split("\n## ")[0]
    for part in (cells.PYTORCH, cells.CLASS_TOKEN, cells.KERAS, cells.TENSORFLOW, cells.PADDLE, cells.CAFFE2):
        for name, cell in part.items():
            row = next((line for line in table.splitlines() if re.search(rf"\b{name.split()[0]}\b", line)), "")
            assert row, f"{name} is missing"
            assert name == "googlenet aux" or cell.head in table


def test_powershell_gets_the_first_command_in_its_own_words() -> None:
    """Version 5, which Windows comes with, knows no `&&`."""
    (line,) = blocks("powershell")
    shell = next(block for block in blocks("sh") if block.startswith("python3 -m venv"))
    assert line == shell.replace("python3", "py").replace(" && ", "; ").replace(".venv/bin/", ".venv\\Scripts\\")
    assert not re.search(r"&&|\|\||[$`]", line)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5


def test_commands(workplace: Path, run_cli: Callable[..., Any]) -> None:
    for command in COMMANDS:
        _, *arguments = shlex.split(command, comments=True)
        if "resnet50" in arguments:
            pytest.importorskip("torchvision")
            continue  # run by tests/export, without the shim that this machine may need
        if "ray" in arguments:
            continue  # tests/batch/test_ray_data.py has a cluster
        if arguments == ["demo"] or arguments[0] == "serve":
            continue  # until it is stopped: tests/page, tests/serve
        if "parquet" in arguments:
            pytest.importorskip("pyarrow")
        expanded = [name for entry in arguments for name in ([str(p) for p in workplace.glob(entry)] or [entry])]
        done = run_cli(*(expanded if "*.jpg" in arguments else arguments))
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_python(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    snippets = [snippet for snippet in blocks("python") if "tritonclient" not in snippet]  # needs a server: tests/serve
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
    assert len(snippets) == 2
    assert (workplace / "why-7.png").exists()
    assert (workplace / "why" / "photo" / "explanation.json").exists()
    assert (workplace / "heat.png").exists()


def test_pictures_and_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_picture_is_that_run(photo: Path) -> None:
    """`docs/chelsea-panel.png` is what the first command writes; versions of Pillow may draw letters differently."""
    from secam_onnx import Explainer

    drawn = np.asarray(Explainer(providers="cpu").explain(photo).panel()).astype(int)
    with Image.open(ROOT / "docs" / "chelsea-panel.png") as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 2
