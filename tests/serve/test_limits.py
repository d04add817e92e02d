"""What a server refuses, over real sockets: each limit, what is said of it, and that it goes on afterwards."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kserve")

import grpc
from kserve import InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from servers import PATIENCE_S, WHITE, Running, busy_model, encoded, png, running

from secam_onnx.serve.crowd import SPARE

KB = 1 << 10
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: [::1]\r\n\r\n"
HEAD = b"POST /v1/models/model:explain HTTP/1.1\r\nHost: [::1]\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A white picture takes for ever; or rather, a second."""
    model = busy_model(tmp_path_factory.mktemp("busy"), 1e15)
    limits = (
        *("--queue-length", "4", "--max-images", "3", "--max-pixels", "2000", "--timeout", "1.5"),
        *("--max-body-mb", "0.25", "--max-pending-mb", "0.5", "--client-timeout", "1.5", "--max-connections", "40"),
    )
    with running("--model", str(model), *limits, grpc=True) as server:
        yield server


def reason(body: bytes) -> str:
    return json.loads(body)["error"]


def all_is_well(server: Running) -> None:
    assert server.explain(png())[0] == 200
    server.wait(lambda: server.figure("secam_pending_images") == 0)
    assert not server.broken


def send(server: Running, *parts: bytes) -> bytes:
    """All that comes back until the server closes."""
    with server.connect() as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except ConnectionError:  # it has answered and closed already
                break
        received = b""
        try:
            while data := connection.recv(1 << 16):
                received += data
        except ConnectionError:
            pass
    return received


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_not_taken(announced: bool, busy: Running) -> None:
    before = memory_kb(busy)
    head = b"POST /v1/models/model:explain HTTP/1.1\r\nHost: [::1]\r\nContent-Type: image/png\r\n"
    if announced:
        answer = send(busy, head + b"Content-Length: 400000000\r\n\r\n", *[b"x" * (1 << 20)] * 50)
    else:
        chunk = b"%x\r\n" % (64 * KB) + b"x" * (64 * KB) + b"\r\n"
        answer = send(busy, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 800)
    # Who sends on and on may not read the answer: the connection is reset under it.
    if answer:
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer
        assert "bytes" in reason(answer.partition(b"\r\n\r\n")[2])
    assert memory_kb(busy) < before + 20_000
    all_is_well(busy)


def memory_kb(server: Running) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


def test_a_polite_client_reads_why_its_body_is_too_large(busy: Running) -> None:
    status, headers, body = busy.explain(b"x" * (300 * KB))
    assert status == 413
    assert headers["connection"] == "close"
    assert reason(body) == "The body has 307,200 bytes; at most 262,144 are accepted."


def test_all_bodies_together_are_bounded(busy: Running) -> None:
    head = HEAD % 250_000
    opened = [busy.connect() for _ in range(3)]
    try:
        for connection in opened:
            connection.sendall(head + b"x" * 240_000)
        answers = []
        for connection in opened:
            try:
                answers.append(connection.recv(1 << 16))
            except ConnectionError:
                answers.append(b"")
    finally:
        for connection in opened:
            connection.close()
    assert sum(answer.startswith(b"HTTP/1.1 429 ") and b"retry-after: 1" in answer.lower() for answer in answers) >= 1
    # The others did not send the rest in time.
    assert all(answer[9:12] in (b"429", b"408", b"") for answer in answers)
    all_is_well(busy)


def test_pixels_are_counted_before_they_are_decoded(busy: Running) -> None:
    status, _, body = busy.explain(png(size=(50, 41)))
    assert status == 400
    assert reason(body) == "the image has 2,050 pixels (41 x 50), over the limit of 2,000; make it smaller."
    all_is_well(busy)


