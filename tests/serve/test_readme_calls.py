"""The README's calls, run as they stand there against a server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("kserve")

from servers import PATIENCE_S, Running, running

SECTION = (
    (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("## Serve it\n")[1].split("\n## ")[0]
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture
def run(server: Running, photo: Path, tmp_path: Path):
    with Image.open(photo) as image:
        image.convert("RGB").save(tmp_path / "photo.jpg")

    def run(program: list[str], text: str) -> str:
        assert "8080" in text
        done = subprocess.run(
            [*program, text.replace("8080", str(server.port))],
            check=False, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_curl(run, tmp_path: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) == 3
    explained, predicted, _ = (run(["sh", "-ec"], line) for line in lines)
    assert explained.startswith('{"explanations":[')
    assert '"label":"tiger cat"' in explained
    assert predicted.startswith('{"predictions":[[{"index":282,"label":"tiger cat"')
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"


def test_python(run, tmp_path: Path) -> None:
    (snippet,) = blocks("python")
    said = run([sys.executable, "-c"], snippet)
    assert "tiger cat" in said
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", said)]
    assert len(numbers) == 4
    assert numbers[:2] == pytest.approx(numbers[2:], abs=1e-4)
    with Image.open(tmp_path / "why.png") as picture, Image.open(tmp_path / "photo.jpg") as photo:
        assert picture.size == photo.size


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_javascript(run) -> None:
    (snippet,) = blocks("js")
    assert re.search(r"tiger cat 0\.\d+ \d+ superpixels are kept", run(["node", "--input-type=module", "-e"], snippet))


def test_options_are_those_of_the_command() -> None:
    from secam_onnx.cli.serve import command

    known = {"--help"} | {name for option in command.params for name in option.opts}
    named = set(re.findall(r"(--[a-z][a-z-]+)", SECTION.split("| option (")[1].split("\n\n")[0]))
    assert named <= known
    for name, default in re.findall(r"`(--[a-z-]+) ([\d.]+)`", SECTION.replace("`, `", "` `")):
        (option,) = (option for option in command.params if name in option.opts)
        assert float(option.default) == float(default), name


def test_limits_of_the_command_are_those_of_the_package() -> None:
    """They stand in both, so that the command shows them without loading what it serves with."""
    from secam_onnx.cli.serve import command
    from secam_onnx.serve.settings import Limits

    shown = {option.name: option.default for option in command.params}
    for name, value in vars(Limits()).items():
        if name in shown:
            assert shown[name] == value, name
        elif (megabytes := name.replace("_bytes", "_mb")) in shown:
            assert shown[megabytes] * (1 << 20) == value, name
