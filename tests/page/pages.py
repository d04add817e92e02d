"""What tests do with the page, and what they read from it."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["encoded", "give", "notice", "numbers", "place", "running", "saved", "text"]

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[str]:
    """A server at work; its address."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def encoded(image: Image.Image, name: str = "made.png", **options: Any) -> dict[str, Any]:
    """A picture as a file that can be picked."""
    buffer = io.BytesIO()
    image.save(buffer, format=_FORMATS[Path(name).suffix], **options)
    return {"name": name, "mimeType": "image/*", "buffer": buffer.getvalue()}


def give(page: Any, photograph: Path | dict[str, Any]) -> None:
    """Pick a photograph; wait for its explanation, or for the words that refuse it."""
    page.set_input_files("#file", photograph)
    page.wait_for_selector("body[aria-busy=false]")


def text(page: Any, selector: str) -> str:
    return page.locator(selector).first.text_content()


def notice(page: Any) -> str:
    """The words of a refusal, once they are there."""
    page.wait_for_selector("#notice", state="visible")
    return text(page, "#notice")


def saved(page: Any, selector: str, folder: Path) -> Path:
    """What a button gives to save."""
    with page.expect_download() as download:
        page.locator(selector).first.click()
    target = folder / download.value.suggested_filename
    download.value.save_as(target)
    return target


def numbers(page: Any, folder: Path) -> dict[str, Any]:
    """The page's JSON."""
    return json.loads(saved(page, "#numbers", folder).read_text(encoding="utf-8"))


def place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a place on the picture, whose lower right corner is (1, 1), lies on the screen."""
    box = page.locator(".pointer").first.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]