def test_pictures_are_bounded_before_they_are_drawn(tmp_path: Path) -> None:
    with running("--model", str(busy_model(tmp_path, 0))) as server:
        large = png(90, (3000, 4000))
        assert server.explain(large, query="?outputs=overlay")[0] == 200
        status, _, body = server.explain(large, query="?outputs=overlay,heatmap&class=all")
        assert status == 400
        assert reason(body).startswith("The pictures would have 120,000,000 pixels, over the limit of 100,000,000; ")
        assert server.explain(large, query="?outputs=panel&class=all")[0] == 200  # which is small


def test_photographs_to_draw_on_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    """A few kilobytes can be a photograph of 150 MB."""
    flat = encoded(np.zeros((7000, 7000, 3), dtype=np.uint8))
    with running("--model", str(busy_model(tmp_path, 0))) as server:
        before = memory_kb(server)
        instance = {"image": {"b64": base64.b64encode(flat).decode()}}
        for outputs in ("overlay", "panel"):
            status, _, body = server.call(
                "POST",
                f"/v1/models/model:explain?outputs={outputs}",
                json.dumps({"instances": [instance] * 8}).encode(),
                {"Content-Type": "application/json"},
            )
            assert status == 400
            assert "392,000,000 pixels, over the limit of 100,000,000" in reason(body)
        assert memory_kb(server) < before + 50_000


def test_maps_and_overlays_of_fine_models_are_bounded(tmp_path: Path) -> None:
    """They are as large as the model's feature map and input."""
    from tiny_models import classifier

    (tmp_path / "fine.onnx").write_bytes(classifier(classes=700, size=512).SerializeToString())
    with running("--model", str(tmp_path / "fine.onnx")) as server:
        path = "/v2/models/fine/infer"
        picture = {"name": "image", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [0] * 192}
        for output, classes, said in (("cam", 700, "'cam' would have 11,468,800"), ("overlay", 20, "'overlay' would")):
            body = {"inputs": [picture], "outputs": [{"name": output}], "parameters": {"classes": f"top-{classes}"}}
            status, _, answer = server.call(
                "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            assert status == 400
            assert reason(answer).startswith(said)
        assert server.explain(png(), "fine", "?class=all")[0] == 200


def test_values_in_one_answer_are_bounded() -> None:
    with running("--model-name", "model") as server:
        status, _, body = server.explain(png(), query="?class=all&n_segments=500")
        assert status == 400
        assert "1000 classes and 500 superpixels make 500,000 values, over the limit of 400,000" in reason(body)
        assert server.explain(png(), query="?class=all")[0] == 200


def test_json_of_millions_of_lists(tmp_path: Path) -> None:
    with running("--model", str(busy_model(tmp_path, 0))) as server:
        for path in ("/v1/models/model:explain", "/v2/models/model/infer"):
            body = b'{"instances": [' + b"[]," * 1_000_000 + b"[]]}"
            status, _, said = server.call("POST", path, body, {"Content-Type": "application/json"})
            assert status == 400
            assert reason(said).startswith("The JSON has 1,000,003 lists and objects; at most 1,000,000 are accepted.")


@pytest.mark.parametrize("kind", ["application/octet-stream", ""])
def test_a_file_needs_no_content_type(kind: str, busy: Running) -> None:
    headers = {"Content-Type": kind} if kind else {}
    status, _, body = busy.call("POST", "/v1/models/model:explain", png(90), headers)
    assert (status, busy.explain(png(90))[0]) == (200, 200)
    assert "explanations" in json.loads(body)


def test_the_log_says_why_there_is_no_answer(busy: Running) -> None:
    busy.explain(png(), query="?class=nonsense", X_Request_ID="with a reason".replace(" ", "-"))
    busy.wait(lambda: any(line.get("request_id") == "with-a-reason" for line in busy.lines))
    (line,) = (line for line in busy.lines if line.get("request_id") == "with-a-reason")
    assert str(line["error"]).startswith("Unknown class 'nonsense'")


def test_the_log_says_what_was_assumed(busy: Running) -> None:
    (line,) = (line for line in busy.lines if str(line["message"]).startswith("preprocessing assumed"))
    assert str(line["message"]).startswith("preprocessing assumed: torchvision's ImageNet settings")
    assert (line["level"], line["model"]) == ("WARNING", "model")


def test_photographs_in_one_request(busy: Running) -> None:
    instance = {"image": {"b64": base64.b64encode(png()).decode()}}
    for number, expected in ((3, 200), (4, 400)):
        status, _, body = busy.call(
            "POST",
            "/v1/models/model:explain",
            json.dumps({"instances": [instance] * number}).encode(),
            {"Content-Type": "application/json"},
        )
        assert status == expected
    assert reason(body) == "There are 4 photographs; 1 to 3 were expected in one request."


def test_a_run_that_takes_too_long_is_ended(busy: Running) -> None:
    status, _, body = busy.explain(png(WHITE))
    assert status == 504
    assert reason(body).startswith("No answer within 1.5 s: ")
    # The network's one thread is free again: this one would wait behind it for ever.
    all_is_well(busy)


def test_a_queue_that_is_full(busy: Running) -> None:
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: busy.explain(png(WHITE)), range(12)))
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {429, 504}
    assert statuses.count(504) <= 8  # four at a time, twice if some came late
    for status, headers, body in found:
        if status == 429:
            assert int(headers["retry-after"]) >= 1
            assert "photographs are waiting already, and the limit is 4" in reason(body)
    all_is_well(busy)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/models/model:explain HTTP/1.1\r\nHost: [::1]\r\nX-Slow: "])
