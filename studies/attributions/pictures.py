"""The photographs at hand, random crops of them, and pages of text for the network that tells how a page is turned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from secam_onnx.photograph.images import read_image

__all__ = ["SIZE", "crops", "pages", "photographs"]

SIZE = 224
ROOT = Path(__file__).parents[2]
# What the wheel of scikit-image carries, without diagrams and without the second picture of one scene.
NAMES = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png"),
    *("coins.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg"),
)
FOLDERS = (Path(sklearn.datasets.__file__).parent / "images",)


def photographs(folder: Path | None) -> dict[str, np.ndarray]:
    """All photographs by name, `(H, W, 3)` uint8: scikit-image's, scikit-learn's, and those of a folder."""
    files = [Path(skimage.__file__).parent / "data" / name for name in NAMES]
    for place in (*FOLDERS, *([folder] if folder else [])):
        files += sorted(file for file in place.iterdir() if file.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return {file.stem: read_image(file) for file in files}


def crops(photograph: np.ndarray, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Crops `(224, 224, 3)` uint8: the centre first, then random ones, flipped, brighter and darker."""
    image = Image.fromarray(photograph)
    shorter = min(image.size)
    left, top = ((length - shorter) // 2 for length in image.size)
    yield _resized(image, (left, top, left + shorter, top + shorter))
    for _ in range(count - 1):
        side = shorter * np.sqrt(random.uniform(0.2, 1.0))
        width, height = side * np.exp(random.uniform(-0.2, 0.2)), side
        width = min(width, image.width)
        left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
        crop = Image.fromarray(_resized(image, (left, top, left + width, top + height)))
        if random.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast):
            crop = change(crop).enhance(random.uniform(0.7, 1.3))
        yield np.asarray(crop)


def pages(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Pages of text, upright: the licence in columns, sizes and shades of several kinds."""
    words = (ROOT / "LICENSE").read_text(encoding="utf-8").split()
    found = {}
    for index in range(count):
        paper, ink = (tuple(int(v) for v in random.integers(*span, 3)) for span in ((170, 256), (0, 90)))
        page = Image.new("RGB", (448, 448), paper)
        draw = ImageDraw.Draw(page)
        font = ImageFont.load_default(size=float(random.uniform(13, 30)))
        x, y, word = float(random.uniform(5, 60)), float(random.uniform(5, 150)), int(random.integers(len(words) - 400))
        right, bottom = float(random.uniform(250, 445)), float(random.uniform(250, 445))
        place = x
        while y < bottom:
            end = draw.textlength(words[word] + " ", font=font)
            if place + end > right:
                place, y = x, y + font.size * 1.3
            draw.text((place, y), words[word], fill=ink, font=font)
            place, word = place + end, word + 1
        found[f"page-{index:02d}"] = np.asarray(page)
    return found


def _resized(image: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))
