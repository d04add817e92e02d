"""Nothing of a stranger's reaches the server's log raw, nor what a client shows of its answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from processes import UNMEASURED
from servers import png
from serving import instances
from terminal import HOSTILE, HOSTILE_NAME, left_raw

pytest.importorskip("kserve")

QUOTED = urllib.parse.quote(HOSTILE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """A server of a model with hostile class names in a hostile file: its ports, and the file of its raw log."""
    model = tiny_models.classifier()
    model.metadata_props.add(key="labels", value=json.dumps([f"{HOSTILE}{index}" for index in range(7)]))
    (tmp_path / f"{HOSTILE_NAME}.onnx").write_bytes(model.SerializeToString())
    command = [sys.executable, "-m", "secam_onnx", "serve", "--port", "0", "--grpc-port", "0", "--log-level", "DEBUG"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--model", f"m={HOSTILE_NAME}.onnx"], stdout=subprocess.PIPE, stderr=log, cwd=tmp_path,
            env=UNMEASURED,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        ports = re.findall(rb":(\d+)", process.stdout.readline())
        try:
            yield int(ports[0]), int(ports[1]), tmp_path / "log"
        finally:
            process.terminate()
            process.wait(60)


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """The whole answer, headers too."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        assert all(name.isprintable() and value.isprintable() for name, value in answer.getheaders())
        return answer.read()


def test_neither_log_nor_answers_have_it_raw(server: tuple[int, int, Path]) -> None:
    port, grpc_port, log = server
    while b'"ready":true' not in ask(port, "GET", "/v2/health/ready").replace(b" ", b""):
        pass
    json_ = {"content_type": "application/json"}
    picture = instances(png(), classes=[f"{HOSTILE}1"])
    answers = [
        ask(port, "GET", f"/{QUOTED}", x_request_id=HOSTILE[1:5]),
        ask(port, "GET", f"/v2/models/{QUOTED}", accept="\x9b\x7f"),
        ask(port, "GET", f"/v2/models/m?{QUOTED}"),
        ask(port, "GET", "/models.json"),
        ask(port, "GET", "/page/" + QUOTED),
        ask(port, "POST", f"/v1/models/{QUOTED}:explain", b"{}", **json_),
        ask(port, "POST", f"/v1/models/m:{QUOTED}", b"{}", **json_),
        ask(port, "POST", f"/v2/models/m/versions/{QUOTED}/infer", b"{}", **json_),
        ask(port, "POST", "/v1/models/m:predict", json.dumps(picture).encode(), **json_),
        ask(port, "POST", "/v1/models/m:explain", json.dumps(picture).encode(), **json_),
        ask(port, "POST", "/v1/models/m:explain", json.dumps({HOSTILE: 1}).encode(), **json_),
        ask(port, "POST", "/v1/models/m:explain", json.dumps({"instances": [HOSTILE]}).encode(), **json_),
        ask(port, "POST", "/v1/models/m:explain", HOSTILE.encode(), content_type="\x9bm"),
        ask(port, "POST", f"/v1/models/m:explain?{QUOTED}={QUOTED}", png(), content_type="image/png"),
        ask(port, "POST", f"/v1/models/m:explain?class={QUOTED}", png(), content_type="image/png"),
        ask(port, "POST", f"/v1/models/m:explain?class={QUOTED}1&outputs=segments", png(), content_type="image/png"),
        *(ask(port, "POST", "/v2/models/m/infer", json.dumps(body).encode(), **json_) for body in _bodies()),
        *(_raw(port, request) for request in (f"GET /{HOSTILE} HTTP/1.1\r\n\r\n", f"{HOSTILE}\r\n\r\n")),
        *(_raw(port, f"GET / HTTP/1.1\r\nHost: {HOSTILE}\r\nX-{HOSTILE}: \x9b\r\n\r\n") for _ in "1"),
        *_over_grpc(grpc_port),
    ]
    _raw(grpc_port, HOSTILE * 10)
    for number, answer in enumerate(answers):
        assert left_raw(answer) == [], (number, answer)
    assert sum(rb"\u001b]0;title\u0007" in answer for answer in answers) >= 3, "data keep the true names"
    assert sum(rb"\\x1b]0;title\\x07" in answer for answer in answers) >= 8, "messages show them"
    lines = log.read_bytes()
    assert left_raw(lines) == []
    for line in lines.splitlines():
        assert isinstance(json.loads(line), dict)
        assert all(text.isprintable() for text in _texts(json.loads(line))), line
    assert rb"\\x1b" in lines


def _bodies() -> Iterator[Any]:
    image = {
        "name": "encoded_image",
        "shape": [1],
        "datatype": "BYTES",
        "data": [instances(png())["instances"][0]["image"]["b64"]],
    }
    yield {"inputs": [image], "parameters": {"classes": f"{HOSTILE}1"}, "outputs": [{"name": "class_labels"}]}
    yield {"id": HOSTILE, "inputs": [image], "outputs": [{"name": "class_ids"}]}
    yield {"inputs": [{**image, "name": HOSTILE}]}
    yield {"inputs": [{**image, "datatype": HOSTILE}]}
    yield {"inputs": [{**image, "parameters": {HOSTILE: 1}}]}
    yield {"inputs": [image], "outputs": [{"name": HOSTILE}]}
    yield {"inputs": [image], "parameters": {HOSTILE: HOSTILE}}
    yield {"inputs": HOSTILE}


def _raw(port: int, request: str) -> bytes:
    """What comes back for these bytes, until the connection ends or nothing comes for a second."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection, contextlib.suppress(OSError):
        connection.sendall(request.encode())
        while part := connection.recv(65536):
            answer += part
    return answer if answer.startswith(b"HTTP") else b""  # HTTP/2 is binary


def _over_grpc(port: int) -> Iterator[bytes]:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        tensor = messages.ModelInferRequest.InferInputTensor
        for request in (
            messages.ModelInferRequest(model_name=HOSTILE),
            messages.ModelInferRequest(model_name="m", inputs=[tensor(name=HOSTILE, datatype=HOSTILE, shape=[1])]),
            messages.ModelInferRequest(model_name="m", model_version=HOSTILE, id=HOSTILE),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request, timeout=60, metadata=(("x-request-id", "\x7e !"),))
            yield json.dumps({"error": refused.value.details()}, ensure_ascii=False).encode()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from (name, *_texts(entry))
    elif isinstance(value, str):
        yield value
