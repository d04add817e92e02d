"""Draw docs/demo*.png and docs/serve.png (`python -m studies.page_pictures.draw`), the page with the cat:
by day, by night with two classes, on a phone, and that of a server with two models. Needs playwright, and kserve for
the last.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from secam_onnx.default_model import default_model
from secam_onnx.export import export_model, open_source
from secam_onnx.fusion import Fusion
from secam_onnx.page import MODEL, PageServer, model_for_browsers, page_files

DOCS = Path(__file__).parents[2] / "docs"
COLOURS = 256  # of the pictures, so that they stay small
PAGES = {
    "demo": {"viewport": {"width": 1240, "height": 850}},
    "demo-dark": {"viewport": {"width": 1240, "height": 850}, "color_scheme": "dark"},
    "demo-phone": {"viewport": {"width": 390, "height": 800}, "device_scale_factor": 1.5, "is_mobile": True},
    "serve": {"viewport": {"width": 1240, "height": 870}},
}


def explain(page: Page, address: str, name: str) -> None:
    """Bring the page to what is to be seen."""
    page.goto(address)
    page.set_input_files("#file", DOCS / "chelsea.png")
    page.wait_for_selector("body[aria-busy=false]")
    if name in ("demo-dark", "serve"):
        page.check("input[value=heatmap]", force=True)
    if name == "demo-dark":
        page.check("#compare")
        page.locator(".class").nth(1).fill("lynx")
        page.locator(".class").nth(1).press("Enter")
        page.wait_for_selector("canvas[aria-label*=lynx]")
    box = page.locator(".pointer").first.bounding_box()
    if box:
        page.mouse.move(box["x"] + 0.38 * box["width"], box["y"] + 0.35 * box["height"])


@contextlib.contextmanager
def demo(folder: Path) -> Iterator[str]:
    """`secam-onnx demo`; its address."""
    model = model_for_browsers(default_model(), folder)
    with PageServer({**page_files(), MODEL: model}, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """`secam-onnx serve` with two models, the second one fused; its address."""
    export_model(open_source(str(default_model())), folder / "fused.onnx", fusion=Fusion())
    models = (f"efficientnet-lite0={default_model()}", f"efficientnet-lite0-fused={folder / 'fused.onnx'}")
    options = [option for model in models for option in ("--model", model)]
    command = [sys.executable, "-m", "secam_onnx", "serve", *options, "--port", "0", "--no-grpc"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


def main() -> None:
    """Write them all, or those that are named."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        for name in sys.argv[1:] or PAGES:
            page = browser.new_page(**PAGES[name])
            served_or_demo = served if name == "serve" else demo
            with tempfile.TemporaryDirectory() as folder, served_or_demo(Path(folder)) as address:
                explain(page, address, name)
                with Image.open(io.BytesIO(page.screenshot())) as image:
                    small = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3)
            small.save(DOCS / f"{name}.png", optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
