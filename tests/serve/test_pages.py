"""What a server sends of the page, to whom, and that it sends nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

pytest.importorskip("kserve")

from servers import Running, running
from tiny_models import classifier

from secam_onnx.page.content import page_files, served_files

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = {"X-API-Key": "key"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    onnx.save(classifier(classes=4), tmp_path_factory.mktemp("model") / "small.onnx")
    return next(tmp_path_factory.getbasetemp().glob("model*/small.onnx"))


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    keys = model.parent / "keys"
    keys.write_text("key\n", encoding="utf-8")
    with running("--model", str(model), "--api-key-file", str(keys)) as found:
        yield found


def test_files_and_their_types(server: Running) -> None:
    """They need no key."""
    kinds = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
    files = served_files()
    assert {"style.css", "view.js", "served/main.js"} <= set(files)
    for name, file in files.items():
        status, headers, content = server.call("GET", f"/page/{name}")
        assert (status, content) == (200, file.read_bytes())
        assert headers["content-type"] == kinds[file.suffix]
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        head = server.call("HEAD", f"/page/{name}")
        assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(content)), b"")


def test_the_page_is_for_browsers(server: Running) -> None:
    status, headers, body = server.call("GET", "/", headers=HTML)
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["vary"] == "Accept"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert body.startswith(b"<!doctype html>")
    # As KServe's own server answers there, and its clients expect.
    status, headers, body = server.call("GET", "/")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["status"] == "alive"
    assert json.loads(body)["name"] == "secam-onnx"


@pytest.mark.parametrize(
    "path",
    [
        *("/page/", "/page/index.html", "/page/main.js", "/page/engine.js", "/page/vendor/ort.js", "/page/model.onnx"),
        *(
            "/page/../web_server.py",
            "/page/web_server.py",
            "/page/%2e%2e/errors.py",
            "/page//etc/passwd",
            "/page/served/",
        ),
    ],
)
def test_there_is_nothing_else(path: str, server: Running) -> None:
    status, _, body = server.call("GET", path, headers=KEY)
    assert status == 404
    assert b"import" not in body


def test_the_page_asks_for_nothing_else(server: Running) -> None:
    """All that its files name is among them."""
    _, _, html = server.call("GET", "/", headers=HTML)
    texts = {
        "": html.decode(),
        **{f"page/{name}": file.read_text(encoding="utf-8") for name, file in served_files().items()},
    }
    for address, text in texts.items():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        for named in re.findall(r"""(?:src=|href=|from |import |URL\()"(?!data:)([^"#]+)""", text):
            parts = [*address.split("/")[:-1], *named.split("/")]
            while ".." in parts:
                at = parts.index("..")
                del parts[at - 1 : at + 1]
            assert "/".join(part for part in parts if part != ".") in texts, (address, named)


def test_both_pages_share_their_code() -> None:
    assert set(served_files()) - set(page_files()) == {f"served/{name}.js" for name in SERVED}
    assert set(page_files()) - set(served_files()) >= {"main.js", "engine.js", "worker.js", "metadata.js", "index.html"}


SERVED = ("key", "main", "remote", "server", "tensors")


def test_what_is_said_of_models_needs_a_key(server: Running) -> None:
    assert server.call("GET", "/models.json")[0] == 401
    status, headers, body = server.call("GET", "/models.json", headers=KEY)
    assert (status, headers["content-type"]) == (200, "application/json")
    found = json.loads(body)
    assert found["max_body_bytes"] == 32 << 20
    assert found["timeout_s"] > 30
    (model,) = found["models"]
    assert (model["name"], model["ready"]) == ("small", True)
    assert model["n_classes"] == 4
    assert model["labels"] == [f"class {index}" for index in range(4)]
    assert model["method"]["head"] == "gap + fc"


def test_a_server_without_the_page(model: Path) -> None:
    with running("--model", str(model), "--no-page") as server:
        status, headers, body = server.call("GET", "/", headers=HTML)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body)["name"] == "secam-onnx"
        for path in ("/page/view.js", "/models.json"):
            assert server.call("GET", path)[0] == 404
