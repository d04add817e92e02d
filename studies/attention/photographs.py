"""Photographs in eleven groups, halves of them, and mosaics of four."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from secam_onnx.photograph.images import read_image

__all__ = ["GROUPS", "Photograph", "crops", "halves", "mosaics", "square"]

SIZE = 224
_ROWS = [line.split("\t") for line in (Path(__file__).parent / "groups.tsv").read_text(encoding="utf-8").splitlines()]
GROUPS = tuple(sorted({group for _, group in _ROWS}))


@dataclass(frozen=True)
class Photograph:
    """A file and its group, an index into `GROUPS`."""

    file: Path
    group: int


def halves(folder: Path) -> tuple[list[Photograph], list[Photograph]]:
    """Two halves of the photographs in a folder, alike in their groups."""
    files = {file.stem: file for file in folder.iterdir()}
    found: tuple[list[Photograph], list[Photograph]] = ([], [])
    random, turn = np.random.default_rng(0), 0
    for group, name in enumerate(GROUPS):
        own = [stem for stem, of in _ROWS if of == name and stem in files]
        for stem in random.permutation(own):
            found[turn].append(Photograph(files[stem], group))
            turn = 1 - turn
    return found


def square(image: np.ndarray, box: tuple[float, float, float, float] | None = None, size: int = SIZE) -> np.ndarray:
    """The central square of a picture, or a box of it, `(size, size, 3)` uint8."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = box or (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box))


def crops(photograph: Photograph, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The central square, then random squares of at least a third of its area, half of them mirrored."""
    image = read_image(photograph.file)
    yield square(image)
    height, width = image.shape[:2]
    for _ in range(count - 1):
        side = min(height, width) * np.sqrt(random.uniform(0.35, 1))
        left, top = random.uniform(0, width - side), random.uniform(0, height - side)
        crop = square(image, (left, top, left + side, top + side))
        yield crop[:, ::-1] if random.random() < 0.5 else crop


def mosaics(
    photographs: Sequence[Photograph], count: int, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Pictures of 2 x 2 photographs of four groups, and their groups row by row."""
    half = SIZE // 2
    for _ in range(count):
        chosen: list[Photograph] = []
        for index in random.permutation(len(photographs)):
            if photographs[index].group not in {entry.group for entry in chosen} and len(chosen) < 4:
                chosen.append(photographs[index])
        parts = [square(read_image(entry.file), size=half) for entry in chosen]
        rows = [np.concatenate(parts[start : start + 2], 1) for start in (0, 2)]
        yield np.concatenate(rows), [entry.group for entry in chosen]
