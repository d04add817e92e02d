"""What the wheel and the source distribution hold: `nox -s package` builds them and says where they lie."""

from __future__ import annotations

import os
import re
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
STEM = f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}"
NOT_SOURCE = {"__pycache__", "node_modules"}


@pytest.fixture(scope="module")
def folder() -> Path:
    place = os.environ.get("SECAM_TEST_DISTRIBUTIONS")
    if place is None:
        pytest.skip("nox -s package builds the distributions")
    return Path(place)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> dict[str, bytes]:
    """Its files by name."""
    with zipfile.ZipFile(folder / f"{STEM}-py3-none-any.whl") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def source(folder: Path) -> set[str]:
    """The names of its files, below its one folder."""
    with tarfile.open(folder / f"{STEM}.tar.gz") as archive:
        names = {member.name for member in archive if member.isfile()}
    assert all(name.startswith(f"{STEM}/") for name in names)
    return {name.removeprefix(f"{STEM}/") for name in names}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return BytesParser().parsebytes(wheel[f"{STEM}.dist-info/METADATA"])


def files_below(folder: Path) -> set[str]:
    """The files of a folder of the repository, as they are named in an archive."""
    return {
        file.relative_to(ROOT).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and not NOT_SOURCE & set(file.parts)
    }


def test_both_are_there_and_nothing_else(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz"}


def test_the_wheel_is_the_package_and_the_default_model(wheel: dict[str, bytes]) -> None:
    models = {f"secam_onnx/models/{name}" for name in ("efficientnet-lite0.onnx", "README.md")}
    named = {name for name in wheel if not name.startswith(f"{STEM}.dist-info/")}
    assert named == files_below(ROOT / "secam_onnx") | models
    assert wheel["secam_onnx/models/efficientnet-lite0.onnx"] == (ROOT / "models/efficientnet-lite0.onnx").read_bytes()
    # Named once by hand, so that a mistake in the comparison above would be seen.
    assert {"py.typed", "page/index.html", "page/vendor/ort.wasm.gz", "page/served/main.js", "head/rules/conv.py"} <= {
        name.removeprefix("secam_onnx/") for name in named
    }


def test_licences_go_with_the_wheel(wheel: dict[str, bytes], metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == PROJECT["license-files"]
    for name in PROJECT["license-files"]:
        assert wheel[f"{STEM}.dist-info/licenses/{name}"] == (ROOT / name).read_bytes()


def test_metadata_say_who_where_and_for_what(metadata: Message) -> None:
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Author"] == "secam-onnx developers"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Issues, https://github.com/secam-onnx/secam-onnx/issues" in metadata.get_all("Project-URL", [])
    described = metadata.get_payload(decode=True)
    assert isinstance(described, bytes)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert described.decode().splitlines()[0] == readme.splitlines()[0]
    for link in re.findall(r"\]\(([^)]+)\)", described.decode()):
        assert link.startswith(("https://", "#")), link  # PyPI has none of the repository's files
    required = [entry for entry in metadata.get_all("Requires-Dist", []) if "extra ==" not in entry]
    assert len(required) == len(PROJECT["dependencies"])
    assert not any(entry.startswith(("torch", "onnxruntime")) for entry in required)


def test_the_source_distribution_holds_what_the_tests_need(source: set[str]) -> None:
    for name in ("secam_onnx", "tests", "tools", "models", "examples", "deploy"):
        assert files_below(ROOT / name) <= source, name
    assert {"README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "pyproject.toml", "noxfile.py"} <= source
    assert not any(name.startswith(("studies/", ".github/")) for name in source)


def test_the_changelog_begins_with_this_version() -> None:
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## ")
    assert first.split()[1] == PROJECT["version"]
