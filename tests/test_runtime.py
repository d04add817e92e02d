"""ONNX Runtime: which wheel, which provider, and what is said when they are not what was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from secam_onnx import runtime
from secam_onnx.errors import MissingDependencyError, ModelError, OptionError, ProviderError
from secam_onnx.runtime import installation

TEXT = """<ir_version: 8, opset_import: ["" : 18]> net (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] w = {1, 2, 3, 4}> { y = MatMul (x, w) }"""
ENDLESS = """<ir_version: 8, opset_import: ["" : 18]> net (float[1] x) => (float[1] y)
<int64 turns = {9223372036854775807}, bool go = {1}> {
  y = Loop (turns, go, x) <body = turn (int64 i, bool on, float[1] v) => (bool more, float[1] w) {
    more = Identity (on)  w = Cos (v)
  }>
}"""


def on_gpu() -> bool:
    return runtime.CUDA in runtime.load().get_available_providers()


@pytest.fixture
def fresh_load() -> Iterator[None]:
    runtime.load.cache_clear()
    yield
    runtime.load.cache_clear()


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (set(), r"ONNX Runtime is not installed.*secam-onnx\[cpu\].*secam-onnx\[gpu\]"),
        ({"onnxruntime", "onnxruntime-gpu"}, "Both onnxruntime and onnxruntime-gpu are installed.*pip uninstall"),
        ({"onnxruntime"}, "installed but does not import.*force-reinstall onnxruntime"),
    ],
)
def test_the_wheels(monkeypatch: pytest.MonkeyPatch, fresh_load: None, installed: set[str], message: str) -> None:
    monkeypatch.setattr(installation, "_installed", installed.__contains__)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it fails
    with pytest.raises(MissingDependencyError, match=message):
        runtime.load()


def test_without_onnx_runtime_the_command_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; import secam_onnx; from secam_onnx.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", "photo.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "does not import" in done.stderr or "not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_providers_by_name() -> None:
    assert runtime.resolve_providers("cpu") == ([runtime.CPU], runtime.CPU)
    assert runtime.resolve_providers([runtime.CPU]) == ([runtime.CPU], runtime.CPU)
    names, required = runtime.resolve_providers("auto")
    assert names[-1] == runtime.CPU
    assert required is None
    with pytest.raises(OptionError, match=r"Unknown provider 'tpu'; this ONNX Runtime has .*CPUExecutionProvider"):
        runtime.resolve_providers("tpu")
    with pytest.raises(OptionError, match="empty"):
        runtime.resolve_providers([])


def test_cuda_that_is_not_there_is_one_sentence() -> None:
    if on_gpu():
        pytest.skip("this is the GPU build")
    with pytest.raises(ProviderError, match=r"this ONNX Runtime is the CPU build.*secam-onnx\[gpu\]"):
        runtime.open_session(parser.parse_model(TEXT).SerializeToString(), "cuda")


def test_a_session_that_fell_back_is_refused_when_the_provider_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU wheel on a machine without a GPU lists CUDA and then silently runs on the CPU."""
    ort = runtime.load()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [runtime.CUDA, runtime.CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load libcublas"))
    model = parser.parse_model(TEXT).SerializeToString()
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        session = runtime.open_session(model, "auto")
    assert session.get_providers() == [runtime.CPU]
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ProviderError, match=r"could not start on this machine.*driver"),
    ):
        runtime.open_session(model, "cuda")