def test_a_client_that_does_not_finish_its_headers_is_let_go(sent: bytes, busy: Running) -> None:
    with busy.connect() as connection:
        connection.sendall(sent)
        for _ in range(40):  # a drop at a time keeps nobody waiting for longer
            try:
                connection.sendall(b"a" if sent else b"")
                connection.settimeout(0.25)
                if connection.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection is still open after ten seconds")
    all_is_well(busy)


def test_a_client_that_does_not_finish_its_body_is_told(busy: Running) -> None:
    answer = send(busy, b"POST /v1/models/model:explain HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 100\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The body did not arrive within 1.5 s." in answer
    all_is_well(busy)


@pytest.fixture
def calls(busy: Running) -> Iterator[Callable[..., Any]]:
    """The same server over gRPC: takes pictures and a deadline."""
    with grpc.insecure_channel(f"127.0.0.1:{busy.grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)

        def infer(*pictures: bytes, timeout: float = PATIENCE_S) -> Any:
            given = InferInput("encoded_image", [len(pictures)], "BYTES")
            given.set_data_from_numpy(np.array(pictures, dtype=object))
            return stub.ModelInfer(InferRequest("model", [given]).to_grpc(), timeout=timeout)

        yield infer


@pytest.mark.parametrize(
    ("pictures", "code", "message"),
    [
        ([png(WHITE)], grpc.StatusCode.DEADLINE_EXCEEDED, "No answer within 1.5 s"),
        ([png()] * 4, grpc.StatusCode.INVALID_ARGUMENT, "1 to 3 were expected"),
        ([b"x" * (300 * KB)], grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max"),
        ([b"no image"], grpc.StatusCode.INVALID_ARGUMENT, "is not an image that can be read"),
    ],
)
def test_the_same_over_grpc(pictures: list[bytes], code: grpc.StatusCode, message: str, calls, busy: Running) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        calls(*pictures)
    assert raised.value.code() == code
    assert message in raised.value.details()
    assert calls(png()).outputs
    all_is_well(busy)


def test_a_queue_that_is_full_over_grpc(calls, busy: Running) -> None:
    def code(_: int) -> tuple[object, str | None]:
        with pytest.raises(grpc.RpcError) as raised:
            calls(png(WHITE))
        return raised.value.code(), dict(raised.value.trailing_metadata() or ()).get("retry-after")

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(code, range(12)))
    assert {entry[0] for entry in found} == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(int(after) >= 1 for status, after in found if status == grpc.StatusCode.RESOURCE_EXHAUSTED)
    all_is_well(busy)


def test_a_deadline_of_the_clients_own(tmp_path: Path) -> None:
    with (
        running("--model", str(busy_model(tmp_path, 1e15)), "--timeout", "300", grpc=True) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        given = InferInput("encoded_image", [1], "BYTES")
        given.set_data_from_numpy(np.array([png(WHITE)], dtype=object))
        request = InferRequest("model", [given]).to_grpc()
        with pytest.raises(grpc.RpcError) as raised:
            GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=1)
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        all_is_well(server)


def test_headers_without_end(busy: Running) -> None:
    answer = send(busy, b"GET / HTTP/1.1\r\nHost: [::1]\r\n", *[b"X-More: " + b"a" * 1000 + b"\r\n"] * 200)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
    all_is_well(busy)


HEALTH = ("/v2/health/live", "/v2/health/ready", "/v1/models/model", "/v2/models/model/ready", "/metrics")


def test_connections_that_work_are_counted(busy: Running) -> None:
    """Health is answered all the same."""
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(busy.connect()).sendall(HEAD % 1000)
        busy.wait(lambda: busy.call("GET", "/v2/models")[0] == 503)
        status, headers, body = busy.call("GET", "/v2/models")
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert reason(body) == "40 connections are being answered, which is the limit; retry."
        for path in HEALTH:
            assert busy.call("GET", path)[0] == 200
    busy.wait(lambda: busy.call("GET", "/v2/models")[0] == 200)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: ", GET])
def test_connections_that_wait_make_room(sent: bytes, busy: Running) -> None:
    """Whether they sent nothing, or not all, or have their answer: those that waited longest are closed."""
    before = sockets(busy)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(busy.connect()) for _ in range(200)]
        for connection in opened:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
        assert busy.explain(png())[0] == 200
        assert sockets(busy) <= before + 40 + SPARE
        if sent == GET:  # the newest is open and works
            opened[-1].recv(1 << 16)
            opened[-1].sendall(GET)
            assert opened[-1].recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    all_is_well(busy)


def test_health_takes_no_body(busy: Running) -> None:
    for path in HEALTH:
        assert busy.call("GET", path, b"x")[0] == 413


def test_a_client_that_leaves_is_not_worked_for(tmp_path: Path) -> None:
    with running("--model", str(busy_model(tmp_path, 1e15)), "--timeout", "300") as server:
        for _ in range(3):
            with server.connect() as connection:
                connection.sendall(HEAD % len(png(WHITE)) + png(WHITE))
                server.wait(lambda: server.figure("secam_pending_images") == 1)
            server.wait(lambda: server.figure("secam_pending_images") == 0)
        assert server.explain(png())[0] == 200

        def statuses() -> list[object]:
            return [line["status"] for line in server.lines if line.get("path", "").endswith(":explain")]

        server.wait(lambda: len(statuses()) == 4)
        assert statuses() == [499] * 3 + [200]


def test_requests_of_one_batch_get_their_own_answers(tmp_path: Path, chelsea: np.ndarray) -> None:
    """While a long one runs, others gather; they share a batch though they ask for different classes."""
    model = busy_model(tmp_path, 5e6)
    pictures = [encoded(np.roll(chelsea[:100, :100], 10 * turn, axis=1)) for turn in range(6)]
    with running("--model", str(model)) as server, ThreadPoolExecutor(8) as pool:
        alone = [server.explain(picture, query=f"?class={turn % 5}")[2] for turn, picture in enumerate(pictures)]
        long = pool.submit(server.explain, png(WHITE))
        server.wait(lambda: server.figure("secam_pending_images") == 1)
        found = list(pool.map(lambda turn: server.explain(pictures[turn], query=f"?class={turn % 5}")[2], range(6)))
        assert long.result(PATIENCE_S)[0] == 200
        for one, other in zip(alone, found, strict=True):
            (first,), (second,) = json.loads(one)["explanations"], json.loads(other)["explanations"]
            for part in (first, second):
                del part["timings_ms"]
            for before, after in zip(first["classes"], second["classes"], strict=True):
                assert before["index"] == after["index"]
                for a, b in zip(before["superpixels"], after["superpixels"], strict=True):
                    assert a["contribution"] == pytest.approx(b["contribution"], abs=1e-5)
        sizes = [line["batch_size"] for line in server.lines if "batch_size" in line]
        assert max(sizes) > 1


@pytest.mark.parametrize("more", [b"\r\n", b"GET / HTTP/1.1\r\nX: "])
def test_what_follows_an_answer_and_is_no_request_is_not_waited_for(more: bytes, busy: Running) -> None:
    with busy.connect() as connection:
        connection.sendall(GET + more)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.sendall(more)
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionError:
            pass
    all_is_well(busy)


@pytest.mark.parametrize("trailers", [b"a:\r\n" * (1 << 14), b"a: " + b"x" * (1 << 16)])
def test_trailers_without_end(trailers: bytes, busy: Running) -> None:
    before = memory_kb(busy)
    head = b"POST /v1/models/model:explain HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    send(busy, head, *[trailers] * 300)
    assert memory_kb(busy) < before + 20_000
    all_is_well(busy)


def sockets(server: Running) -> int:
    count = 0
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def test_a_client_that_does_not_take_its_answer() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    body = encoded(noise)
    head = HEAD.replace(b"explain", b"explain?class=top-500&n_segments=400") % len(body)
    options = ("--model-name", "model", "--client-timeout", "1", "--timeout", "4")
    with running(*options) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = sockets(server)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(head + body)
        server.wait(lambda: any(line.get("status") == 200 and line.get("bytes") for line in server.lines))
        server.wait(lambda: sockets(server) <= before)


def test_who_has_no_key_fills_no_memory(tmp_path: Path) -> None:
    model = busy_model(tmp_path, 1.0)
    (tmp_path / "keys").write_text("secret")
    with running("--model", str(model), "--api-key-file", str(tmp_path / "keys")) as server:
        for path in ("/", "/page/x", "/v2/health/live"):
            assert server.call("POST", path, b"x")[0] == 413
            assert server.call("GET", path)[0] in (200, 404)


@pytest.mark.parametrize("path", ["ModelInfer", "ServerLive"])
def test_a_message_that_does_not_end_over_grpc(path: str, busy: Running) -> None:
    """It is given up; health does not wait for it."""
    end = b"did not arrive within 1.5 s" if path == "ModelInfer" else b"\x00\x00\x00\x00\x02\x08\x01"  # live: true

    def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
        return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body

    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/inference.GRPCInferenceService/{path}",
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    headers = b"".join(b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair) for pair in fields.items())
    data, head, settings = 0, 1, 4
    part = b"\0" + (1000).to_bytes(4, "big") + b"x" * 10
    with socket.create_connection(("127.0.0.1", busy.grpc_port), timeout=PATIENCE_S) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(settings, 0, 0, b"")
            + frame(settings, 1, 0, b"")
            + frame(head, 4, 1, headers)
            + frame(data, 0, 1, part)
        )
        received = b""
        while end not in received.replace(b"%20", b" "):
            received += connection.recv(1 << 16)
    all_is_well(busy)


def test_lists_without_end_over_grpc(busy: Running) -> None:
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

    request = ModelInferRequest(model_name="model")
    for _ in range(101):
        request.outputs.add()
    with grpc.insecure_channel(f"127.0.0.1:{busy.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=PATIENCE_S)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "'outputs' has 101 entries; at most 100 are accepted."
