"""A web page of another site, in a browser, against a server on this machine: it reads nothing and runs nothing."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kserve")

from pages import ARGUMENTS, CHROMIUM
from pages import running as serving
from servers import Running, running
from tiny_models import classifier

from secam_onnx.page import PageServer

MODEL = "/v1/models/model"
GETS = ("/", "/page/view.js", "/page/style.css", "/models.json", "/metrics", "/openapi.json", "/v2", MODEL)
POSTS = (f"{MODEL}:explain", f"{MODEL}:predict", "/v2/models/model/infer", "/v2/repository/models/model/unload")
# Newer browsers protect loopback themselves, by asking the user; others do not.
LOOSE = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
NAME = "rebound.example"  # the attacker's, which leads to this machine

# Everything that a page can do without being asked by anybody; the result is what it could read.
ATTACK = """
async ([server, gets, posts]) => {
  const read = [];
  const picture = await new Promise((done) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
    canvas.getContext("2d").fillRect(0, 0, 9, 9);
    canvas.toBlob(done);
  });
  const json = new Blob([JSON.stringify({ instances: [] })]);
  const asked = async (path, options) => {
    try {
      const answer = await fetch(server + path, options);
      if (answer.type !== "opaque") read.push([path, options, answer.status, await answer.text()]);
    } catch {}
  };
  for (const mode of ["cors", "no-cors"]) {
    for (const path of gets) await asked(path, { mode });
    for (const path of posts) {
      for (const body of [picture, json, await picture.arrayBuffer(), new URLSearchParams({ a: 1 }), "{}"]) {
        await asked(path, { mode, method: "POST", body });
        await asked(path, { mode, method: "POST", body, credentials: "include" });
      }
      await asked(path, { mode, method: "POST", body: picture, headers: { "Content-Type": "text/plain" } });
      await asked(path, { mode, method: "POST", body: picture, headers: { "Content-Type": "image/png" } });
    }
  }
  for (const path of posts) {
    for (const body of [picture, await picture.arrayBuffer(), "{}"]) navigator.sendBeacon(server + path, body);
  }
  const loaded = (tag, attributes) =>
    new Promise((done) => {
      const element = Object.assign(document.createElement(tag), attributes);
      element.onload = () => (read.push([tag, attributes]), done());
      element.onerror = done;
      document.head.append(element);
      setTimeout(done, 1000);
    });
  for (const path of gets) {
    await loaded("img", { src: server + path });
    await loaded("script", { src: server + path });
    await loaded("link", { rel: "stylesheet", href: server + path });
  }
  for (const path of gets.slice(3)) {
    const frame = Object.assign(document.createElement("iframe"), { src: server + path });
    document.body.append(frame);
    await new Promise((done) => ((frame.onload = done), setTimeout(done, 1000)));
    try {
      if (frame.contentDocument.body.textContent) read.push(["iframe", path, frame.contentDocument.body.textContent]);
    } catch {}
  }
  await new Promise((done) => {
    const source = new EventSource(`${server}/metrics`);
    source.onopen = () => (read.push(["events"]), done());
    source.onerror = () => (source.close(), done());
  });
  await new Promise((done) => {
    const socket = new WebSocket(`${server.replace("http", "ws")}/v2`);
    socket.onopen = () => (read.push(["socket"]), done());
    socket.onerror = done;
  });
  for (const path of posts) {
    for (const enctype of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]) {
      const target = Object.assign(document.createElement("iframe"), { name: `form${document.forms.length}` });
      const form = Object.assign(document.createElement("form"), {
        method: "POST", action: server + path, enctype, target: target.name,
      });
      form.append(Object.assign(document.createElement("input"), { name: '{"instances": [', value: "]}" }));
      document.body.append(target, form);
      form.submit();
      await new Promise((done) => ((target.onload = done), setTimeout(done, 1000)));
    }
  }
  return read;
}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(classifier(classes=4).SerializeToString())
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    with running("--model", str(model)) as found:
        yield found


@pytest.fixture(scope="module")
def rebinding(browser: Any) -> Iterator[Any]:
    """A browser in which the attacker's name leads to this machine."""
    rule = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP *.{NAME} 127.0.0.1"
    found = browser.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rule, LOOSE])
    yield found
    found.close()


@pytest.fixture(scope="module")
def evil() -> Iterator[int]:
    """The port of an attacker's server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as the base class calls it
            content = b"<!doctype html><title>Kittens</title><body>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        yield int(address.rstrip("/").rpartition(":")[2])


def attack(browser: Any, page: str, target: str, gets: tuple[str, ...] = GETS, posts: tuple[str, ...] = POSTS) -> Any:
    context = browser.new_context()
    try:
        tab = context.new_page()
        # As if the name had led elsewhere when this page was loaded.
        tab.route("**/kittens", lambda route: route.fulfill(content_type="text/html", body="<title>Kittens</title>"))
        tab.goto(page)
        return tab.evaluate(ATTACK, [target, list(gets), list(posts)])
    finally:
        context.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("origin", ["127.0.0.1", NAME])
def test_a_page_of_another_origin(origin: str, name: str, rebinding: Any, evil: int, server: Running) -> None:
    before = len(server.lines)
    read = attack(rebinding, f"http://{origin}:{evil}/", f"http://{name}:{server.port}")
    assert read == []
    check_log(server, before, 403)


def test_a_page_whose_name_leads_here(rebinding: Any, server: Running) -> None:
    """Its browser takes the server for the site that the page came from, and lets it read every answer."""
    before = len(server.lines)
    read = attack(rebinding, f"http://{NAME}:{server.port}/kittens", f"http://{NAME}:{server.port}")
    assert {entry[2] for entry in read if entry[0].startswith("/")} == {421}
    assert all("no name of this server" in json.dumps(entry) for entry in read), read
    check_log(server, before, 421)


def check_log(server: Running, before: int, status: int) -> None:
    """Every route was asked, and nothing was answered."""
    server.wait(lambda: len([line for line in server.lines[before:] if line.get("method") == "POST"]) >= 40)
    own = "/v2/health/ready"  # of the test, before it began
    asked = [line for line in server.lines[before:] if line.get("message") == "request" and line["path"] != own]
    assert [line for line in asked if line["status"] != status] == []
    assert {*GETS, *POSTS} <= {line["path"] for line in asked}
    assert not [line for line in asked if "model" in line]
    assert not server.broken


def test_the_page_without_a_server(rebinding: Any, evil: int, model: Path) -> None:
    files = {"index.html": Path(__file__), "model.onnx": model}
    with serving(PageServer(files, 0)) as address:
        port = address.rstrip("/").rpartition(":")[2]
        paths = ("/", "/model.onnx", "/index.html")
        for origin, target in ((f"127.0.0.1:{evil}", f"localhost:{port}"), (f"{NAME}:{evil}", f"127.0.0.1:{port}")):
            assert attack(rebinding, f"http://{origin}/", f"http://{target}", paths, ()) == []
        read = attack(rebinding, f"http://{NAME}:{port}/kittens", f"http://{NAME}:{port}", paths, ())
        assert read
        assert all("no name of this server" in json.dumps(entry) for entry in read), read
