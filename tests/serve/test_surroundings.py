"""Servers where little is allowed: few files, no temporary folder, no user's entry, IPv6."""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
from pathlib import Path

import pytest

pytest.importorskip("kserve")

import tiny_models
from servers import PATIENCE_S, Running, png, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and namespaces of Linux")

WORKERS = ["1", pytest.param("2", marks=pytest.mark.full)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_models.classifier().SerializeToString())
    return path


@pytest.mark.parametrize("workers", WORKERS)
def test_sixty_four_open_files(workers: str, model: Path) -> None:
    """More clients than files: they are held up or hung up on, and when they have left it is as before."""
    with running(
        "--model", str(model), "--workers", workers, grpc=True, before=("prlimit", "--nofile=64:64")
    ) as server:
        assert server.explain(png(90))[0] == 200
        clients = [server.connect() for _ in range(150)]
        for client in clients:
            client.close()
        server.wait(lambda: answers(server))
        assert server.is_ready()
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.broken)


def answers(server: Running) -> bool:
    """Whether it explains a picture; connections behind those that left may be hung up on."""
    try:
        return server.explain(png(90))[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("workers", WORKERS)
def test_without_a_folder_for_temporary_files(workers: str, model: Path) -> None:
    """TMPDIR names none; the system's own is taken."""
    with running("--model", str(model), "--workers", workers, environment={"TMPDIR": "/nonexistent"}) as server:
        assert server.explain(png(90))[0] == 200


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("workers", WORKERS)
def test_ipv6(workers: str, model: Path) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with running("--model", str(model), "--host", "::1", "--workers", workers, grpc=True, wait=False) as server:

        def explained() -> bool:
            connection = http.client.HTTPConnection("::1", server.port, timeout=PATIENCE_S)
            try:
                connection.request("POST", "/v1/models/model:explain", png(90), {"Content-Type": "image/png"})
                return connection.getresponse().status == 200
            except ConnectionError:  # with several processes nobody listens before they are ready
                return False
            finally:
                connection.close()

        server.wait(explained)
        with grpc.insecure_channel(f"[::1]:{server.grpc_port}") as channel:
            assert GRPCInferenceServiceStub(channel).ServerReady(messages.ServerReadyRequest()).ready
        assert server.stop() == 0


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare here")
def test_a_user_without_an_entry(model: Path) -> None:
    """As in a container that is started with any number as its user, and without HOME."""
    before = ("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", "unshare", "--user", "--map-user=12345")
    with running("--model", str(model), before=before) as server:
        assert server.explain(png(90))[0] == 200
        assert server.stop() == 0
