"""Pictures with known regions, made of photographs of one colour each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from segmenting.measures import boundaries
from segmenting.scenes import KINDS, SIZE, scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photographs")
    for name in ("cutouts", "truth"):
        (place / name).mkdir()
    for index in range(24):
        Image.new("RGB", (300, 240), (index * 10, 255 - index * 10, 128)).save(place / f"photo-{index}.png")
    for index in range(8):
        disc = Image.new("RGBA", (200, 160))
        ImageDraw.Draw(disc).ellipse((20, 10, 180, 150), fill=(255, 0, 0, 255))
        disc.save(place / "cutouts" / f"disc-{index}.png")
    labels = np.repeat(np.array([[7, 3]]), 100, axis=1).repeat(100, axis=0)
    Image.fromarray((labels * 30).astype(np.uint8)).convert("RGB").save(place / "truth" / "halves.png")
    np.save(place / "truth" / "halves.npy", labels)
    return place


@pytest.mark.parametrize("kind", ["cut-outs", "mosaics", "drawn"])
def test_the_regions_end_where_the_colours_do(folder: Path, kind: str) -> None:
    found = list(scenes(folder, [kind], "all", None))
    assert len(found) == {"cut-outs": 8, "mosaics": 24, "drawn": 1}[kind]
    for scene in found:
        assert scene.truth is not None
        assert scene.picture.shape == (SIZE, SIZE, 3)
        assert sorted(np.unique(scene.truth)) == list(range(scene.truth.max() + 1))
        # Resized edges are a few pixels soft; within a region there is one colour.
        inside = ~boundaries(scene.truth)
        for _ in range(4):
            grown = np.pad(inside, 1, constant_values=True)
            inside = grown[1:-1, 1:-1] & grown[:-2, 1:-1] & grown[2:, 1:-1] & grown[1:-1, :-2] & grown[1:-1, 2:]
        for label in range(scene.truth.max() + 1):
            colours = scene.picture[inside & (scene.truth == label)]
            assert len(colours)
            assert np.ptp(colours, axis=0).max() <= 1


def test_the_halves_share_nothing_and_are_the_whole(folder: Path) -> None:
    names = {
        split: {(scene.kind, scene.name) for scene in scenes(folder, tuple(KINDS), split, None)}
        for split in ("tune", "test", "all")
    }
    assert not names["tune"] & names["test"]
    assert names["tune"] | names["test"] == names["all"]
    assert min(len(names["tune"]), len(names["test"])) > 5
    assert len(list(scenes(folder, ("photographs",), "all", 3))) == 3
