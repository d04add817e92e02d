"""Decoding in processes, behind a real server: it goes on whatever an image does, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kserve")

import bomb_images
import tiny_models
from servers import PATIENCE_S, WHITE, Running, png, running, stuck_model

SOON_S = 20.0  # where minutes passed before


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_models.classifier().SerializeToString())
    return "--model", str(path)


def descendants(pid: int) -> list[int]:
    found = [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    return found + [below for child in found for below in descendants(child)]


def decoders(pid: int) -> list[int]:
    """The decoders of a server, which are not ended yet."""
    found = []
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if b"decoding.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def eventually_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def predict(server: Running, image: bytes) -> tuple[int, str]:
    status, _, body = server.call("POST", "/v1/models/model:predict", image, {"Content-Type": "image/png"})
    return status, body.decode()


def check_works(server: Running) -> None:
    assert predict(server, png(90))[0] == 200


@contextlib.contextmanager
def asked_meanwhile(server: Running) -> Iterator[None]:
    """One request after the other, all of which are answered."""
    over = False

    def ask() -> int:
        asked = 0
        while not over or asked < 3:
            check_works(server)
            assert server.is_ready()
            asked += 1
        return asked

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            over = True
        assert asking.result(PATIENCE_S)


def test_files_made_to_be_slow(model: tuple[str, str]) -> None:
    """The first are refused by their structure, the others by the time that they take."""
    slow = bomb_images.slow_but_allowed()
    with running(*model, "--decode-timeout", "0.3", "--timeout", "120") as server, ThreadPoolExecutor(4) as pool:
        start = time.monotonic()
        with asked_meanwhile(server):
            for image, reason in ((bomb_images.progressive_bomb(), "scans"), (slow, "takes more than the 0.3 s")):
                for answer in [pool.submit(predict, server, image) for _ in range(4)]:
                    status, body = answer.result(PATIENCE_S)
                    assert status == 400
                    assert reason in json.loads(body)["error"]
        assert time.monotonic() - start < SOON_S
        assert server.figure("secam_decoders_ended_total") == 4
        check_works(server)


def test_a_request_that_is_answered_takes_no_decoder_any_more(model: tuple[str, str]) -> None:
    slow = bomb_images.slow_but_allowed()
    with running(*model, "--decode-timeout", "1000", "--timeout", "0.5") as server, ThreadPoolExecutor(4) as pool:
        for answer in [pool.submit(predict, server, slow) for _ in range(4)]:
            assert answer.result(PATIENCE_S)[0] == 504
        server.wait(lambda: server.figure("secam_decoders_ended_total") >= 1)
        server.wait(lambda: predict(server, png(90))[0] == 200)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_and_stopped_decoders_are_replaced(workers: str, model: tuple[str, str]) -> None:
    with running(*model, "--workers", workers) as server, ThreadPoolExecutor(8) as pool:
        seen: set[int] = set()

        def all_started() -> bool:
            seen.update(decoders(server.process.pid))
            return server.figure("secam_decoders_started_total") == len(seen)

        for number in (signal.SIGKILL, signal.SIGSTOP):
            check_works(server)
            server.wait(all_started)
            before = decoders(server.process.pid)
            assert before
            for pid in before:
                os.kill(pid, number)
            list(pool.map(lambda _: check_works(server), range(8)))
            assert server.is_ready()
            assert not set(before) <= set(decoders(server.process.pid))


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_is_left_behind(number: int, workers: str, model: tuple[str, str]) -> None:
    shared = set(Path("/dev/shm").iterdir())
    slow = bomb_images.slow_but_allowed()
    options = ("--decode-timeout", "1000", "--timeout", "120", "--grace", "0.5", "--workers", workers)
    with running(*model, *options) as server, ThreadPoolExecutor(2) as pool:
        check_works(server)
        answers = [pool.submit(predict, server, slow) for _ in range(2)]
        server.wait(lambda: server.figure("secam_pending_images") >= 1)
        left = descendants(server.process.pid)
        assert decoders(server.process.pid)
        server.stop(number)
        eventually_gone(left)
        for answer in answers:
            assert answer.exception(PATIENCE_S) is not None or answer.result()[0] in (200, 503)
    assert set(Path("/dev/shm").iterdir()) <= shared


def test_it_is_not_ready_while_no_decoder_can_be_started(model: tuple[str, str]) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with (
        running(*model, grpc=True) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)) as connection,
    ):
        client = GRPCInferenceServiceStub(channel)

        def status(path: str, body: bytes | None = None) -> int:
            connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            answer.read()
            return answer.status

        def ready() -> list[bool]:
            return [
                status("/v2/health/ready") == 200,
                status("/v2/models/model/ready") == 200,
                client.ServerReady(messages.ServerReadyRequest()).ready,
                client.ModelReady(messages.ModelReadyRequest(name="model")).ready,
            ]

        assert ready() == [True] * 4
        pid = server.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))  # no process can be started, nor anything be opened
        for child in decoders(pid):
            os.kill(child, signal.SIGKILL)
        server_down = time.monotonic() + PATIENCE_S
        while ready() != [False] * 4:
            assert time.monotonic() < server_down
        assert status("/v1/models/model:predict", png(90)) == 503
        assert status("/v2/health/live") == 200
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        while ready() != [True] * 4:
            assert time.monotonic() < server_down + PATIENCE_S
        assert status("/v1/models/model:predict", png(90)) == 200


def test_it_is_not_ready_while_the_network_hangs(tmp_path: Path) -> None:
    with running("--model", str(stuck_model(tmp_path)), "--timeout", "3") as server:
        check_works(server)
        assert predict(server, png(WHITE))[0] == 504
        server.wait(lambda: not server.is_ready())
        assert server.call("GET", "/v2/models/model/ready")[0] == 503
        status, body = predict(server, png(90))
        assert status == 503, body
        assert server.call("GET", "/v2/health/live")[0] == 200


def test_images_that_are_drawn_on_and_raw_pixels(model: tuple[str, str]) -> None:
    with running(*model) as server:
        status, headers, body = server.explain(png(90, (300, 200)), Accept="image/png")
        assert (status, headers["content-type"], body[:4]) == (200, "image/png", b"\x89PNG")
        started = server.figure("secam_decoders_started_total")
        pixels = np.zeros((1, 24, 24, 3), np.uint8)
        tensor = {"name": "image", "shape": pixels.shape, "datatype": "UINT8", "data": pixels.ravel().tolist()}
        asked = json.dumps({"inputs": [tensor], "outputs": [{"name": "class_logits"}]}).encode()
        for pid in decoders(server.process.pid):
            os.kill(pid, signal.SIGSTOP)
        status, _, text = server.call("POST", "/v2/models/model/infer", asked, {"Content-Type": "application/json"})
        assert status == 200, text
        assert server.figure("secam_decoders_started_total") == started
