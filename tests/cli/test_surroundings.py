"""Commands where the surroundings are strange: too many threads asked for, few files, no folder, no user's entry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import tiny_models
from processes import UNMEASURED

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="limits and namespaces of Linux")]


@pytest.fixture
def folder(tmp_path: Path, photo: Path) -> Path:
    onnx.save(tiny_models.classifier(), tmp_path / "model.onnx")
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    return tmp_path


def explain(folder: Path, *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "secam_onnx", "explain", "photo.png", "-m", "model.onnx", "-o", "out"]
    environment = UNMEASURED | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("value", ["20000", "9" * 5000, "0", "-3", "many"])
def test_omp_num_threads(value: str, folder: Path) -> None:
    """So many threads would bring the machine to a halt; no more than four for each core are started."""
    done = explain(folder, OMP_NUM_THREADS=value)
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "photo" / "explanation.json").is_file()


@pytest.mark.parametrize(
    "before",
    [
        ("prlimit", "--nofile=64:64"),
        ("prlimit", "--stack=262144:262144"),
        ("env", "TMPDIR=/nonexistent"),
        ("env", "LC_ALL=POSIX", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"),
        ("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", "unshare", "--user", "--map-user=12345"),
    ],
)
def test_little_is_allowed(before: tuple[str, ...], folder: Path) -> None:
    if any(shutil.which(name) is None for name in before if name in ("prlimit", "unshare")):
        pytest.skip("a tool is missing")
    done = explain(folder, *before)
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "photo" / "explanation.json").is_file()


def test_too_little_memory_is_said(folder: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is missing")
    done = explain(folder, "prlimit", "--as=420000000:420000000")
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_current_folder_that_was_removed(folder: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f"mkdir '{gone}'; cd '{gone}'; rmdir '{gone}'; exec '{sys.executable}' -m secam_onnx"
    environment = UNMEASURED | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def run(arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f"{script} {arguments}"],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    done = run(f"explain photo.png -m '{folder}/model.onnx'")
    assert (done.returncode, done.stderr) == (
        2,
        "Error: The current folder was removed; change to another one, or give absolute paths.\n",
    )
    done = run(f"explain '{folder}/photo.png' -m '{folder}/model.onnx' -o '{folder}/out'")
    assert done.returncode == 0, done.stderr
