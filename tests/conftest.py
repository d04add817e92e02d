"""Real photographs, the default model, exported networks, and the real command line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from pages import OpenPage, chromium, visits
from PIL import Image

with contextlib.suppress(ImportError):
    import torch
    import torchvision_cpu  # noqa: F401

    if "PYTEST_XDIST_WORKER" in os.environ:  # which share the cores among them
        torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # spawned processes import tests by name; last, so that an installed package comes first
PHOTO = ROOT / "docs" / "chelsea.png"

# No test is timed: other processes may keep this one waiting.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Shells start what runs in the background with Ctrl-C ignored, and the commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What takes seconds rather than milliseconds.
SLOW_FIXTURES = {"browser", "exported", "run_cli"}
SLOW_FOLDERS = {"deploy", "matrix", "runtimes", "serve", "tools"}

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.relative_to(ROOT).parts[1:-1]
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
        if not (SLOW_FOLDERS.isdisjoint(folders) and SLOW_FIXTURES.isdisjoint(fixtures)):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def photo() -> Path:
    """A photograph of a cat, 451 x 300."""
    return PHOTO


@pytest.fixture(scope="session")
def chelsea() -> np.ndarray:
    """The same as an array."""
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="session")
def explainer():
    """An explainer of the default model."""
    from secam_onnx import Explainer

    return Explainer(providers="cpu")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Explainable files of torchvision's networks with random weights, seed 0, each exported once a session."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("exported")

    def export(name: str) -> Path:
        from secam_onnx.export import export_model, open_source

        path = folder / f"{name}.onnx"
        if not path.exists():
            export_model(open_source(name, "none"), path)
        return path

    return export


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    """Run `secam-onnx` as a user does, in an empty folder."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "secam_onnx", *map(str, arguments)]
        settings = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300, **options}
        return subprocess.run(command, check=False, **settings)

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Any) -> Iterator[OpenPage]:
    """Open a page in it; see `visits`."""
    with visits(browser) as open_page:
        yield open_page
