"""Streams of photographs: the same results for every batch size and number of threads, in order, with flat memory."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from PIL import Image

from secam_onnx import Explainer, Explanation
from secam_onnx.errors import ClassError, ImageError, ModelError, OptionError
from secam_onnx.photograph.images import EncodedImage


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    path = tmp_path_factory.mktemp("stream") / "tiny.onnx"
    path.write_bytes(tiny_models.classifier().SerializeToString())
    return Explainer(path, providers="cpu", preprocessing="unit")


def pictures(count: int) -> list[np.ndarray]:
    """Of several sizes, all different."""
    random = np.random.default_rng(0)
    smooth = [random.integers(0, 256, (5, 6 + index % 3, 3)).astype(np.uint8) for index in range(count)]
    return [np.asarray(Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)) for small in smooth]


def same(one: Explanation, other: Explanation, rtol: float) -> None:
    assert [entry.index for entry in one.classes] == [entry.index for entry in other.classes]
    assert [entry.index for entry in one.predictions] == [entry.index for entry in other.predictions]
    np.testing.assert_array_equal(one.segments, other.segments)
    np.testing.assert_array_equal(one.image, other.image)
    for name in ("cam", "segment_scores", "segment_contributions", "bias"):
        expected = getattr(other, name)
        np.testing.assert_allclose(
            getattr(one, name), expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=name
        )


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_results_do_not_change_with_batch_size_and_threads(
    batch_size: int, workers: int, explainer: Explainer, chelsea: np.ndarray
) -> None:
    """Superpixels bit by bit; numbers to float rounding: ONNX Runtime adds up in another order for another batch."""
    images = [np.roll(chelsea, 30 * shift, axis=1) for shift in range(9)]
    results = explainer.explain_stream(images, ["top-2", "tabby"], batch_size=batch_size, workers=workers)
    for image, result in zip(images, results, strict=True):
        assert isinstance(result, Explanation)
        same(result, explainer.explain(image, ["top-2", "tabby"]), rtol=2e-5)


@pytest.mark.parametrize("workers", [2, 5])
def test_results_are_bit_by_bit_the_same_for_any_number_of_threads(workers: int, tiny: Explainer) -> None:
    alone = tiny.explain_stream(pictures(20), "all", batch_size=4, workers=1)
    together = tiny.explain_stream(pictures(20), "all", batch_size=4, workers=workers)
    for one, other in zip(alone, together, strict=True):
        same(one, other, rtol=0)


def test_a_bad_image_takes_its_place(tiny: Explainer, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    data = EncodedImage("shard.tar/cat.png", photo.read_bytes())
    broken = EncodedImage("shard.tar/broken.png", photo.read_bytes()[:500])
    images = [photo, tmp_path / "bad.jpg", data, tmp_path / "gone.jpg", photo, broken]
    for batch_size in (1, 2, 10):
        results = list(tiny.explain_stream(images, batch_size=batch_size))
        assert [type(result) for result in results] == [
            *(Explanation, ImageError, Explanation, ImageError, Explanation, ImageError)
        ]
        same(results[0], results[2], rtol=1e-5)
        assert "bad.jpg is not an image" in str(results[1])
        assert "gone.jpg does not exist" in str(results[3])
        assert "shard.tar/broken.png cannot be decoded" in str(results[5])


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 1), (4, 3)])
def test_it_never_reads_more_than_the_bound_ahead(batch_size: int, workers: int, tiny: Explainer) -> None:
    """However long the list is: the caller is slower than all other steps here."""
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        for image in itertools.cycle(pictures(3)):
            taken += 1
            yield image

    # Two batches at the network and one that fills, and the windows of the helpers before and after it.
    bound = 3 * batch_size + 3 * workers + 2
    stream = tiny.explain_stream(endless(), batch_size=batch_size, workers=workers)
    for given, _ in enumerate(itertools.islice(stream, 150), start=1):
        assert taken - given <= bound
    assert taken > 150
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("secam-helper")]


def test_large_photographs_make_small_batches(tiny: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    opened: Any = tiny.classifier
    forward = opened.forward
    monkeypatch.setattr(opened, "forward", lambda inputs: sizes.append(len(inputs)) or forward(inputs))
    monkeypatch.setattr("secam_onnx.pipeline.stream._PIXEL_BYTES", 2 * 64 * 48 * 3)
    assert len(list(tiny.explain_stream(pictures(7), batch_size=8))) == 7
    assert sizes == [3, 3, 1]
    sizes.clear()
    # Without the photographs themselves there is no reason to.
    assert len(list(tiny.explain_stream(pictures(7), batch_size=8, keep_images=False))) == 7
    assert sizes == [7]


def test_photographs_that_are_not_kept(tiny: Explainer) -> None:
    (image,) = pictures(1)
    (result,) = tiny.explain_stream([image], keep_images=False)
    assert isinstance(result, Explanation)
    assert result.image.size == 0
    assert result.geometry.image_size == (48, 64)
    expected = tiny.explain(image)
    np.testing.assert_allclose(result.segment_scores, expected.segment_scores, rtol=1e-5)
    np.testing.assert_array_equal(result.mask(), expected.mask())
    for draw in (result.overlay, result.panel):
        with pytest.raises(OptionError, match=r"not kept.*keep_images=True"):
            draw()


def test_one_image_on_which_the_model_fails(tmp_path: Path) -> None:
    """The others of its batch are explained."""
    model = tiny_models.classifier()
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    explainer = Explainer(path, providers="cpu", preprocessing="unit")
    opened: Any = explainer.classifier
    forward = opened.forward

    def fails_on_white(inputs: np.ndarray) -> object:
        if (inputs == 1).all(axis=(1, 2, 3)).any():
            raise ModelError("NaN")
        return forward(inputs)

    opened.forward = fails_on_white
    images = pictures(5)
    images[3] = np.full_like(images[3], 255)
    results = list(explainer.explain_stream(images, batch_size=5))
    assert [type(result) for result in results] == [*[Explanation] * 3, ModelError, Explanation]


def test_what_is_wrong_is_said_before_an_image_is_read(tiny: Explainer) -> None:
    def never() -> Iterator[np.ndarray]:
        raise AssertionError("an image was read")
        yield

    with pytest.raises(ClassError, match="out of range"):
        tiny.explain_stream(never(), 7)
    for options in ({"batch_size": 0}, {"workers": 0}):
        with pytest.raises(OptionError, match="1 or more"):
            tiny.explain_stream(never(), **options)
    with pytest.raises(OptionError, match="label map"):
        list(tiny.explain_stream(pictures(1), segments=[np.zeros((3, 3), int)]))
