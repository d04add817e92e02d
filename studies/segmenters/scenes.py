"""Photographs, and pictures whose true regions are known: drawn by people, or exactly, since they were put together."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from secam_onnx import Preprocessing
from secam_onnx.photograph.images import read_image
from secam_onnx.superpixels import dense_label_map

__all__ = ["KINDS", "SIZE", "SPLITS", "Scene", "scenes"]

SIZE = 224
SEEN = Preprocessing.preset("lite", (SIZE, SIZE))
SPLITS = ("tune", "test", "all")
KINDS = {
    "photographs": "real photographs, as the default model sees them; no truth",
    "cut-outs": "a photographed object, cut out by hand, on another photograph; truth: its outline",
    "mosaics": "smooth random regions, each of another photograph; truth: the regions",
    "drawn": "photographs with the regions that people drew",
}
REGIONS = 6
SMOOTHNESS = 24  # pixels


@dataclass(frozen=True)
class Scene:
    """One picture: `(SIZE, SIZE, 3)` uint8, and its true regions `(SIZE, SIZE)` where they are known."""

    kind: str
    name: str
    picture: np.ndarray
    truth: np.ndarray | None = None


def scenes(folder: Path, kinds: Sequence[str], split: str, most: int | None) -> Iterator[Scene]:
    """All pictures of some kinds; both halves share no photograph and no object.

    Parameters
    ----------
    folder : Path
        As `photographs/collect.py` fills it.
    kinds : sequence of str
        Of `KINDS`.
    split : {'tune', 'test', 'all'}
        Which half, told by a hash of the name.
    most : int, optional
        How many of each kind; default: all, and as many mosaics as photographs.
    """
    files = _half(chain.from_iterable(folder.glob(f"*.{kind}") for kind in ("jpg", "png", "webp")), split)
    found = {
        "photographs": _photographs(files),
        "cut-outs": _cutouts(_half((folder / "cutouts").glob("*.png"), split), files),
        "mosaics": _mosaics(files),
        "drawn": _drawn(_half((folder / "truth").glob("*.png"), split)),
    }
    for kind in kinds:
        for index, scene in enumerate(found[kind]):
            if most is not None and index >= most:
                break
            yield scene


def _half(files: Iterator[Path], split: str) -> list[Path]:
    # In the order of the hash, so that the first few are no series.
    keyed = sorted((zlib.crc32(file.stem.encode()), file) for file in files)
    return [file for key, file in keyed if split == "all" or key % 2 == SPLITS.index(split)]


def _seen(file: Path) -> np.ndarray:
    return SEEN.crop(read_image(file))[0]


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _photographs(files: list[Path]) -> Iterator[Scene]:
    for file in files:
        yield Scene("photographs", file.stem, _seen(file))


def _cutouts(objects: list[Path], files: list[Path]) -> Iterator[Scene]:
    for file in objects:
        random = _random(file.stem)
        image = Image.open(file).convert("RGBA")
        scale = SIZE * random.uniform(0.6, 0.95) / max(image.size)
        image = image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.LANCZOS)
        layer = Image.new("RGBA", (SIZE, SIZE))
        layer.paste(image, tuple(int(random.integers(SIZE - length + 1)) for length in image.size))
        values = np.asarray(layer).astype(float)
        share = values[..., 3:] / 255
        picture = values[..., :3] * share + _seen(files[random.integers(len(files))]) * (1 - share)
        truth = (share[..., 0] >= 0.5).astype(np.int32)
        yield Scene("cut-outs", file.stem, np.round(picture).astype(np.uint8), truth)


def _mosaics(files: list[Path]) -> Iterator[Scene]:
    for file in files:
        random = _random(f"mosaic {file.stem}")
        chosen = random.permutation(len(files))[:REGIONS]
        heights = gaussian_filter(random.standard_normal((len(chosen), SIZE, SIZE)), (0, SMOOTHNESS, SMOOTHNESS))
        truth = heights.argmax(axis=0)
        parts = np.stack([_seen(files[index]) for index in chosen])
        picture = np.take_along_axis(parts, truth[None, ..., None], axis=0)[0]
        yield Scene("mosaics", f"mosaic-{file.stem}", picture, dense_label_map(truth))


def _drawn(files: list[Path]) -> Iterator[Scene]:
    for file in files:
        labels = Image.fromarray(np.load(file.with_suffix(".npy")).astype(np.int32))
        # The whole picture: a centre crop would cut regions away.
        truth = np.asarray(labels.resize((SIZE, SIZE), Image.Resampling.NEAREST))
        picture = Image.fromarray(read_image(file)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        yield Scene("drawn", file.stem, np.asarray(picture), dense_label_map(truth))
