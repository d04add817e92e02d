"""A real server in a process of its own, with the default model and a tiny one under two names."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image
from servers import running
from serving import Server

from secam_onnx import Explainer
from secam_onnx.default_model import default_model
from secam_onnx.explanation import Explanation
from secam_onnx.photograph.images import EncodedImage

# Below the defaults, so that little is enough to be too much.
OPTIONS = ("--max-images", "4", "--max-pixels", "1000000", "--max-body-mb", "4", "--timeout", "120")

Start = Callable[..., Server]


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Start a server on free ports, with gRPC; it is stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: Server(stack.enter_context(running(*map(str, arguments), "--no-page", grpc=True)))


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    path.write_bytes(tiny_models.classifier().SerializeToString())
    return path


@pytest.fixture(scope="session")
def server(start: Start, tiny_file: Path) -> Server:
    """The default model as `lite`; a tiny one with 7 classes as `tiny` and `tiny-2.b`."""
    models = (f"lite={default_model()}", f"tiny={tiny_file}", f"tiny-2.b={tiny_file}")
    return start(*(word for model in models for word in ("--model", model)), *OPTIONS)


@pytest.fixture(autouse=True)
def _log_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the server wrote meanwhile, which pytest shows where a test fails."""
    server = request.getfixturevalue("server") if "server" in request.fixturenames else None
    if not isinstance(server, Server):  # a module may have one of its own
        yield
        return
    process = server.process
    before = len(process.lines), len(process.broken)
    yield
    print(*process.lines[before[0] :][-50:], *process.broken[before[1] :][-50:], sep="\n")


@pytest.fixture(scope="session")
def explainers(explainer: Explainer, tiny_file: Path) -> Mapping[str, Explainer]:
    tiny = Explainer(tiny_file, providers="cpu")
    return {"lite": explainer, "tiny": tiny, "tiny-2.b": tiny}


@pytest.fixture(scope="session")
def explained(explainers: Mapping[str, Explainer]) -> Callable[..., Explanation]:
    """What the package itself says of some bytes."""

    def explain(
        model: str, data: bytes | np.ndarray, classes: object = "top-1", segments: int | None = None
    ) -> Explanation:
        explainer = explainers[model]
        if segments is not None:
            segmenter = dataclasses.replace(explainer.segmenter, n_segments=segments)
            explainer = Explainer(explainer.model, providers="cpu", segmenter=segmenter)
        return explainer.explain(EncodedImage("image", data) if isinstance(data, bytes) else data, classes)

    return explain


@pytest.fixture(scope="session")
def photographs(chelsea: np.ndarray) -> Sequence[bytes]:
    """The same cat in three files of different kinds and sizes."""

    def encoded(pixels: np.ndarray, form: str) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form, quality=90)
        return buffer.getvalue()

    return (
        encoded(chelsea, "JPEG"),
        encoded(chelsea[::2, ::2], "PNG"),
        encoded(np.ascontiguousarray(chelsea[50:250, 100:300]), "WEBP"),
    )


@pytest.fixture
def free_port() -> Iterator[int]:
    """One that refuses connections, since nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
