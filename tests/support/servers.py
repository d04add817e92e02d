"""Real servers for the tests, and models that keep them busy for as long as a test wants."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from processes import UNMEASURED

PATIENCE_S = 60.0
WHITE, BLACK = 255, 0


@dataclass
class Running:
    """A server process; `host` is what requests are sent to, `lines` what it logged."""

    process: subprocess.Popen[str]
    port: int
    grpc_port: int | None
    lines: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def explain(self, image: bytes, name: str = "model", query: str = "", **headers: str) -> tuple[int, dict, bytes]:
        kind = {"Content-Type": "image/png"} | {key.replace("_", "-"): value for key, value in headers.items()}
        return self.call("POST", f"/v1/models/{name}:explain{query}", image, kind)

    def figure(self, name: str) -> float:
        """The sum of a metric over its labels."""
        _, _, text = self.call("GET", "/metrics")
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text.decode(), re.MULTILINE))

    def wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines[-20:]
            time.sleep(0.02)

    def is_ready(self) -> bool:
        return self.call("GET", "/v2/health/ready")[0] == 200

    def workers(self) -> list[int]:
        """The processes that a supervisor has started."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
        return [int(child) for child in text.split() if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def descendants(self) -> list[int]:
        """All processes that the server has started, and that these have started."""

        def below(pid: int) -> list[int]:
            found: list[int] = []
            for thread in Path(f"/proc/{pid}/task").iterdir():
                children = [int(child) for child in (thread / "children").read_text(encoding="utf-8").split()]
                found += [each for child in children for each in (child, *below(child))]
            return found

        return below(self.process.pid)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def running(
    *options: str,
    wait: bool = True,
    grpc: bool = False,
    cwd: Path | None = None,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A server on free ports; it is killed at the end if it still runs. `before` is a command that starts it."""
    calls = ("--grpc-port", "0") if grpc else ("--no-grpc",)
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "secam_onnx", "serve", "--port", "0", *calls, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=UNMEASURED | dict(environment or {}), cwd=cwd,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    server = Running(process, 0, None)

    def read() -> None:
        for line in process.stderr:
            try:
                server.lines.append(json.loads(line))
            except ValueError:
                server.broken.append(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        first = process.stdout.readline()
        match = re.match(r"http://\S+:(\d+)/(?: and gRPC on \S+:(\d+))?", first)
        if match is None:
            process.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
            raise AssertionError(f"did not start: {first}{server.broken}{server.lines}")
        server.port, server.grpc_port = int(match[1]), int(match[2]) if match[2] else None
        if wait:
            server.wait(server.is_ready)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
        process.stdout.close()
        process.stderr.close()


def png(level: int = BLACK, size: tuple[int, int] = (24, 24)) -> bytes:
    """A picture of one grey."""
    return encoded(np.full((*size, 3), level, dtype=np.uint8))


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def busy_model(folder: Path, turns: float, *, of_dark: bool = False) -> Path:
    """A classifier that goes round a loop: `turns` times for a picture all white, and not at all if any pixel is black.

    `of_dark` turns it around: `turns` times if any pixel is black, as in the first picture that a server explains.
    """
    weights = {
        "kernel": np.random.default_rng(0).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "fc": np.random.default_rng(1).normal(0, 0.5, (5, 4)).astype(np.float32),
        "turns": np.array(turns, dtype=np.float64),
        "zero": np.array(0, dtype=np.float32),
        "one": np.array(1, dtype=np.float32),
        "go": np.array(True),
    }
    make = helper.make_node
    body = helper.make_graph(
        [make("Identity", ["on"], ["more"]), make("Cos", ["v"], ["w"])],
        "turn",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        # Preprocessed, black is about -2 and white 2.
        make("ReduceMin", ["x"], ["least"], keepdims=0),
        make("Neg" if of_dark else "Identity", ["least"], ["signed"]),
        make("Clip", ["signed", "zero", "one"], ["share"]),
        make("Cast", ["share"], ["exact"], to=TensorProto.DOUBLE),
        make("Mul", ["exact", "turns"], ["many"]),
        make("Cast", ["many"], ["count"], to=TensorProto.INT64),
        make("Unsqueeze", ["least", "axis"], ["begin"]),
        make("Loop", ["count", "go", "begin"], ["round"], body=body),
        # What comes of the loop changes nothing, but is needed.
        make("Mul", ["round", "zero"], ["nothing"]),
        make("Add", ["x", "nothing"], ["x2"]),
        make("Conv", ["x2", "kernel"], ["conv"], pads=[1, 1, 1, 1], strides=[4, 4]),
        make("Relu", ["conv"], ["features"]),
        make("GlobalAveragePool", ["features"], ["pooled"]),
        make("Flatten", ["pooled"], ["flat"]),
        make("Gemm", ["flat", "fc"], ["logits"], transB=1),
    ]
    weights["axis"] = np.array([0], dtype=np.int64)
    graph = helper.make_graph(
        nodes,
        "busy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 24, 24])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def stuck_model(folder: Path) -> Path:
    """A classifier that stays in one node for hours for a picture all white, and not at all if any pixel is black."""
    model = onnx.load(busy_model(folder, 4))
    for node in model.graph.node:
        if node.op_type == "Loop":
            place, (count, _, begin), (round_,) = list(model.graph.node).index(node), node.input, node.output
    model.graph.node.pop(place)
    text = f"""<ir_version: 8, opset_import: ["": 18]> g (int64 {count}, float[1] {begin}) => (float[1] {round_})
        <int64 window = {{1000}}, int64[2] one_one = {{1, 1}}> {{
          more = Mul ({count}, window) edge = Add (more, window) axes = Constant <value_ints = [0]> ()
          side = Unsqueeze (edge, axes) shape = Concat <axis = 0> (one_one, side, side) plane = ConstantOfShape (shape)
          widest = MaxPool <kernel_shape = [1000, 1000]> (plane) most = ReduceMax <keepdims = 0> (widest)
          {round_} = Add (most, {begin}) }}"""
    window = onnx.parser.parse_graph(text.partition("> ")[2])
    for offset, node in enumerate(window.node):
        model.graph.node.insert(place + offset, node)
    model.graph.initializer.extend(window.initializer)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path
