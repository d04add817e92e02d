"""Pages in Debian's browser: how tests open them, what they do with them, and what they read from them."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

__all__ = [
    "OpenPage",
    "assert_same_numbers",
    "choose",
    "chromium",
    "encoded",
    "give",
    "notice",
    "numbers",
    "picture",
    "place",
    "readout",
    "running",
    "saved",
    "shows",
    "text",
    "visits",
]

OpenPage = Callable[..., Any]
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
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser, or else the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=20_000)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def visits(browser: Any) -> Iterator[OpenPage]:
    """A function that opens a page, ready to explain; at the end none had an error, and no other host was asked.

    Browsers complain of every answer that is a refusal; `refused` says that there may be some.
    """
    with contextlib.ExitStack() as stack:
        complaints: list[str] = []
        asked: set[str] = set()

        def open_(where: str, *, wait: bool = True, refused: bool = False, **settings: Any) -> Any:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)

            def complain(message: Any) -> None:
                if message.type == "error" and not (refused and message.text.startswith("Failed to load resource")):
                    complaints.append(message.text)

            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", complain)
            page.on("request", lambda request: asked.add(request.url))
            page.goto(where)
            if wait:
                page.wait_for_selector("#progress", state="hidden")
            return page

        yield open_
        assert not complaints
        assert {url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:", "data:"))} == set()


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


def assert_same_numbers(found: dict[str, Any], explanation: Any, tolerance: float = 1e-3) -> None:
    """The page's JSON and an explanation of the same photograph; `tolerance` is relative."""
    known = explanation.to_dict()
    assert [entry["index"] for entry in found["predictions"]] == [entry["index"] for entry in known["predictions"]]
    for name, values in known["geometry"].items():
        assert found["geometry"][name] == pytest.approx(values)
    others = {entry["index"]: entry for entry in known["classes"]}
    for entry in found["classes"]:
        other = others[entry["index"]]
        assert entry["label"] == other["label"]
        for name in ("logit", "probability"):
            assert entry[name] == pytest.approx(other[name], rel=tolerance)
        for name in ("contribution", "score"):
            mine, theirs = (np.array([part[name] for part in each["superpixels"]]) for each in (entry, other))
            np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())
        assert [part["segment_id"] for part in entry["superpixels"]] == [*range(len(other["superpixels"]))]
        assert [part["kept"] for part in entry["superpixels"]] == [part["kept"] for part in other["superpixels"]]
    assert found["completeness_error"] < 1e-5
    assert found["selection"] == known["selection"]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def readout(explanation: Any, label: int, row: int = 0) -> str:
    """What the page says of a superpixel."""
    part, score = explanation.segment_contributions[row][label], explanation.segment_scores[row][label]
    rank = np.argsort(-explanation.segment_scores[row], kind="stable").tolist().index(label) + 1
    signed = [f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") for value in (part, score)]
    signed = ["0" if float(value[1:]) == 0 else value for value in signed]
    way = "against" if part < 0 else "for"
    return f"{signed[0]} of the logit ({way}), mean score {signed[1]} per cell, rank {rank} of 49"


def choose(page: Any, typed: str, place: int = 0) -> None:
    page.locator(".class").nth(place).fill(typed)
    page.locator(".class").nth(place).press("Enter")


def shows(page: Any, label: str, place: int = 0) -> None:
    """Wait for the picture of a class, and for its name above it."""
    from playwright.sync_api import expect

    known = re.compile(re.escape(f"Superpixels for {label};"))
    expect(page.locator(".pointer").nth(place)).to_have_attribute("aria-label", known)
    expect(page.locator(".class").nth(place)).to_have_value(label)
