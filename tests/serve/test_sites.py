"""Whose requests a server answers: the forms that a host and an origin have in a request, over raw sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("kserve")

from servers import Running, png, running
from tiny_models import classifier

from secam_onnx.errors import OptionError
from secam_onnx.serve.settings import Settings

PATHS = ("/", "/page/view.js", "/models.json", "/metrics", "/openapi.json", "/v2", "/v2/health/ready", "/v2/models")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(classifier(classes=4).SerializeToString())
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    with running("--model", str(model), "--allowed-host", "why.example.com") as found:
        yield found


def ask(server: Running, *lines: str, line: str = "GET /v2/models HTTP/1.1") -> tuple[int, str]:
    """The status of the answer to these lines, and its body."""
    with server.connect() as connection:
        connection.sendall("\r\n".join([line, *lines, "Connection: close", "", ""]).encode("latin-1"))
        received = b""
        while data := connection.recv(1 << 16):
            received += data
    return int(received[9:12]), received.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8080", "LocalHost:1", "localhost.", "localhost.:8080"),
        *("127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8080", "10.1.2.3:8080", "[2001:db8::1]:80"),
        *("why.example.com", "WHY.example.com.:443"),
    ],
)
def test_names_of_this_server(host: str, server: Running) -> None:
    assert ask(server, f"Host: {host}")[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "localhost.evil.example", "why.example.com.evil.example", "xlocalhost"),
        *("127.0.0.1.evil.example", "0x7f.1", "2130706433", "127.1", "[::1].evil.example", "[localhost]"),
        *("localhost@evil.example", "evil@localhost", "localhost:80@evil.example", "localhost:", "localhost:x"),
        *("", " ", "::1", "[::1", "localhost localhost", "localhost,evil.example", "localhost/", "*", "a" * 9000),
        *("löcalhost", "localhost..", ".localhost", "http://localhost", "\x7f"),
    ],
)
def test_other_names(host: str, server: Running) -> None:
    status, body = ask(server, f"Host: {host}", "X-Forwarded-Host: localhost", "Forwarded: host=localhost")
    assert status in (400, 421)
    assert "efficient" not in body
    assert '"model"' not in body


def test_a_refusal_says_what_to_do(server: Running) -> None:
    status, body = ask(server, "Host: evil.example:8080")
    assert status == 421
    assert json.loads(body)["error"] == (
        "'evil.example' is no name of this server. Use its address, or start it with --allowed-host evil.example if "
        "that name is its own."
    )


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/v1/models/model"])
def test_every_address_asks_for_the_name(path: str, server: Running) -> None:
    assert ask(server, "Host: evil.example", line=f"GET {path} HTTP/1.1")[0] == 421


@pytest.mark.parametrize(
    ("line", "hosts", "status"),
    [
        ("GET /v2/models HTTP/1.1", [], 421),
        ("GET /v2/models HTTP/1.0", [], 200),  # as old probes ask; no browser does
        ("GET /v2/models HTTP/1.0", ["evil.example"], 421),
        ("GET /v2/models HTTP/1.1", ["localhost", "evil.example"], 421),
        ("GET /v2/models HTTP/1.1", ["evil.example", "localhost"], 421),
        ("GET http://evil.example/v2/models HTTP/1.1", ["localhost"], 421),
        ("GET http://user@localhost/v2/models HTTP/1.1", ["localhost"], 421),
        ("GET http://localhost/v2/models HTTP/1.1", ["evil.example"], 200),  # the target counts (RFC 9112, 3.2.2)
        ("GET http://evil.example/v2/models HTTP/1.0", [], 421),
        ("GET //evil.example/v2/models HTTP/1.1", ["localhost"], 421),
    ],
)
def test_targets_and_numbers_of_hosts(line: str, hosts: list[str], status: int, server: Running) -> None:
    assert ask(server, *(f"Host: {host}" for host in hosts), line=line)[0] == status


def test_http_2_is_not_spoken(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9)
        received = connection.recv(1 << 16)
    assert received[:12] in (b"HTTP/1.1 400", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://127.0.0.1"},  # another port is another origin
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "document"},
    ],
)
@pytest.mark.parametrize("kind", [None, "text/plain", "image/png", "application/x-www-form-urlencoded"])
def test_pages_of_other_sites(headers: dict[str, str], kind: str | None, server: Running) -> None:
    host = f"127.0.0.1:{server.port}"
    sent = {name: value.format(host=host) for name, value in headers.items()} | ({"Content-Type": kind} if kind else {})
    status, answered, body = server.call("POST", "/v1/models/model:explain", png(), sent)
    assert status == 403
    assert json.loads(body)["error"].startswith("A web page of another site sent this request")
    assert "access-control-allow-origin" not in answered
    for path in PATHS:
        assert server.call("GET", path, headers=sent)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://{host}"},
        {"Origin": "HTTPS://{host}"},  # a proxy in front speaks TLS
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://why.example.com"},  # one that does not pass the Host on
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_its_own_page_and_programs(headers: dict[str, str], server: Running) -> None:
    host = f"127.0.0.1:{server.port}"
    sent = {name: value.format(host=host) for name, value in headers.items()}
    status, answered, _ = server.call("POST", "/v1/models/model:explain", png(), sent)
    assert status == 200
    assert answered["cross-origin-resource-policy"] == "same-origin"
    assert answered["x-content-type-options"] == "nosniff"


def test_a_link_leads_to_the_page(server: Running) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert server.call("GET", "/", headers={**link, "Accept": "text/html"})[0] == 200
    assert server.call("GET", "/models.json", headers=link)[0] == 403
    assert server.call("POST", "/", headers=link)[0] == 403


def test_no_page_may_ask_whether_it_may(server: Running) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    status, headers, _ = server.call("OPTIONS", "/v1/models/model:explain", headers=asked)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control-")]


def test_all_names_may_be_allowed(model: Path) -> None:
    with running("--model", str(model), "--allowed-host", "*") as server:
        assert ask(server, "Host: anything.example")[0] == 200
        assert server.call("GET", "/v2", headers={"Origin": "http://evil.example"})[0] == 403


@pytest.mark.parametrize("name", ["http://why.example.com", "why.example.com:80", "", "*.example.com", "a b"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(OptionError, match="--allowed-host"):
        Settings({}, allowed_hosts=(name,))


def test_a_server_for_others_knows_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Lab7")
    assert Settings({}).hosts == {"localhost", "127.0.0.1"}
    assert Settings({}, host="0.0.0.0").hosts == {"localhost", "0.0.0.0", "lab7", "lab7.local"}
