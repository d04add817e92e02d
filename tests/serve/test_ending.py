"""The end of a server: within its grace and two seconds, whatever runs, and it says whether all was answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kserve")

import tiny_models
from processes import UNMEASURED
from servers import PATIENCE_S, WHITE, Running, busy_model, png, running, stuck_model

from secam_onnx.serve.ending import CUT_OFF

GRACE_S = 1.0
OPTIONS = ("--grace", "1", "--timeout", "300")
ALLOWED_S = GRACE_S + 2


def ended(server: Running, number: int = signal.SIGTERM) -> int:
    """The exit code of a server that is told to stop, which it has to do in time."""
    start = time.monotonic()
    code = server.stop(number)
    assert time.monotonic() - start < ALLOWED_S
    return code


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_forward_pass_that_never_returns(workers: str, tmp_path: Path) -> None:
    """It is one node, so that it cannot be interrupted, and Python would wait for its thread."""
    options = ("--model", str(stuck_model(tmp_path)), *OPTIONS, "--workers", workers)
    with running(*options) as server, ThreadPoolExecutor(1) as pool:
        endless = pool.submit(server.explain, png(WHITE))
        server.wait(lambda: server.figure("secam_pending_images") == 1)
        assert ended(server) == CUT_OFF
        assert endless.exception(PATIENCE_S) is not None or endless.result()[0] == 503


def test_a_forward_pass_that_nobody_waits_for(tmp_path: Path) -> None:
    """Everything was answered, if only with 504: there is nothing to wait for."""
    with running("--model", str(stuck_model(tmp_path)), "--timeout", "0.5") as server:
        assert server.explain(png(WHITE))[0] == 504
        assert ended(server) == 0


def test_a_call_over_grpc(tmp_path: Path) -> None:
    import grpc
    from kserve import InferInput, InferRequest
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with (
        running("--model", str(stuck_model(tmp_path)), *OPTIONS, grpc=True) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        tensor = InferInput("encoded_image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([png(WHITE)], dtype=object))
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(InferRequest("model", [tensor]).to_grpc())
        server.wait(lambda: server.figure("secam_pending_images") == 1)
        assert ended(server) == CUT_OFF
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_is_being_opened(workers: str, tmp_path: Path) -> None:
    options = ("--model", str(busy_model(tmp_path, 1e15, of_dark=True)), *OPTIONS, "--workers", workers)
    with running(*options, wait=False) as server:
        time.sleep(1)
        assert ended(server) == 0


def test_a_client_that_does_not_take_its_answer(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_models.classifier(classes=1000).SerializeToString())
    with running("--model", str(tmp_path / "model.onnx"), *OPTIONS) as server, server.connect() as client:
        body = png(90)
        head = "POST /v1/models/model:explain?class=all HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        server.wait(lambda: server.figure("secam_batch_size_sum") == 1)
        time.sleep(0.5)
        assert ended(server) == CUT_OFF


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    for workers in ("1", "2"):
        options = ("--model", str(stuck_model(tmp_path)), "--grace", "300", "--timeout", "300", "--workers", workers)
        with running(*options) as server, ThreadPoolExecutor(1) as pool:
            pool.submit(server.explain, png(WHITE))
            server.wait(lambda: server.figure("secam_pending_images") == 1)
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGINT)  # as a terminal and a wrapper send it both
            time.sleep(1)
            assert server.process.poll() is None
            assert ended(server, signal.SIGINT) == CUT_OFF


def test_stopped_workers_are_ended(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    with running("--model", str(tmp_path / "model.onnx"), *OPTIONS, "--workers", "2") as server:
        server.wait(lambda: sum(line["message"] == "ready" for line in server.lines) == 2)
        time.sleep(0.5)
        for pid in server.workers():
            os.kill(pid, signal.SIGSTOP)
        assert ended(server) == CUT_OFF


HELD = """
import re, time
from secam_onnx.serve.ending import Ending, on_signals
ending = Ending(0.5)
on_signals(ending.ask, lambda: None)
def work():
    print("works", flush=True)
    {work}
ending.run(work)
"""


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("time.sleep(1000)", CUT_OFF),
        # Nothing else in the interpreter runs while this does.
        ("while not ending.asked: time.sleep(0.01)\n    re.match('(a+)+b', 'a' * 100)", CUT_OFF),
        ("while not ending.asked: time.sleep(0.01)", 0),
        ("while not ending.asked: time.sleep(0.01)\n    ending.answered(); time.sleep(1000)", 0),
    ],
)
def test_an_event_loop_that_hangs(work: str, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HELD.format(work=work)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=UNMEASURED,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (code, "")
    assert time.monotonic() - start < 2.5


def test_photographs_that_are_being_decoded(tmp_path: Path) -> None:
    """Each takes its decoder longer than the time of grace."""
    from bomb_images import slow_but_allowed

    (tmp_path / "model.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    photograph = slow_but_allowed()
    with (
        running("--model", str(tmp_path / "model.onnx"), "--grace", "0.2", "--timeout", "300") as server,
        ThreadPoolExecutor(4) as pool,
    ):
        for _ in range(4):
            pool.submit(server.explain, photograph, Content_Type="image/jpeg")
        server.wait(lambda: server.figure("secam_pending_images") == 4)
        started = server.descendants()
        assert started
        assert ended(server) == CUT_OFF
        wait_for_end(started)


def test_what_a_killed_worker_has_started_ends_too(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_models.classifier().SerializeToString())
    with running("--model", str(tmp_path / "model.onnx")) as server:
        assert server.explain(png(90))[0] == 200
        started = server.descendants()
        assert started
        server.process.kill()
        wait_for_end(started)


def wait_for_end(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
