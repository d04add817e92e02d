"""The memory of a process under a limit, over the real command: models that want gigabytes end in a sentence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import endless
import pytest

from secam_onnx import memory
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.errors import ModelError, OptionError, OutOfMemoryError
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.graph.shape_inference import copy_for_inference, infer_types

RunCli = Callable[..., subprocess.CompletedProcess[str]]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory so")

LIMIT_MB = 1000
NEVER_COMPUTED = {"Concat": "computed in 256 MB", "Range": "computed in 256 MB", "data": "at most 2147483648 numbers"}

# What the process took at most, private and shared, in MB; it says so at its end. `getrusage` would count the memory of
# this process as well, which started it.
MEASURED = """
import atexit, pathlib, sys
from secam_onnx.cli import main
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print("PEAK", int(status.read_text().split("VmHWM:")[1].split()[0]) >> 10, file=sys.stderr))
main()
"""


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("name", endless.GREEDY)
def test_a_greedy_model_is_refused_in_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(endless.GREEDY[name]().SerializeToString())
    command = [sys.executable, "-c", MEASURED, "inspect", "model.onnx", "--memory-limit", str(LIMIT_MB)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    # ONNX Runtime has a limit of its own for Tile.
    words = NEVER_COMPUTED.get(name, "4294967296" if name == "Tile" else f"than the {LIMIT_MB} MB that --memory-limit")
    assert words in message
    (peak,) = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("PEAK")]
    assert peak < LIMIT_MB


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("command", [["explain", "photo.png", "-m"], ["export", "-o", "out.onnx"], ["inspect"]])
def test_every_command_has_the_limit_and_small_models_run_under_it(
    command: list[str], tmp_path: Path, photo: Path, run_cli: RunCli
) -> None:
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    (tmp_path / "model.onnx").write_bytes(endless.endless_for_black().SerializeToString())
    done = run_cli(*command, "model.onnx", "--memory-limit", "2000")
    assert done.returncode == 0, done.stderr
    (tmp_path / "model.onnx").write_bytes(endless.GREEDY["Pad"]().SerializeToString())
    done = run_cli(*command, "model.onnx", "--memory-limit", "2000", *(["--force"] if command[0] == "export" else []))
    assert done.returncode == 2, done.stderr
    assert "--memory-limit" in done.stderr


@LINUX
@pytest.mark.parametrize("name", ["Concat", "Range"])
def test_shapes_that_take_gigabytes_are_bounded_without_any_limit(name: str, tmp_path: Path) -> None:
    """Inference holds Python's lock, so that no signal would end it."""
    (tmp_path / "model.onnx").write_bytes(endless.GREEDY[name]().SerializeToString())
    program = """
import sys
import threading
import time
from secam_onnx.memory import claim_process
from secam_onnx.errors import ModelError
from secam_onnx.graph.onnx_file import read_model
from secam_onnx.graph.shape_inference import copy_for_inference, infer_types
claim_process()
model = copy_for_inference(read_model(sys.argv[1]))
for _ in range(2):
    try:
        infer_types(model)
    except ModelError as error:
        print("cannot be computed" in str(error))
print(len(bytearray(400 << 20)) >> 20)  # the limit is gone
"""
    command = [sys.executable, "-c", program, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "True", "400"]


def test_the_process_of_another_program_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(memory, "_claimed", [])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory.limit_growth(1):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


@LINUX
def test_limits_of_several_threads_leave_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(memory, "_claimed", [True])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    inside = threading.Event()

    def first() -> None:
        with memory.limit_growth(1 << 30):
            inside.set()
            time.sleep(0.1)

    def second() -> None:
        inside.wait()
        with memory.limit_growth(1 << 30):
            time.sleep(0.2)

    with ThreadPoolExecutor(2) as threads:
        for ended in [threads.submit(first), threads.submit(second)]:
            ended.result()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_other_systems_refuse_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OptionError, match=r"Only Linux.*--memory-limit.*container"):
        memory.limit_memory(1000)
    with memory.limit_growth(1):
        pass


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("Failed to allocate memory for a buffer")]
)
def test_what_says_that_memory_ran_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    found = memory.out_of_memory(error)
    assert isinstance(found, OutOfMemoryError)
    assert "than there is" in str(found)
    monkeypatch.setattr(memory, "_limit", [500])
    assert "than the 500 MB that --memory-limit allows" in str(memory.out_of_memory(error))
    assert memory.out_of_memory(found) is found
    assert memory.out_of_memory(ValueError("no")) is None


def test_a_model_of_too_many_nodes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.onnx").write_bytes(endless.long_chain(100_000).SerializeToString())
    with pytest.raises(ModelError, match=r"100005 nodes or more; at most 100000 are accepted"):
        read_model(tmp_path / "long.onnx")


def test_a_model_too_long_to_be_followed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "long.onnx").write_bytes(endless.long_chain(20_000).SerializeToString())
    with pytest.raises(ModelError, match="more nodes in a row than can be followed"):
        open_classifier(tmp_path / "long.onnx", providers="cpu")


def test_a_long_model_is_inferred(tmp_path: Path) -> None:
    (tmp_path / "long.onnx").write_bytes(endless.long_chain(30_000).SerializeToString())
    types = infer_types(copy_for_inference(read_model(tmp_path / "long.onnx")))
    assert types["step29999"][1] == (None, 3, 32, 32)
