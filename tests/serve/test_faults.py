"""What befalls servers: signals, workers that die, model files that change; and that they tell how they are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("kserve")

import tiny_models
from processes import UNMEASURED
from servers import PATIENCE_S, WHITE, Running, busy_model, png, running

from secam_onnx.errors import OptionError
from secam_onnx.serve.ending import CUT_OFF
from secam_onnx.serve.server import listen
from secam_onnx.serve.settings import Settings
from secam_onnx.serve.workers import supervise


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_models.classifier().SerializeToString())
    return path


def numbers(server: Running) -> object:
    status, _, body = server.explain(png(90))
    assert status == 200, body
    (explanation,) = json.loads(body)["explanations"]
    return explanation["classes"]


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(child) for child in text.split() if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_accepted_is_finished_before_the_end(number: int, tmp_path: Path) -> None:
    with running("--model", str(busy_model(tmp_path, 2e5))) as server, ThreadPoolExecutor(8) as pool:
        found = [pool.submit(server.explain, png(WHITE)) for _ in range(8)]
        server.wait(lambda: server.figure("secam_pending_images") == 8)
        assert server.stop(number) == 0
        assert [each.result(PATIENCE_S)[0] for each in found] == [200] * 8
        with pytest.raises(ConnectionError):
            server.connect()
    assert not server.broken


def test_the_grace_ends(tmp_path: Path) -> None:
    options = ("--model", str(busy_model(tmp_path, 1e15)), "--timeout", "300", "--grace", "1")
    with running(*options) as server, ThreadPoolExecutor(1) as pool:
        endless = pool.submit(server.explain, png(WHITE))
        server.wait(lambda: server.figure("secam_pending_images") == 1)
        assert server.stop() == CUT_OFF
        assert endless.exception(PATIENCE_S) is not None or endless.result()[0] >= 500


def test_several_processes_where_they_cannot_share_a_port(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows; HTTP's socket is handed to them."""
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # it is this process that would be stopped
    settings = Settings(models={"model": model}, host="127.0.0.1", port=0, grpc_port=0)
    with listen("127.0.0.1", 0) as http, pytest.raises(OptionError, match=r"--no-grpc.*--workers 1"):
        supervise(settings, http, 2, started=lambda _: None)


