"""Signs of life: a worker that is stopped or hangs is killed and replaced, and no other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kserve")

import tiny_models
from servers import WHITE, Running, png, running, stuck_model

from secam_onnx.serve import heartbeat
from secam_onnx.serve.heartbeat import Beat, Pulse

READY, UNREADY = Beat(ready=True), Beat()


class Clock:
    """`time.monotonic`, turned by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock


def felt(pulse: Pulse, clock: Clock, seconds: float, beats: list[Beat]) -> str | None:
    """What a pulse says in the end, felt ten times a second, with the same beats every second."""
    wrong = None
    for tenth in range(round(10 * seconds)):
        clock.now += 0.1
        wrong = wrong or pulse.feel([] if tenth % 10 else beats)
    return wrong


def test_silence_is_borne_for_ten_seconds_and_while_a_model_is_read_for_two_minutes(clock: Clock) -> None:
    pulse = Pulse(30)
    assert felt(pulse, clock, 119, []) is None
    assert felt(pulse, clock, 600, [UNREADY]) is None
    assert felt(pulse, clock, 5, [READY]) is None
    assert felt(pulse, clock, 9, []) is None
    assert felt(pulse, clock, 1, [READY]) is None
    assert felt(pulse, clock, 11, []) == "it gave no sign of life for 10 s"
    assert felt(Pulse(30), clock, 121, []) == "it gave no sign of life for 120 s"


def test_a_process_that_lives_but_is_not_ready_any_more(clock: Clock) -> None:
    pulse = Pulse(30)
    felt(pulse, clock, 2, [READY])
    assert felt(pulse, clock, 58, [UNREADY]) is None
    assert felt(pulse, clock, 1, [READY]) is None
    assert felt(pulse, clock, 62, [UNREADY]) == "it was not ready for 60 s"


def test_a_machine_that_slept_kills_nobody(clock: Clock) -> None:
    pulse = Pulse(30)
    felt(pulse, clock, 2, [READY])
    clock.now += 3600
    assert pulse.feel([]) is None
    assert felt(pulse, clock, 8, []) is None
    assert felt(pulse, clock, 3, []) is not None


def ready(server: Running) -> int:
    return sum(line["message"] == "ready" for line in server.lines)


@pytest.mark.full
def test_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    import grpc
    from kserve import InferInput, InferRequest
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    (tmp_path / "model.onnx").write_bytes(tiny_models.classifier().SerializeToString())

    def explained() -> bool:
        """Whether it answers over new connections, of which the system gives some to each process."""
        tensor = InferInput("encoded_image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([png(90)], dtype=object))
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = GRPCInferenceServiceStub(channel).ModelInfer
            return bool(call(InferRequest("model", [tensor]).to_grpc(), timeout=20).outputs)

    with running("--model", str(tmp_path / "model.onnx"), "--workers", "2", grpc=True) as server:
        server.wait(lambda: ready(server) == 2)
        first = server.workers()
        time.sleep(1.5)
        os.kill(first[0], signal.SIGSTOP)
        server.wait(lambda: ready(server) == 3)
        second = server.workers()
        assert first[0] not in second
        assert first[1] in second
        assert all(explained() for _ in range(20))
        assert all(server.explain(png(90))[0] == 200 for _ in range(6))
        (replaced,) = [line for line in server.lines if line["message"] == "a process ended and is replaced"]
        assert (replaced["pid"], replaced["reason"]) == (first[0], "it gave no sign of life for 10 s")
        assert server.stop() == 0


@pytest.mark.full
def test_a_network_that_hangs(tmp_path: Path) -> None:
    """Alone, a server says that it is not alive, so that it is restarted; of several, it is replaced."""
    options = ("--model", str(stuck_model(tmp_path)), "--timeout", "0.5")
    with running(*options) as server:
        assert server.explain(png(WHITE))[0] == 504
        server.wait(lambda: not server.is_ready())
        assert server.call("GET", "/v2/health/live")[0] == 200
        server.wait(lambda: server.call("GET", "/v2/health/live")[0] == 503)
        assert server.stop() == 0
    with running(*options, "--workers", "2") as server:
        server.wait(lambda: ready(server) == 2)
        assert server.explain(png(WHITE))[0] == 504
        server.wait(lambda: ready(server) == 3)
        (replaced,) = [line for line in server.lines if line["message"] == "a process ended and is replaced"]
        assert replaced["reason"] == "it was not ready for 30.5 s"
        assert server.stop() == 0
