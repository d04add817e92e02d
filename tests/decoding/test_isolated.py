"""Explainers that read image files in processes of their own: the same results, and what a file does stays there."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import loaders
import numpy as np
import onnx
import pytest
import tiny_models
from forking import in_process
from PIL import Image

from secam_onnx import Explainer, Explanation
from secam_onnx.errors import ImageError

pytestmark = pytest.mark.slow

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(tiny_models.classifier(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(PICTURE).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def maps(explainer: Explainer, image: object) -> np.ndarray:
    return explainer.explain(image, "all").cam


def test_the_same_results(model: Path, picture: Path) -> None:
    with Explainer(model) as here, Explainer(model, isolate=True) as there:
        for image in (picture, str(picture), picture.read_bytes(), PICTURE, Image.fromarray(PICTURE)):
            np.testing.assert_array_equal(maps(there, image), maps(here, image))
        for missing in (picture.parent, picture.parent / "none.png"):
            with pytest.raises(ImageError) as first:
                here.explain(missing)
            with pytest.raises(ImageError) as second:
                there.explain(missing)
            assert str(first.value) == str(second.value)
        assert there.explain(picture).overlay().size == (50, 40)


def test_a_file_that_crashes_its_decoder_is_an_error_of_its_own(model: Path, picture: Path) -> None:
    with Explainer(model, isolate=True) as explainer:
        explainer.pipeline.per_process_model.decoders._loader = loaders.LOADER
        images = [picture, loaders.CRASH, picture, loaders.KILLED, picture]
        results = list(explainer.explain_stream(images, batch_size=1))
    kinds = [Explanation, ImageError, Explanation, ImageError, Explanation]
    assert all(map(isinstance, results, kinds))
    assert "crashes the decoder" in str(results[1])


def test_copies_and_closing(model: Path, picture: Path) -> None:
    with Explainer(model, isolate=True) as explainer:
        expected = maps(explainer, picture)
        with pickle.loads(pickle.dumps(explainer)) as copy:
            np.testing.assert_array_equal(maps(copy, picture), expected)
        pool = explainer.pipeline.per_process_model.decoders
        assert pool.working
    assert not pool.working


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_in_another_process(method: str, model: Path, picture: Path) -> None:
    with Explainer(model, isolate=True) as explainer:
        expected = maps(explainer, picture)
        np.testing.assert_allclose(in_process(method, maps, explainer, picture), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(maps(explainer, picture), expected)


def test_a_folder(run_cli, tmp_path: Path, model: Path, picture: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(PICTURE).save(folder / f"{number}.png")
    (folder / "cut.png").write_bytes(picture.read_bytes()[:200])
    for name, options in (("here", []), ("there", ["--isolate"])):
        done = run_cli("explain", folder, "-m", model, "-o", name, "--pictures", "0", *options)
        assert done.returncode == 1, done.stderr
    files = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*")]
    assert {path.relative_to(tmp_path / "there") for path in (tmp_path / "there").rglob("*")} == set(files)
    assert (tmp_path / "here" / "errors.csv").read_bytes() == (tmp_path / "there" / "errors.csv").read_bytes()
