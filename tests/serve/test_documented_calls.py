"""The calls in the documentation, run as they stand there against a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("kserve")

from servers import PATIENCE_S, Running, running
from snippets import ROOT, commands, of_server

SERVING = (ROOT / "docs" / "how-to" / "server.md").read_text(encoding="utf-8")


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
    calls = [line for block in of_server("sh") for line, _ in commands(block)]
    assert len(calls) == 4
    for call in calls:
        assert call.startswith("curl ")
        answer = run(["sh", "-ec"], call)
        if ":predict" in call:
            assert answer.startswith('{"predictions":[[{"index":282,"label":"tiger cat"')
        elif "image/png" not in call:
            assert answer.startswith('{"explanations":[')
            assert '"label":"tiger cat"' in answer
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"


def test_python(run, tmp_path: Path) -> None:
    (snippet,) = (block.text for block in of_server("python"))
    said = run([sys.executable, "-c"], snippet)
    assert "tiger cat" in said
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", said)]
    assert len(numbers) == 4
    assert numbers[:2] == pytest.approx(numbers[2:], abs=1e-4)
    with Image.open(tmp_path / "why.png") as picture, Image.open(tmp_path / "photo.jpg") as photo:
        assert picture.size == photo.size


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_javascript(run) -> None:
    (snippet,) = (block.text for block in of_server("js"))
    assert re.search(r"tiger cat 0\.\d+ \d+ superpixels are kept", run(["node", "--input-type=module", "-e"], snippet))


def test_reference_names_every_address_status_and_output(server: Running) -> None:
    from secam_onnx.serve.request.parameters import EXTRAS, OUTPUTS

    page = (ROOT / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/openapi.json", timeout=PATIENCE_S) as answer:
        paths = json.load(answer)["paths"]
    statuses = {
        code for path in paths.values() for operation in path.values() for code in operation["responses"] if code > "4"
    }
    assert {path for path in paths if not re.search(rf"[ `]{re.escape(path)}`", page)} == set()
    assert {status for status in statuses if not re.search(rf"^\|[ \d,]*\b{status}\b", page, re.MULTILINE)} == set()
    assert {name for name in (*OUTPUTS, *EXTRAS) if f"`{name}`" not in page} == set()


def test_options_are_those_of_the_command() -> None:
    from secam_onnx.cli.serve import command

    known = {"--help"} | {name for option in command.params for name in option.opts}
    named = set(re.findall(r"(--[a-z][a-z-]+)", SERVING.split("| option (")[1].split("\n\n")[0]))
    assert named <= known
    for name, default in re.findall(r"`(--[a-z-]+) ([\d.]+)`", SERVING.replace("`, `", "` `")):
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
