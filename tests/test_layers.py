"""The architecture: imports run downwards, and nothing on the way to an explanation needs PyTorch."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import secam_onnx

PACKAGE = Path(secam_onnx.__file__).parent
# From the ground up; a module may import what stands on a line above its own, or on its own line.
LAYERS = [
    {"errors"},
    {"arguments"},
    {
        "files",
        "forks",
        "names",
        "nodes",
        "threads",
        "runtime",
        "images",
        "rasters",
        "tiff",
        "settings",
        "geometry",
        "labels",
        "superpixels",
        "selection",
        "completeness",
        "wire",
    },
    {"preprocess", "sidecars", "checks"},
    {"views"},
    {"weights", "skeleton"},
    {"onnx_file", "head", "render", "panel"},
    {"contract", "probe", "inputs", "beginning"},
    {"fidelity"},
    {"answer"},
    {"explanation", "saving", "explainable", "choice", "activation", "attribution", "prepared"},
    {"classifier", "fused"},
    {"assembly"},
    {"opening", "stream"},
    {"explainer", "heads", "proof", "fusion"},
    {"inspection", "export", "batch", "bench"},
    {"page"},
    {"serve"},
    {"cli"},
    {"__main__"},
]


def imported(file: Path) -> set[str]:
    """First-level names of this package that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("secam_onnx.")}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_downwards(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    (level,) = (index for index, rooms in enumerate(LAYERS) if room in rooms)
    allowed = set().union(*LAYERS[: level + 1])
    assert imported(file) <= allowed


def test_every_room_has_its_layer() -> None:
    rooms = {entry.name.removesuffix(".py") for entry in PACKAGE.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    assert rooms - {"__init__", "__pycache__", "models"} == set().union(*LAYERS)


@pytest.mark.skipif("SECAM_TEST_WITHOUT_TORCH" not in os.environ, reason="this environment may have PyTorch")
def test_this_environment_has_no_pytorch() -> None:
    """So that all that passes beside this test is proven to work without."""
    for name in ("torch", "torchvision", "onnxscript", "keras"):
        assert importlib.util.find_spec(name) is None


@pytest.mark.parametrize(
    ("package", "extra", "options"),
    [("torch", "export", []), ("keras", "keras", ["--source", "keras"])],
)
def test_exporting_a_network_without_its_library_says_what_to_install(
    tmp_path: Path, package: str, extra: str, options: list[str]
) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from secam_onnx.cli import main; main()"
    command = [sys.executable, "-c", code, "export", "resnet50", "--weights", "none", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert f'pip install "secam-onnx[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error")]) == 1
    assert not list(tmp_path.iterdir())


def test_the_ray_engine_without_ray_says_what_to_install(tmp_path: Path, photo: Path) -> None:
    pytest.importorskip("pyarrow")
    code = "import sys; sys.modules['ray'] = None; from secam_onnx.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", str(photo), "--engine", "ray", "-o", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert 'pip install "secam-onnx[ray]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("name", ["ray", "pyarrow"])
def test_many_images_are_explained_without(name: str, tmp_path: Path, photo: Path) -> None:
    code = f"import sys; sys.modules['{name}'] = None; from secam_onnx.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", str(photo), "--resume", "--pictures", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
