"""A full disk, Ctrl-C and SIGTERM at every awkward moment: the old result or the new one, whole, and nothing else."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import tiny_models
from processes import UNMEASURED

resource = pytest.importorskip("resource")

RunCli = Callable[..., subprocess.CompletedProcess[str]]
Snapshot = Callable[[Path], dict[str, bytes | None]]

EXPORT = ("export", "tiny.onnx", "-o", "out.onnx", "--force")
EXPLAIN = ("explain", "photo.png", "-m", "tiny.onnx", "-c", "2")

# Sends a signal to itself as soon as an operating system call has returned for the nth time, then goes on as usual.
SIGNAL_AFTER = """
import os, signal, sys, threading
from secam_onnx.cli import main

call, count, number = getattr(os, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.argv[1:4] = []
if "EXTERNAL" in os.environ:
    from secam_onnx.graph import onnx_file
    onnx_file.EXTERNAL_DATA_LIMIT = int(os.environ["EXTERNAL"])

def watch(frame, event, function):
    global count
    if event == "c_return" and function is call:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), number)

threading.setprofile(watch)
sys.setprofile(watch)
main()
"""


@pytest.fixture
def room(tmp_path: Path, run_cli: RunCli, photo: Path) -> Path:
    """A folder with a photograph, a model, and an earlier result of either command."""
    shutil.copy(photo, tmp_path / "photo.png")
    (tmp_path / "tiny.onnx").write_bytes(tiny_models.classifier(classes=200).SerializeToString())
    (tmp_path / "out.onnx").write_bytes(b"the old model")
    assert run_cli("explain", "photo.png", "-m", "tiny.onnx", "-c", "1").returncode == 0
    return tmp_path


def no_more_than(size: int) -> Callable[[], None]:
    """For a child process: a disk on which no file can grow beyond `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (EXPORT, 1_000),
        ((*EXPORT[:-3], "-o", "new.onnx"), 1_000),
        (EXPLAIN, 1_000),  # in the first picture
        ((*EXPLAIN, "--pictures", "0"), 1_000),  # in the arrays
        ((*EXPLAIN[:-1], "all", "--pictures", "0"), 300_000),  # in the JSON
        ((*EXPLAIN, "-o", "elsewhere"), 1_000),
    ],
    ids=["export", "new export", "pictures", "arrays", "json", "new explain"],
)
def test_a_full_disk(command: tuple[str, ...], limit: int, room: Path, run_cli: RunCli, snapshot: Snapshot) -> None:
    before = snapshot(room)
    result = run_cli(*command, preexec_fn=no_more_than(limit), env=UNMEASURED)
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == 2, result.stderr
    assert "Cannot write" in result.stderr
    assert "File too large" in result.stderr
    after = snapshot(room)
    assert {name: after.get(name) for name in before} == before
    # The empty folder for the results of several images may stay; files may not.
    assert [name for name in after if name not in before and after[name] is not None] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("call", "count", "written"),
    [("open", 1, False), ("fsync", 1, False), ("replace", 1, True)],
    ids=["temporary file made", "model written", "model in place"],
)
def test_a_signal_while_a_model_is_written(
    call: str, count: int, written: bool, number: int, code: int, room: Path, snapshot: Snapshot
) -> None:
    before = snapshot(room)
    result = _signalled(room, call, count, number, EXPORT)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    after = snapshot(room)
    target = str(room / "out.onnx")
    assert (after.pop(target) != before.pop(target)) == written
    assert after == before


@pytest.mark.parametrize(
    ("call", "count", "written"), [("fsync", 1, False), ("replace", 1, True)], ids=["model written", "model in place"]
)
def test_a_signal_while_a_model_with_a_data_file_is_written(
    call: str, count: int, written: bool, room: Path, snapshot: Snapshot
) -> None:
    """Models of over 2 GB have one; here 1 kB will do."""
    before = snapshot(room)
    result = _signalled(room, call, count, signal.SIGINT, EXPORT, EXTERNAL="1000")
    assert result.returncode == 130, result.stderr
    if written:
        onnx.checker.check_model(onnx.load(room / "out.onnx"))  # its weights are there
    else:
        assert snapshot(room) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("call", "count"),
    [("mkdir", 1), ("replace", 1), ("replace", 2)],
    ids=["temporary folder made", "old result moved aside", "new result in place"],
)
def test_a_signal_while_an_explanation_is_saved(
    call: str, count: int, number: int, code: int, room: Path, snapshot: Snapshot
) -> None:
    """It is saved in a thread, which ends what it has begun."""
    before = snapshot(room)
    result = _signalled(room, call, count, number, EXPLAIN)
    after = snapshot(room)
    manifest = room / "secam-out" / "photo" / "explanation.json"
    assert manifest.exists(), sorted(set(before) - set(after))
    report = json.loads(manifest.read_text())
    assert report["classes"][0]["index"] == 2
    assert {path.name for path in manifest.parent.iterdir()} == {"explanation.json", *report["files"]}
    assert [path.name for path in manifest.parent.parent.iterdir()] == ["photo"]
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr


def _signalled(
    room: Path, call: str, count: int, number: int, command: tuple[str, ...], **variables: str
) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", SIGNAL_AFTER, call, str(count), str(int(number)), *command]
    return subprocess.run(
        arguments, cwd=room, capture_output=True, text=True, timeout=100, check=False, env={**UNMEASURED, **variables}
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_from_outside_while_the_network_runs(
    number: int, code: int, tmp_path: Path, snapshot: Snapshot
) -> None:
    slow = tiny_models.classifier(channels=64, size=256, layers=20)
    (tmp_path / "slow.onnx").write_bytes(slow.SerializeToString())
    (tmp_path / "out.onnx").write_bytes(b"the old model")
    before = snapshot(tmp_path)
    command = [sys.executable, "-m", "secam_onnx", "export", "slow.onnx", "-o", "out.onnx", "--force"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=UNMEASURED, text=True, **pipes) as process:
        try:
            assert process.stderr is not None
            assert "open slow.onnx" in process.stderr.readline()  # seconds of proof are still to come
            process.send_signal(number)
            output, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert (process.returncode, output, "Traceback" in errors) == (code, "", False), errors
    assert snapshot(tmp_path) == before