def test_a_server_that_is_killed_leaves_nothing(model: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    options = [sys.executable, "-m", "secam_onnx", "serve", "--model", str(model), "--port", "0", "--grpc-port", "0"]
    environment = UNMEASURED | {"TMPDIR": str(temporary)}
    for workers in ("1", "2"):
        process = subprocess.Popen(
            [*options, "--workers", workers],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        port = int(process.stdout.readline().split(":")[2].split("/")[0])
        server = Running(process, port, None)
        server.wait(server.is_ready)
        started = children(process.pid)
        assert len(started) == (0 if workers == "1" else 2)
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()
        deadline = time.monotonic() + PATIENCE_S
        while any(map(alive, started)) or list(temporary.iterdir()):
            assert time.monotonic() < deadline, (started, list(temporary.iterdir()))
            time.sleep(0.05)
        # The port is free again.
        with running("--model", str(model), "--port", str(port)) as again:
            assert numbers(again)


def test_a_worker_that_dies_is_replaced(model: Path) -> None:
    with running("--model", str(model), "--workers", "2", grpc=True) as server:
        expected = numbers(server)
        server.wait(lambda: sum(line["message"] == "ready" for line in server.lines) == 2)
        first = children(server.process.pid)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        server.wait(lambda: sum(line["message"] == "ready" for line in server.lines) == 3)
        second = children(server.process.pid)
        assert len(second) == 2
        assert len({*first, *second}) == 3
        assert all(numbers(server) == expected for _ in range(6))
        assert server.figure("secam_batch_size_sum") >= 7  # of all processes, the dead one's included
        died = [line for line in server.lines if line["message"] == "a process ended and is replaced"]
        assert [(line["pid"], line["exitcode"]) for line in died] == [(first[0], -signal.SIGKILL)]
        assert server.stop() == 0
        assert not any(map(alive, second))


def test_a_worker_does_not_serve_another_file_than_the_others(model: Path) -> None:
    with running("--model", str(model), "--workers", "2") as server:
        expected = numbers(server)
        server.wait(lambda: sum(line["message"] == "ready" for line in server.lines) == 2)
        model.write_bytes(tiny_models.classifier(seed=7).SerializeToString())
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        server.wait(lambda: sum("is replaced" in str(line["message"]) for line in server.lines) >= 2)
        assert "has changed since the server started" in str(server.lines[-1]["reason"])
        assert all(numbers(server) == expected for _ in range(4))
        assert server.stop() == 0


@pytest.mark.parametrize("fused", [False, True])
def test_a_model_file_that_changes_is_not_read_again(fused: bool, model: Path, tmp_path: Path) -> None:
    from secam_onnx import fuse

    if fused:
        fuse(model, tmp_path / "fused.onnx")
        model = (tmp_path / "fused.onnx").rename(tmp_path / "model.onnx")
    with running("--model", str(model)) as server:
        expected = numbers(server)
        whole = model.read_bytes()
        for damage in (b"", whole[:1000], b"\0" * len(whole), tiny_models.classifier(seed=7).SerializeToString()):
            model.write_bytes(damage)
            assert numbers(server) == expected
            # Superpixels of another number are a new session, but not of this file.
            assert server.explain(png(90), query="?n_segments=9")[0] == 200
        model.unlink()
        assert numbers(server) == expected


def test_external_weights_that_change_are_not_read_again(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    onnx.save(tiny_models.classifier(), path, save_as_external_data=True, location="weights", size_threshold=0)
    with running("--model", str(path)) as server:
        expected = numbers(server)
        size = (tmp_path / "weights").stat().st_size
        (tmp_path / "weights").write_bytes(b"\x7f" * size)
        assert numbers(server) == expected
        (tmp_path / "weights").write_bytes(b"")
        assert numbers(server) == expected


def test_it_is_alive_at_once_and_ready_after_its_first_explanation(tmp_path: Path) -> None:
    slow = busy_model(tmp_path, 3e5, of_dark=True)
    with running("--model", str(slow), wait=False) as server:
        assert server.call("GET", "/v2/health/live")[0] == 200
        status, _, body = server.call("GET", "/v2/health/ready")
        assert (status, json.loads(body)["error"]) == (503, "Server is not ready.")
        assert server.call("GET", "/v2/models/model/ready")[0] == 503
        assert server.explain(png(WHITE))[0] == 503
        server.wait(server.is_ready)
        assert server.explain(png(WHITE))[0] == 200
        assert server.call("GET", "/v2/models/model/ready")[0] == 200


def test_a_server_that_is_told_to_stop_before_it_is_ready(tmp_path: Path) -> None:
    with running("--model", str(busy_model(tmp_path, 3e5, of_dark=True)), wait=False) as server:
        assert server.stop() == 0


def start(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "secam_onnx", "serve", "--port", "0", *options],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S, env=UNMEASURED,
    )  # fmt: skip


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_that_is_no_model_ends_it(workers: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    ended = start("--model", str(tmp_path / "model.onnx"), "--workers", workers, "--no-grpc")
    assert ended.returncode == 2
    assert "Error: " in ended.stderr
    assert "model.onnx" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "none.onnx"], "none.onnx"),
        (["--model", "pipe.onnx"], "pipe.onnx does not exist, or is not a file"),
        (["--model", "x=pipe.onnx", "--workers", "2"], "pipe.onnx does not exist, or is not a file"),
        (["--model", "a b=model.onnx"], "a b=model.onnx does not exist"),
        (["--model", "x=model.onnx", "--model", "x=model.onnx"], "Two models are called 'x'"),
        (["--model", "x=model.onnx", "--model", "model.onnx", "--model-name", "y"], "--model-name goes with one model"),
        (["--model", "model.onnx", "--model-name", "a/b"], "'a/b' cannot be a model's name"),
        (["--model", "model.onnx", "--max-images", "65"], "make queue_length at least as large"),
        (["--model", "model.onnx", "--timeout", "0"], "0.0 is not in the range"),
        (["--model", "model.onnx", "--api-key-file", "keys"], "Cannot read keys from keys"),
        (["--model", "model.onnx", "--host", "203.0.113.1"], "Port 0 of 203.0.113.1 cannot be used"),
    ],
)
def test_what_cannot_be_served_is_said(options: list[str], message: str, model: Path, monkeypatch) -> None:
    monkeypatch.chdir(model.parent)
    os.mkfifo("pipe.onnx")  # who opens it waits for ever
    ended = start("--no-grpc", *options)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ports_that_are_taken(model: Path) -> None:
    with running("--model", str(model), grpc=True) as server:
        for workers in ("1", "2"):
            ended = start("--model", str(model), "--port", str(server.port), "--workers", workers)
            assert ended.returncode == 2
            assert f"Port {server.port} of 127.0.0.1 cannot be used" in ended.stderr
            ended = start("--model", str(model), "--grpc-port", str(server.grpc_port), "--workers", workers)
            assert ended.returncode == 2
            assert f"Port {server.grpc_port} of 127.0.0.1 cannot be used for gRPC" in ended.stderr


