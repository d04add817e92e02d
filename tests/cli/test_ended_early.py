"""Ctrl-C, SIGTERM and --timeout end every command, also where ONNX Runtime is busy for years, and leave nothing."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import endless
import pytest
from processes import UNMEASURED

if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

Snapshot = Callable[[Path], dict[str, bytes | None]]

COMMANDS = {
    "inspect": ("inspect", "model.onnx"),
    "explain": ("explain", "photo.png", "-m", "model.onnx"),
    "export": ("export", "model.onnx", "-o", "out.onnx", "--force"),
    "export --fused": ("export", "model.onnx", "-o", "out.onnx", "--force", "--fused"),
    "bench": ("bench", "-m", "model.onnx"),
    "demo": ("demo", "-m", "model.onnx", "--port", "0", "--no-browser"),
}
PIPES: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
WAYS = {"SIGINT": 130, "SIGTERM": 143, "--timeout": 124}

# Says so as soon as ONNX Runtime opens a session or runs one; the first argument is the grace in seconds.
PROGRAM = """
import sys
from secam_onnx.cli import main, stopping
from secam_onnx.runtime import opening, running, stopping as ending

stopping._GRACE_S = float(sys.argv.pop(1))

def announced(name):
    def stoppable(end):
        print("BEGINS", name, file=sys.stderr, flush=True)
        return ending.stoppable(end)
    return stoppable

opening.stoppable, running.stoppable = announced("opening"), announced("run")
main()
"""


@pytest.fixture
def room(tmp_path: Path, photo: Path) -> Path:
    """A folder with a photograph, an old result, and an empty one for what is temporary."""
    shutil.copy(photo, tmp_path / "photo.png")
    (tmp_path / "out.onnx").write_bytes(b"the old model")
    (tmp_path / "tmp").mkdir()
    return tmp_path


def started(room: Path, model: str, command: tuple[str, ...], grace_s: float = 1.5) -> subprocess.Popen[str]:
    """A command on an endless model."""
    (room / "model.onnx").write_bytes(endless.ENDLESS[model]().SerializeToString())
    program: Any = [sys.executable, "-c", PROGRAM, str(grace_s), *command]
    environment = {**UNMEASURED, "TMPDIR": str(room / "tmp")}
    return subprocess.Popen(program, cwd=room, env=environment, text=True, **PIPES)


def wait_for(process: subprocess.Popen[str], event: str) -> None:
    """Read what a command says until something begins."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"BEGINS {event}"):
            return
    raise AssertionError(f"{event} never began")


def ended(process: subprocess.Popen[str], signals: tuple[int, ...] = (), pause_s: float = 1.0) -> tuple[int, str]:
    """Send signals, a pause before each, and wait for the end; gives the exit code and what it said."""
    try:
        for number in signals:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause_s)
                raise AssertionError("it ended by itself, or by the signal before")
            process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in errors, errors
    return process.returncode, output + errors


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends(name: str, way: str, room: Path, snapshot: Snapshot) -> None:
    before = snapshot(room)
    options = ("--timeout", "3") if way == "--timeout" else ()
    process = started(room, "a loop over the feature map", (*COMMANDS[name], *options))
    if not options:
        wait_for(process, "run")
    code, said = ended(process, () if options else (getattr(signal, way),))
    assert code == WAYS[way], said
    assert "Stopped" in said
    assert ("3 s of --timeout" in said) == bool(options)
    after = snapshot(room)
    del after[str(room / "model.onnx")]
    assert {path: value for path, value in after.items() if "secam-out" not in path} == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["inspect", "export --fused"])
@pytest.mark.parametrize("model", endless.ENDLESS)
def test_it_ends_whatever_keeps_onnx_runtime_busy(model: str, command: str, room: Path, snapshot: Snapshot) -> None:
    """Also one kernel, in a run or while a session is opened, which nothing can stop."""
    before = snapshot(room)
    process = started(room, model, COMMANDS[command])
    wait_for(process, "opening")
    code, said = ended(process, (signal.SIGINT,))
    assert code == 130, said
    assert "Stopped. No file was left incomplete." in said
    after = snapshot(room)
    del after[str(room / "model.onnx")]
    assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_means_at_once(second: int, room: Path) -> None:
    process = started(room, "a kernel over the feature map", COMMANDS["inspect"], grace_s=1000)
    wait_for(process, "run")
    code, said = ended(process, (signal.SIGINT, second))
    assert code == 130, said


@pytest.mark.slow
def test_a_signal_that_comes_twice_is_one(room: Path) -> None:
    """timeout(1) signals a process and then its group; the ordinary way out is left open."""
    process = started(room, "a loop over the feature map", COMMANDS["inspect"], grace_s=1000)
    wait_for(process, "run")
    code, said = ended(process, (signal.SIGTERM, signal.SIGTERM), pause_s=0)
    assert code == 143, said
    assert "terminate called" not in said  # as C++ says of threads that are there still when Python has ended


@pytest.mark.slow
def test_a_batch_ends_where_one_image_keeps_the_network_busy(room: Path) -> None:
    from PIL import Image

    folder = room / "images"
    folder.mkdir()
    for number in range(3):
        shutil.copy(room / "photo.png", folder / f"{number}.png")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    (room / "model.onnx").write_bytes(endless.endless_for_black().SerializeToString())
    results = room / "secam-out"
    command = [sys.executable, "-m", "secam_onnx", "explain", "images", "-m", "model.onnx", "--batch-size", "1"]
    with subprocess.Popen(command, cwd=room, env=UNMEASURED, text=True, **PIPES) as process:
        for _ in range(600):
            if list(results.rglob("0*/explanation.json")):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        code, said = ended(process, (signal.SIGINT,))
    assert code == 130, said
    assert "finished in secam-out; go on with --resume." in said
    assert not list(results.rglob("*black*"))
    assert not list(results.rglob(".secam-*"))
    assert not any("black" in table.read_text() for table in results.rglob("errors*"))  # it was stopped, and failed not


@pytest.mark.slow
def test_ctrl_c_that_the_shell_switched_off_stays_off(room: Path) -> None:
    """As for what a script starts in the background."""
    process = started(room, "a loop over the feature map", COMMANDS["inspect"])
    process.kill()
    process.communicate()
    command = f"trap '' INT; exec {sys.executable} -m secam_onnx inspect model.onnx --timeout 4"
    with subprocess.Popen(["sh", "-c", command], cwd=room, env=UNMEASURED, text=True, **PIPES) as other:
        code, said = ended(other, (signal.SIGINT,), pause_s=1.5)
    assert code == 124, said


def test_a_forked_child_does_not_end_its_parent(tmp_path: Path) -> None:
    """Its signals would be heard through the descriptor that both have."""
    program = """
import os, signal, time
from secam_onnx.cli.stopping import watch
watch.start()
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    time.sleep(60)
time.sleep(0.3)
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
time.sleep(0.3)
print(watch.code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None\n"
