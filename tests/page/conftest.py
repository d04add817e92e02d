"""The page on a server of its own, and Debian's browser looking at it."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import give, running

from secam_onnx.page import MODEL, PageServer, model_for_browsers, page_files, write_page
from secam_onnx.sidecars import default_model

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *(
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
    ),
    *("--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]


@pytest.fixture(scope="session")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as the page takes it."""
    return model_for_browsers(default_model(), tmp_path_factory.mktemp("fused"))


@pytest.fixture(scope="session")
def address(fused: Path) -> Iterator[str]:
    with running(PageServer({**page_files(), MODEL: fused}, 0)) as found:
        yield found


@pytest.fixture(scope="session")
def plain_address(fused: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as static files below a folder, from a server that knows nothing of it."""
    folder = tmp_path_factory.mktemp("static")
    write_page(folder / "deep" / "page", fused)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as found:
        yield f"{found}deep/page/"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[OpenPage]:
    """Open the page, ready to explain; at the end nothing went wrong in it, and no other host was asked."""
    with contextlib.ExitStack() as stack:
        complaints: list[str] = []
        asked: set[str] = set()

        def open_(where: str = address, *, wait: bool = True, **settings: Any) -> Any:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
            page.on("request", lambda request: asked.add(request.url))
            page.goto(where)
            if wait:
                page.wait_for_selector("#progress", state="hidden")
            return page

        yield open_
        assert not complaints
        assert {url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:", "data:"))} == set()


@pytest.fixture
def explained(open_page: OpenPage, photo: Path) -> Any:
    """The page with the cat."""
    page = open_page()
    give(page, photo)
    return page
