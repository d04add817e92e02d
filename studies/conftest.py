"""A folder as `photographs/collect.py` makes it, with photographs of one colour each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photographs")
    for name in ("cutouts", "truth"):
        (place / name).mkdir()
    for index in range(12):
        Image.new("RGB", (300, 240), (index * 20, 255 - index * 20, 128)).save(place / f"photo-{index}.png")
    for index in range(8):
        disc = Image.new("RGBA", (200, 160))
        ImageDraw.Draw(disc).ellipse((20, 10, 180, 150), fill=(255, 0, 0, 255))
        disc.save(place / "cutouts" / f"disc-{index}.png")
    labels = np.repeat(np.array([[7, 3]]), 100, axis=1).repeat(100, axis=0)
    Image.fromarray((labels * 30).astype(np.uint8)).convert("RGB").save(place / "truth" / "halves.png")
    np.save(place / "truth" / "halves.npy", labels)
    return place
