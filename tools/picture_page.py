"""Draw docs/demo*.png: the page with the cat, by day, by night with two classes, and on a phone. Needs playwright."""

from __future__ import annotations

import io
import tempfile
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from secam_onnx.page import MODEL, PageServer, model_for_browsers, page_files
from secam_onnx.sidecars import default_model

DOCS = Path(__file__).parent.parent / "docs"
COLOURS = 256  # of the pictures, so that they stay small
PAGES = {
    "demo": {"viewport": {"width": 1240, "height": 850}},
    "demo-dark": {"viewport": {"width": 1240, "height": 850}, "color_scheme": "dark"},
    "demo-phone": {"viewport": {"width": 390, "height": 800}, "device_scale_factor": 1.5, "is_mobile": True},
}


def explain(page: Page, address: str, name: str) -> None:
    """Bring the page to what is to be seen."""
    page.goto(address)
    page.set_input_files("#file", DOCS / "chelsea.png")
    page.wait_for_selector("body[aria-busy=false]")
    if name == "demo-dark":
        page.check("input[value=heatmap]", force=True)
        page.check("#compare")
        page.locator(".class").nth(1).fill("lynx")
        page.locator(".class").nth(1).press("Enter")
        page.wait_for_selector("canvas[aria-label*=lynx]")
    box = page.locator(".pointer").first.bounding_box()
    if box:
        page.mouse.move(box["x"] + 0.38 * box["width"], box["y"] + 0.35 * box["height"])


def main() -> None:
    """Write them all."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        model = model_for_browsers(default_model(), Path(folder))
        with PageServer({**page_files(), MODEL: model}, 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            for name, settings in PAGES.items():
                page = browser.new_page(**settings)
                explain(page, server.address, name)
                with Image.open(io.BytesIO(page.screenshot())) as image:
                    small = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3)
                small.save(DOCS / f"{name}.png", optimize=True)
                page.close()
            browser.close()
            server.shutdown()


if __name__ == "__main__":
    main()