def test_standard_output_comes_back_where_two_threads_open_sessions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network and its contribution model are opened side by side; on a GPU that lost all that was printed later."""
    ort = runtime.load()
    first, second = threading.Lock(), threading.Event()

    def preload() -> None:
        # Where nothing keeps them apart, the one that came first also leaves first.
        if first.acquire(blocking=False):
            second.wait(0.3)
        else:
            second.set()
            time.sleep(0.1)
        print("Failed to load libcublas")

    monkeypatch.setattr(ort, "get_available_providers", lambda: [runtime.CUDA, runtime.CPU])
    monkeypatch.setattr(ort, "preload_dlls", preload)
    model = parser.parse_model(TEXT).SerializeToString()
    before = sys.stdout
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        warnings.simplefilter("ignore")
        list(pool.map(lambda _: runtime.open_session(model, "auto"), range(2)))
    assert sys.stdout is before


def test_what_is_no_model_is_named(tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(ModelError, match=r"cannot open the model: .*Check the file"):
        runtime.open_session(b"no model", "cpu")
    bad = onnx.parser.parse_model(TEXT.replace("MatMul", "NoSuchOperator"))
    with pytest.raises(ModelError, match="NoSuchOperator"):
        runtime.open_session(bad.SerializeToString(), "cpu")


def test_shared_weights_are_used() -> None:
    model = parser.parse_model(TEXT)
    weight = model.graph.initializer[0]
    del weight.float_data[:]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="in memory")
    value = np.array([[0, 1], [1, 0]], dtype=np.float32)
    session = runtime.open_session(model.SerializeToString(), "cpu", weights=runtime.SharedWeights(copied={"w": value}))
    (out,) = session.run(None, {"x": np.array([[5, 7]], dtype=np.float32)})
    np.testing.assert_array_equal(out, [[7, 5]])


def test_runs_are_ended_from_another_thread() -> None:
    endless = runtime.open_session(parser.parse_model(ENDLESS).SerializeToString(), "cpu")
    feeds = {"x": np.zeros(1, dtype=np.float32)}
    interrupt = runtime.Interrupt()
    threading.Timer(0.2, interrupt.stop).start()
    with interrupt, pytest.raises(Exception, match="terminate"):
        runtime.run(endless, ["y"], feeds)
    assert interrupt.stopped
    quick = runtime.open_session(parser.parse_model(TEXT).SerializeToString(), "cpu")
    (out,) = runtime.run(quick, ["y"], {"x": np.ones((1, 2), dtype=np.float32)})
    np.testing.assert_array_equal(out, [[4, 6]])


def test_nothing_is_kept_of_what_was_run(tmp_path: os.PathLike[str]) -> None:
    """ONNX Runtime's telemetry writes into these folders unless it is told not to."""
    program = (
        f"from secam_onnx import runtime; runtime.open_session({parser.parse_model(TEXT).SerializeToString()!r}, 'cpu')"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "ORT_", "XDG_"))}
    folders = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment | folders)
    assert list(Path(tmp_path).iterdir()) == []


def test_all_work_of_a_process_is_ended_for_good(tmp_path: Path) -> None:
    """In a process of its own, as that never works again: a run, a run within an `Interrupt`, and what comes later."""
    program = """
import contextlib, sys, threading
import numpy as np
from secam_onnx import runtime
endless = runtime.open_session(sys.argv[1], "cpu")
feeds = {"x": np.zeros(1, dtype=np.float32)}
threading.Timer(0.3, runtime.stop_all).start()
def stops(work):
    try:
        work()
    except runtime.Stopped:
        return True
ended = []
def run(block):
    with block:
        ended.append(stops(lambda: runtime.run(endless, ["y"], feeds)))
threads = [threading.Thread(target=run, args=[block]) for block in (contextlib.nullcontext(), runtime.Interrupt())]
for thread in threads: thread.start()
for thread in threads: thread.join()
run(contextlib.nullcontext())
ended.append(stops(lambda: runtime.open_session(sys.argv[1], "cpu")))
print(ended)
"""
    (tmp_path / "endless.onnx").write_bytes(parser.parse_model(ENDLESS).SerializeToString())
    command = [sys.executable, "-c", program, str(tmp_path / "endless.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[True, True, True, True]"


def test_the_opening_of_a_session_is_ended(tmp_path: Path) -> None:
    """Ten thousand nodes are many steps; the optimiser looks at the flag between them."""
    nodes = " ".join(f"t{index + 1} = Relu (t{index})" for index in range(60_000))
    text = f'<ir_version: 8, opset_import: ["" : 18]> net (float[1] t0) => (float[1] t60000) {{ {nodes} }}'
    (tmp_path / "long.onnx").write_bytes(parser.parse_model(text).SerializeToString())
    program = """
import sys, threading
from secam_onnx import runtime
runtime.load()
threading.Timer(0.3, runtime.stop_all).start()
try:
    runtime.open_session(sys.argv[1], "cpu")
except runtime.Stopped:
    print("stopped")
"""
    command = [sys.executable, "-c", program, str(tmp_path / "long.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "stopped"
