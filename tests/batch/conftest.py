"""Small photographs, many of them, and an explainer that costs next to nothing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image

from secam_onnx import Explainer, Segmenter

MakePhotos = Callable[..., list[Path]]


def jpeg(number: int) -> bytes:
    """A small photograph, different for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((50, 40), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> MakePhotos:
    """Put photographs into a folder; gives their paths."""

    def make(count: int, folder: str = "photos", first: int = 0) -> list[Path]:
        paths = [tmp_path / folder / f"{number:04d}.jpg" for number in range(first, first + count)]
        for number, path in enumerate(paths, start=first):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number))
        return paths

    return make


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., Path]:
    """Put photographs into a WebDataset shard."""

    def make(count: int, name: str = "shard.tar", first: int = 0) -> Path:
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for number in range(first, first + count):
                for ending, data in ((".cls", b"3"), (".jpg", jpeg(number)), (".json", b"{}")):
                    info = tarfile.TarInfo(f"{number:04d}{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_models.classifier().SerializeToString())
    return path


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> Explainer:
    return Explainer(tiny_model, providers="cpu", preprocessing="unit", segmenter=Segmenter("grid", 9))
