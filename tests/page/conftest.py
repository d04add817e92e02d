"""The page on a server of its own, and Debian's browser looking at it."""

from __future__ import annotations

import functools
import http.server
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import OpenPage, give, running

from secam_onnx.default_model import default_model
from secam_onnx.page import MODEL, PageServer, model_for_browsers, page_files, write_page


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


@pytest.fixture
def open_page(visit: OpenPage, address: str) -> OpenPage:
    """Open the page, ready to explain."""

    def open_(where: str = address, **settings: Any) -> Any:
        return visit(where, **settings)

    return open_


@pytest.fixture
def explained(open_page: OpenPage, photo: Path) -> Any:
    """The page with the cat."""
    page = open_page()
    give(page, photo)
    return page
