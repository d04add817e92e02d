"""The fuzzer of image files: its seeds are read, its mutants are the same for a number, and it finds what is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzzing.image_mutations import mutate_image
from fuzzing.image_seeds import image_seeds

from secam_onnx.photograph.image_files import EncodedImage, read_raster

TOOL = Path(__file__).parents[2] / "tools" / "fuzz_images.py"


def test_seeds_are_read_and_mutants_are_the_same_again() -> None:
    seeds = image_seeds()
    for name, data in seeds.items():
        assert read_raster(EncodedImage(name, data), value_range=(0, 1)).pixels.size
    data, other = seeds["PNG RGBA save_all-append_images"], seeds["JPEG RGB"]
    mutants = [mutate_image(data, other, Random(number)) for number in range(20)]
    assert mutants == [mutate_image(data, other, Random(number)) for number in range(20)]
    assert len(set(mutants)) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code"), [(("--limit", "30"), 0), (("--limit", "0"), 1)])
def test_it_finds_what_is_there(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    command = [sys.executable, str(TOOL), "--seconds", "2", "--keep", "found", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "found").is_dir() == bool(code)
