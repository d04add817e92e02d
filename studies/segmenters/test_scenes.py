"""Pictures with known regions, made of photographs of one colour each."""

from pathlib import Path

import numpy as np
import pytest

from studies.segmenters.measures import boundaries
from studies.segmenters.scenes import KINDS, SIZE, scenes


@pytest.mark.parametrize("kind", ["cut-outs", "mosaics", "drawn"])
def test_the_regions_end_where_the_colours_do(photographs: Path, kind: str) -> None:
    found = list(scenes(photographs, [kind], "all", None))
    assert len(found) == {"cut-outs": 8, "mosaics": 12, "drawn": 1}[kind]
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


def test_the_halves_share_nothing_and_are_the_whole(photographs: Path) -> None:
    names = {
        split: {(scene.kind, scene.name) for scene in scenes(photographs, tuple(KINDS), split, None)}
        for split in ("tune", "test", "all")
    }
    assert not names["tune"] & names["test"]
    assert names["tune"] | names["test"] == names["all"]
    assert min(len(names["tune"]), len(names["test"])) > 3
    assert len(list(scenes(photographs, ("photographs",), "all", 3))) == 3
