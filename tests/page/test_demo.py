"""`secam-onnx demo` without a browser: the server, the files it writes, and its words."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from pages import running
from processes import UNMEASURED
from tiny_models import classifier

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.errors import ModelError, OptionError, OutputError
from secam_onnx.export import export_model, open_source
from secam_onnx.fusion import Fusion
from secam_onnx.page import MODEL, PageServer, model_for_browsers, page_files, write_page

VENDOR = page_files()["vendor/vendored.json"].parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier, as the page takes it."""
    folder = tmp_path_factory.mktemp("model")
    onnx.save(classifier(classes=4), folder / "plain.onnx")
    return model_for_browsers(folder / "plain.onnx", folder)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[PageServer]:
    found = PageServer({**page_files(), MODEL: model}, 0)
    with running(found):
        yield found


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/index.html?from=somewhere", "text/html"),
        ("/style.css", "text/css"),
        ("/vendor/ort.js", "text/javascript"),
        ("/vendor/ort.wasm.gz", "application/gzip"),
        ("/model.onnx", "application/octet-stream"),
    ],
)
def test_files_and_their_types(server: PageServer, path: str, kind: str) -> None:
    answer = ask(server, path)
    assert answer.status == 200
    assert answer.getheader("Content-Type").split(";")[0] == kind
    assert answer.getheader("Content-Encoding") is None
    assert answer.getheader("Cross-Origin-Opener-Policy") == "same-origin"
    assert answer.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
    content = answer.read()
    assert len(content) == int(answer.getheader("Content-Length"))
    name = path.partition("?")[0].strip("/") or "index.html"
    assert content == server.files[f"/{name}"].read_bytes()
    head = ask(server, path, "HEAD")
    assert (head.status, head.getheader("Content-Length"), head.read()) == (200, str(len(content)), b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/../server.py", "/server.py", "/static.py", "/__init__.py", "/%2e%2e/errors.py", "/vendor/../../errors.py"),
        *("//etc/passwd", "/vendor", "/vendor/", "/model.onnx/", "/."),
    ],
)
def test_there_is_nothing_else(server: PageServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404
    assert b"import" not in answer.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: PageServer, method: str) -> None:
    assert ask(server, "/", method).status == 501


def test_other_names_for_this_machine_are_refused(server: PageServer) -> None:
    """A foreign page could have its name lead here, and read the model."""
    assert ask(server, "/model.onnx", Host="example.com").status == 421
    assert ask(server, "/model.onnx", Host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize("host", ["evil@localhost", "localhost.evil.example", "", "127.1"])
def test_what_is_no_name_of_this_machine(server: PageServer, host: str) -> None:
    assert ask(server, "/model.onnx", Host=host).status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ],
)
def test_pages_of_other_sites_get_nothing(server: PageServer, headers: dict[str, str]) -> None:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    for path in ("/", "/model.onnx", "/main.js"):
        for method in ("GET", "HEAD"):
            answer = ask(server, path, method, **sent)
            assert answer.status == 403
            assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"


def test_a_link_leads_to_the_page(server: PageServer) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(server, "/", **link).status == 200
    assert ask(server, "/model.onnx", **link).status == 403


