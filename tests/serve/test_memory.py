"""Memory of a server under more than it takes, of every protocol: its peak stays below what the documentation says."""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("kserve")

import grpc
import numpy as np
from kserve import InferInput, InferRequest
from servers import WHITE, Running, busy_model, png, running

MB = 1 << 20
PENDING, BODY = 16, 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A tenth of the usual limits; a white picture keeps it busy."""
    limits = ("--max-pending-mb", str(PENDING), "--max-body-mb", str(BODY), "--timeout", "3", "--client-timeout", "3")
    with running("--model", str(busy_model(tmp_path, 1e15)), *limits, grpc=True) as found:
        yield found


def peak_mb(server: Running) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def infer(server: Running, data: bytes) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        try:
            call(data, timeout=60)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


def message(picture: bytes) -> bytes:
    given = InferInput("encoded_image", [1], "BYTES")
    given.set_data_from_numpy(np.array([picture], dtype=object))
    return InferRequest("model", [given]).to_grpc().SerializeToString()


def test_calls_over_grpc(server: Running) -> None:
    before = peak_mb(server)
    data = message(png(WHITE) + bytes(BODY * MB - 2000))
    with ThreadPoolExecutor(32) as pool:
        found = collections.Counter(pool.map(lambda _: infer(server, data), range(64)))
    assert set(found) <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert found["RESOURCE_EXHAUSTED"]
    assert peak_mb(server) - before < 4 * PENDING + 10 * BODY
    assert infer(server, message(png())) == "OK"


@pytest.mark.parametrize("kind", ["values", "texts", "file", "base64"])
def test_bodies_over_http(kind: str, server: Running) -> None:
    before = peak_mb(server)
    size = BODY * MB - 2000
    body = {
        "values": b'{"instances": [' + b",".join([b"1.5"] * (size // 4)) + b"]}",
        "texts": b'{"instances": [' + b",".join([b'"ab"'] * (size // 5)) + b"]}",
        "file": png(WHITE) + bytes(size),
        "base64": json.dumps(
            {"instances": [{"image": {"b64": base64.b64encode(png(WHITE) + bytes(size // 4 * 3 - 1000)).decode()}}]}
        ).encode(),
    }[kind]
    headers = {} if kind == "file" else {"Content-Type": "application/json"}

    def ask(_: int) -> int:
        with contextlib.suppress(ConnectionError):  # refused while it was sending
            return server.call("POST", "/v1/models/model:explain", body[: BODY * MB], headers)[0]
        return 0

    with ThreadPoolExecutor(32) as pool:
        found = collections.Counter(pool.map(ask, range(64)))
    assert set(found) <= ({413, 429, 0} if kind in ("values", "texts") else {429, 504, 0})
    assert peak_mb(server) - before < 4 * PENDING + 10 * BODY
    assert server.explain(png())[0] == 200


def test_silent_calls_do_not_keep_others_out(server: Running) -> None:
    """Each has room for a whole message."""

    end = threading.Event()

    def silent() -> Iterator[bytes]:
        end.wait(20)
        yield b""

    with contextlib.ExitStack() as stack:
        for _ in range(PENDING // BODY):
            channel = stack.enter_context(
                grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)])
            )
            channel.stream_unary("/inference.GRPCInferenceService/ModelInfer").future(silent())
        stack.callback(end.set)
        assert infer(server, message(png())) == "OK"
