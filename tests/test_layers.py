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
# From the ground up, one room a row: a module imports from its own room and from those above it in this list.
ROOMS = [
    "shown_text",
    "errors",
    "schema",
    "arguments",
    "reserved_prefix",
    "default_model",
    "head_query",
    "completeness",
    "memory",
    "progress",
    "files",
    "forks",
    "threads",
    "runtime",
    "labels",
    "graph",
    "superpixels",
    "photograph",
    "decoding",
    "head",
    "classifier",
    "explanation",
    "pipeline",
    "explainer",
    "heads",
    "fusion",
    "export",
    "batch",
    "bench",
    "page",
    "serve",
    "cli",
    "__main__",
]
FILES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}
MODULES = sorted(set(FILES) - {"secam_onnx"})


def imported(file: Path) -> set[str]:
    """Modules of this package that a module imports, anywhere in it, also for type checks alone."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            # The package as well, which runs first even where only a module of it is wanted.
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {_module(name) for name in names if name.startswith("secam_onnx.")}


def _module(name: str) -> str:
    """The module of `module` or `module.object`."""
    return name if name in FILES else _module(name.rpartition(".")[0])


IMPORTS = {name: imported(file) - {name, "secam_onnx"} for name, file in FILES.items()}


def room(name: str) -> str:
    """The room that a module lies in."""
    return name.split(".")[1]


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name: str) -> None:
    above = {other for other in IMPORTS[name] if ROOMS.index(room(other)) > ROOMS.index(room(name))}
    assert not above


def test_every_room_has_its_row() -> None:
    rooms = {entry.name.removesuffix(".py") for entry in PACKAGE.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    assert rooms - {"__init__", "__pycache__", "models"} == set(ROOMS)


def circle(start: str) -> list[str]:
    """A way from a module back to itself along its imports, the shortest; empty if there is none."""
    ways, seen = [[start]], {start}
    for way in ways:
        for name in sorted(IMPORTS[way[-1]]):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_itself_through_others(name: str) -> None:
    assert circle(name) == []


def test_no_two_modules_have_one_name() -> None:
    # The modules of `cli` are called as the commands are, which may be called as rooms are.
    names = [name.rpartition(".")[2] for name in MODULES if room(name) != "cli"]
    assert {name for name in names if names.count(name) > 1} == set()


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