def test_only_this_machine_is_served(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken(server: PageServer) -> None:
    with pytest.raises(OptionError, match=f"Port {server.server_port} .* choose another"):
        PageServer(page_files(), server.server_port)


def test_a_visitor_who_leaves_early_is_no_error(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(server.server_address) as connection:
        host = f"127.0.0.1:{server.server_port}"
        connection.sendall(f"GET /vendor/ort.wasm.gz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # hang up
    assert ask(server, "/").status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_the_page_asks_for_nothing_else() -> None:
    """All that its files name is there, by relative addresses, so that it works below any folder."""
    files = page_files()
    for name, file in files.items():
        if not name.startswith("vendor/") and file.suffix in (".html", ".js", ".css"):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
            for named in re.findall(r"""(?:src=|href=|from |import |URL\()"(?!data:)([^"#]+)""", text):
                assert named.removeprefix("./") in files
    assert {"index.html", "style.css", "main.js", "worker.js", "vendor/LICENSE"} <= set(files)
    assert not [name for name in files if name.endswith(".py")]


def test_vendored_files_are_what_was_recorded() -> None:
    record = json.loads((VENDOR / "vendored.json").read_text(encoding="utf-8"))
    for name, known in record["unpacked_sha256"].items():
        content = (VENDOR / name).read_bytes()
        unpacked = gzip.decompress(content) if name.endswith(".gz") else content
        assert hashlib.sha256(unpacked).hexdigest() == known
    assert {file.name for file in VENDOR.iterdir()} == {
        *record["unpacked_sha256"], "vendored.json", "LICENSE", "ThirdPartyNotices.txt",
    }  # fmt: skip
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "web-page.md").read_text(encoding="utf-8")
    assert f"{record['package']} {record['version']}" in page


def test_a_fused_model_is_served_without_its_default_classes(tmp_path: Path) -> None:
    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    export_model(open_source(str(tmp_path / "plain.onnx")), tmp_path / "fused.onnx", fusion=Fusion(top_k=2))
    (tmp_path / "served").mkdir()
    ready = model_for_browsers(tmp_path / "fused.onnx", tmp_path / "served")
    sessions = [onnxruntime.InferenceSession(file) for file in (tmp_path / "fused.onnx", ready)]
    height, width = ModelMetadata.of(onnx.load(ready)).fused.size
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    assert [value.name for value in sessions[1].get_inputs()] == ["image", "classes"]
    with pytest.raises(ValueError, match="classes"):
        sessions[1].run(None, {"image": image})
    names = ["class_ids", "segment_contributions"]
    by_default = sessions[0].run(names, {"image": image})
    asked = sessions[1].run(names, {"image": image, "classes": np.array([[-1, -2]])})
    for mine, other in zip(asked, by_default, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_model_above_two_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secam_onnx.page.static.EXTERNAL_DATA_LIMIT", 100)
    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match="more than 2 GB"):
        model_for_browsers(tmp_path / "plain.onnx", tmp_path)


def test_static_files(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "new" / "page"
    write_page(folder, model)
    written = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert written == {*page_files(), MODEL}
    assert (folder / MODEL).read_bytes() == model.read_bytes()
    (folder / "style.css").write_text("old", encoding="utf-8")
    write_page(folder, model)  # an earlier page of ours
    assert (folder / "style.css").read_bytes() == page_files()["style.css"].read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "index.html"])
def test_folders_of_other_things_are_left_alone(tmp_path: Path, model: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="another folder, or use --force"):
        write_page(tmp_path, model)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    write_page(tmp_path, model, force=True)
    assert (tmp_path / MODEL).exists()
    assert (tmp_path / "notes.txt").exists() == (name == "notes.txt")
    with pytest.raises(OutputError, match="is a file"):
        write_page(tmp_path / MODEL, model)


def test_the_command_writes_static_files(tmp_path: Path, run_cli: Any) -> None:
    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    done = run_cli("demo", "--model", "plain.onnx", "--static", "site")
    assert done.returncode == 0, done.stderr
    assert "site" in done.stdout
    assert ModelMetadata.of(onnx.load(tmp_path / "site" / MODEL)).fused is not None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    for arguments in (("--static", "mine"), ("--force",), ("--model", "missing.onnx"), ("--port", "70000")):
        done = run_cli("demo", "--model", "plain.onnx", *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "Error" in done.stderr


def test_the_command_says_that_a_port_is_taken(tmp_path: Path, run_cli: Any) -> None:
    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_cli("demo", "--model", "plain.onnx", "--no-browser", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "choose another" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_command_ends_when_it_is_told(tmp_path: Path, number: signal.Signals, code: int) -> None:
    onnx.save(classifier(classes=4), tmp_path / "plain.onnx")
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-u", "-m", "secam_onnx", "demo", "--model", "plain.onnx", "--no-browser", "--port", "0"]
    environment = {**UNMEASURED, "TMPDIR": str(tmp_path / "temporary")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b"<!doctype html>" in answer.read()
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "temporary").glob("secam-*"))