def test_without_the_extra_it_says_what_to_install(model: Path, tmp_path: Path) -> None:
    (tmp_path / "kserve.py").write_text("raise ImportError('No module named kserve')")
    ended = subprocess.run(
        [sys.executable, "-m", "secam_onnx", "serve", "--model", str(model)],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S, env=UNMEASURED | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 2
    assert 'pip install "secam-onnx[serve]"' in ended.stderr


def test_keys(model: Path, tmp_path: Path) -> None:
    # tritonclient's stubs and KServe's have the same names, of which one process takes one.
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    (tmp_path / "keys").write_text("first\nsecond\n")
    options = ("--model", str(model), "--api-key-file", str(tmp_path / "keys"))
    with running(*options, grpc=True) as server:
        for key in ({}, {"Authorization": "Bearer third"}, {"X-API-Key": "firs"}):
            status, headers, body = server.explain(png(), **{name.replace("-", "_"): key[name] for name in key})
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert "A key is needed" in json.loads(body)["error"]
        for path in ("/metrics", "/v1/models", "/v2", "/openapi.json", "/v2/models/model"):
            assert server.call("GET", path)[0] == 401, path
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert server.call("GET", path)[0] == 200
        status, headers, _ = server.explain(png(), Authorization="Bearer second")
        assert status == 200
        assert "second" not in str(headers)
        assert server.explain(png(), X_API_Key="first")[0] == 200

        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            client = GRPCInferenceServiceStub(channel)
            question = messages.ModelMetadataRequest(name="model")
            assert client.ServerLive(messages.ServerLiveRequest()).live
            with pytest.raises(grpc.RpcError, match="A key is needed") as raised:
                client.ModelMetadata(question)
            assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert client.ModelMetadata(question, metadata=[("authorization", "Bearer first")]).name == "model"
        assert "first" not in str(server.lines)


def test_every_request_is_a_line_of_json_with_its_identifier(model: Path) -> None:
    with running("--model", str(model)) as server:
        _, headers, _ = server.explain(png(), X_Request_ID="my-request")
        assert headers["x-request-id"] == "my-request"
        _, headers, _ = server.explain(b"no image", X_Request_ID="two words")
        assert headers["x-request-id"] not in ("", "two words")
        server.call("GET", "/none")
        assert server.stop() == 0
    assert not server.broken
    good, bad, none = (line for line in server.lines if line["message"] == "request" and "health" not in line["path"])
    assert {"request_id": "my-request", "status": 200, "model": "model", "batch_size": 1}.items() <= good.items()
    assert {"prepare_ms", "queue_ms", "network_ms", "ms", "bytes", "time", "level"} <= good.keys()
    assert {"request_id": headers["x-request-id"], "status": 400, "level": "INFO"}.items() <= bad.items()
    assert (none["status"], none["path"]) == (404, "/none")
