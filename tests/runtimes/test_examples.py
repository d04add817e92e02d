"""The examples as they stand in `examples/`: on one picture they print the same and draw the same."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cases import engine_or_skip, not_here
from engines import HERE, NODE_MODULES, chromium
from PIL import Image

EXAMPLES = HERE.parents[1] / "examples"
HEADERS = "SECAM_TEST_ORT_HEADERS"
"""Where ONNX Runtime's C and C++ headers are; its Python package has the library only."""


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def picture_in(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def model(case_of) -> Path:
    return case_of("default").model


@pytest.fixture(scope="module")
def photograph(case_of, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At the model's own size, so that nobody resizes it."""
    path = tmp_path_factory.mktemp("photograph") / "photo.png"
    Image.fromarray(case_of("default").pictures[0]).save(path)
    return path


@pytest.fixture(scope="module")
def expected(model: Path, photograph: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """What the example in Python prints, without the names of the classes, and draws."""
    picture = tmp_path_factory.mktemp("expected") / "overlay.png"
    printed = run(sys.executable, EXAMPLES / "python" / "explain.py", model, photograph, picture)
    return re.sub(r"^(\d+) [^:]+:", r"\1:", printed, flags=re.MULTILINE), picture_in(picture)


def test_python(case_of, expected: tuple[str, np.ndarray]) -> None:
    printed, picture = expected
    case = case_of("default")
    explanation = case.explanations[0]
    lines = [f"{entry.index}: {entry.probability:.4f}, logit {entry.logit:.3f}" for entry in explanation.classes]
    assert [line for line in printed.splitlines() if not line.startswith(" ")] == lines
    kept = explanation.segments == explanation.segment_contributions[0].argmax()
    np.testing.assert_array_equal(picture[kept], case.pictures[0][kept])


def as_expected(printed: str, picture: Path, expected: tuple[str, np.ndarray]) -> None:
    assert printed == expected[0]
    assert np.abs(picture_in(picture) - expected[1]).max() <= 1


def test_openvino(model: Path, photograph: Path, expected: tuple[str, np.ndarray], tmp_path: Path) -> None:
    engine_or_skip("openvino")
    picture = tmp_path / "overlay.png"
    as_expected(
        run(sys.executable, EXAMPLES / "openvino" / "explain.py", model, photograph, picture), picture, expected
    )


def test_node(model: Path, photograph: Path, expected: tuple[str, np.ndarray], tmp_path: Path) -> None:
    engine_or_skip("node")
    shutil.copytree(EXAMPLES / "node", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    picture = tmp_path / "overlay.png"
    as_expected(run("node", tmp_path / "explain.mjs", model, photograph, picture), picture, expected)


def test_cpp(model: Path, photograph: Path, expected: tuple[str, np.ndarray], tmp_path: Path) -> None:
    headers = os.environ.get(HEADERS)
    if not headers or not shutil.which("g++"):
        not_here(f"g++, and {HEADERS} as nox sets it")
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    (library,) = (Path(found.origin).parent / "capi").glob("libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    program = tmp_path / "explain"
    source = EXAMPLES / "cpp" / "explain.cpp"
    run("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source, f"-I{headers}", library, "-o", program)
    with Image.open(photograph) as image:
        image.save(tmp_path / "photo.ppm")
    settings = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    printed = run(program, model, tmp_path / "photo.ppm", tmp_path / "overlay.ppm", env=settings)
    as_expected(printed, tmp_path / "overlay.ppm", expected)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.mark.parametrize("name", ["default", "default classes"])
def test_web(name: str, case_of: Callable, served: tuple[Path, str], results_of: Callable) -> None:
    engine_or_skip("web")
    folder, address = served
    case = case_of(name)
    shutil.copy(EXAMPLES / "web" / "index.html", folder)
    shutil.copy(case.model, folder / "fused.onnx")
    (folder / "node_modules").symlink_to(NODE_MODULES)
    Image.fromarray(case.pictures[0]).save(folder / "photo.png")
    settings = {**os.environ, "CHROMIUM": chromium() or ""}
    run("node", HERE / "open_page.mjs", address, folder / "photo.png", folder / "answer.json", env=settings)
    answer = json.loads((folder / "answer.json").read_text())
    first = results_of("python", name)[0].outputs
    share = first["segment_contributions"][0, 0]
    assert answer["text"].splitlines() == [
        f"{first['class_ids'][0, 0]}: {first['class_probabilities'][0, 0]:.4f}",
        f"superpixel {share.argmax()} adds {share.max():.3f} of {first['class_logits'][0, 0]:.3f}",
    ]
    overlay = first["overlay"][0, 0]
    drawn = np.array(answer["pixels"]).reshape(*overlay.shape[:2], 4)
    assert np.abs(drawn[..., :3] - overlay).max() <= 1
