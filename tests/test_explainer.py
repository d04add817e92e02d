"""Photograph in, explanation out, with the default model and with small models of other shapes."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.transform import resize

from secam_onnx import Explainer, Explanation, Segmenter, Selection
from secam_onnx.errors import ClassError, ImageError, OptionError

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
# The cat's head on the photograph, by eye: x, y of corners.
HEAD = [
    (95, 40),
    (150, 30),
    (250, 40),
    (330, 60),
    (345, 150),
    (330, 230),
    (290, 290),
    (180, 290),
    (110, 240),
    (92, 150),
]


@pytest.fixture(scope="module")
def cat(explainer: Explainer, chelsea: np.ndarray) -> Explanation:
    return explainer.explain(chelsea, "top-3")


def polygon_mask(size: tuple[int, int], corners: list[tuple[int, int]]) -> np.ndarray:
    from skimage.draw import polygon2mask

    return polygon2mask(size, [(y, x) for x, y in corners])


def test_a_cat_is_on_top_and_the_kept_superpixels_lie_on_its_head(cat: Explanation) -> None:
    assert {entry.index for entry in cat.predictions[:3]} == CATS
    kept = cat.mask()
    assert kept.shape == cat.image.shape[:2]
    assert 0.05 < kept.mean() < 0.35
    assert kept[polygon_mask(kept.shape, HEAD)].sum() / kept.sum() > 0.9


def test_each_class_is_found_where_it_is(explainer: Explainer, chelsea: np.ndarray) -> None:
    """A cat on the left, a cup of coffee on the right: the kept superpixels change sides with the class."""
    from skimage.data import coffee

    right = np.rint(resize(coffee()[:, 60:540], (300, 300), anti_aliasing=True) * 255).astype(np.uint8)
    both = np.hstack([chelsea[:, 90:390], right])
    explanation = explainer.explain(both, ["tiger cat", "espresso"])
    for name, inside in (("tiger cat", slice(0, 300)), ("espresso", slice(300, 600))):
        kept = explanation.mask(name)
        assert kept[:, inside].sum() / kept.sum() > 0.8, name


def test_scores_are_the_upsampled_map_averaged_in_each_superpixel(cat: Explanation) -> None:
    size = cat.segments.shape
    for row in range(len(cat.classes)):
        upsampled = resize(cat.cam[row].astype(np.float64), size, order=1, mode="edge", anti_aliasing=False)
        means = [upsampled[cat.segments == label].mean() for label in range(cat.segments.max() + 1)]
        np.testing.assert_allclose(cat.segment_scores[row], means, rtol=1e-3, atol=1e-4 * np.abs(means).max())


def test_contributions_add_up_to_the_logit(cat: Explanation) -> None:
    logits = np.array([entry.logit for entry in cat.classes])
    np.testing.assert_allclose(cat.segment_contributions.sum(axis=1) + cat.bias, logits, rtol=1e-4)
    np.testing.assert_allclose(cat.cam.sum(axis=(1, 2)) + cat.bias, logits, rtol=1e-4)
    assert cat.completeness_error < 1e-5


def test_all_classes_give_the_same_as_one(explainer: Explainer, chelsea: np.ndarray, cat: Explanation) -> None:
    everything = explainer.explain(chelsea, "all")
    assert [entry.index for entry in everything.classes] == list(range(1000))
    assert everything.completeness_error < 1e-4
    for row, entry in enumerate(cat.classes):
        np.testing.assert_allclose(
            everything.segment_scores[entry.index], cat.segment_scores[row], rtol=1e-4, atol=1e-6
        )
    probabilities = np.array([entry.probability for entry in everything.classes])
    logits = np.array([entry.logit for entry in everything.classes])
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(), rtol=1e-3)


def test_many_classes_of_several_images_are_taken_in_parts(explainer: Explainer, chelsea: np.ndarray) -> None:
    images = [chelsea, chelsea[:, ::-1], chelsea[::-1]]
    for image, explanation in zip(images, explainer.explain_batch(images, "all"), strict=True):
        assert explanation.completeness_error < 1e-4
        best = explanation.predictions[0].index
        np.testing.assert_allclose(explanation.cam[best], explainer.explain(image).cam[0], rtol=1e-3, atol=1e-4)


def equal(one: Explanation, other: Explanation) -> None:
    assert [entry.index for entry in one.classes] == [entry.index for entry in other.classes]
    np.testing.assert_array_equal(one.segments, other.segments)
    for name in ("cam", "segment_scores", "segment_contributions", "bias"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_path_a_picture_and_an_array_are_the_same(
    explainer: Explainer, chelsea: np.ndarray, photo: Path, cat: Explanation
) -> None:
    for image in (photo, str(photo), Image.fromarray(chelsea), chelsea / 255.0, chelsea.astype(np.uint16) * 257):
        equal(explainer.explain(image, "top-3"), cat)


def test_a_batch_equals_single_images(explainer: Explainer, chelsea: np.ndarray) -> None:
    images = [chelsea[:, shift : shift + 300] for shift in range(0, 150, 15)] + [chelsea[::-1]]
    queries = ["tiger cat", "top-1"]  # one class or two, as the image has it
    batch = explainer.explain_batch(images, queries)
    assert len(batch) == len(images)
    assert {len(entry.classes) for entry in batch} == {1, 2}
    for image, explanation in zip(images, batch, strict=True):
        equal(explanation, explainer.explain(image, queries))
    assert explainer.explain_batch([]) == []


def test_one_explainer_serves_several_threads(explainer: Explainer, chelsea: np.ndarray) -> None:
    images = [np.roll(chelsea, 40 * shift, axis=1) for shift in range(8)]
    alone = [explainer.explain(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(explainer.explain, images))
    for one, other in zip(alone, together, strict=True):
        equal(one, other)


def test_own_superpixels(explainer: Explainer, chelsea: np.ndarray, cat: Explanation) -> None:
    halves = np.zeros(chelsea.shape[:2], dtype=np.int64)
    halves[:, 225:] = 77
    explanation = explainer.explain(chelsea, "top-3", segments=halves)
    assert explanation.segment_scores.shape == (3, 2)
    assert explanation.method["superpixels"] == {"method": "given label map"}
    assert explanation.given_segment_ids is not None
    assert explanation.given_segment_ids.tolist() == [0, 77]
    assert [entry["given_segment_id"] for entry in explanation.to_dict()["classes"][0]["superpixels"]] == [0, 77]
    np.testing.assert_allclose(
        explanation.segment_contributions.sum(axis=1), cat.segment_contributions.sum(axis=1), rtol=1e-4
    )
    # x = 225 is the middle of the centre crop: the left half holds the left half of the map, but for the blending.
    left = cat.cam[0][:, :3].sum() + cat.cam[0][:, 3].sum() / 2
    assert explanation.segment_contributions[0, 0] == pytest.approx(left, rel=0.1)
    at_input = explainer.explain(chelsea, "top-3", segments=cat.segments)
    equal(at_input, cat)
    with pytest.raises(
        OptionError, match=r"shape \(5, 5\); the photograph's \(300, 451\) or the model input's \(224, 224\)"
    ):
        explainer.explain(chelsea, segments=np.zeros((5, 5), int))
    with pytest.raises(OptionError, match="2 label maps for 1 images"):
        explainer.explain_batch([chelsea], segments=[halves, halves])


def test_settings_reach_the_result(chelsea: np.ndarray) -> None:
    explainer = Explainer(segmenter=Segmenter("grid", 16), selection=Selection(top_segments=3), providers="cpu")
    explanation = explainer.explain(chelsea)
    assert explanation.segment_scores.shape == (1, 16)
    assert explanation.keep().sum() == 3
    assert explanation.method["superpixels"] == {"method": "grid", "n_segments": 16, "compactness": 10.0}
    assert explanation.method["providers"] == ["CPUExecutionProvider"]


def test_what_is_wrong_is_said(explainer: Explainer, chelsea: np.ndarray) -> None:
    with pytest.raises(ImageError, match="NaN or infinity"):
        explainer.explain(np.full((30, 30, 3), np.nan))
    with pytest.raises(ClassError, match=r"Near matches: .*'tiger cat' \(282\)"):
        explainer.explain(chelsea, "tigr cat")
    with pytest.raises(ClassError, match="out of range; this model has 1000 classes"):
        explainer.check_classes(1000)
    with pytest.raises(OptionError, match="No class was asked for"):
        explainer.explain(chelsea, [])


def test_an_explanation_is_frozen(cat: Explanation) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        cat.bias = None  # type: ignore[misc, assignment]
    with pytest.raises(ValueError, match="read-only"):
        cat.cam[0, 0, 0] = 1


def test_the_image_that_was_given_stays_the_callers(explainer: Explainer, chelsea: np.ndarray) -> None:
    own = chelsea.copy()
    explanation = explainer.explain(own)
    own[:] = 0
    np.testing.assert_array_equal(explanation.image, chelsea)


def test_pictures(cat: Explanation) -> None:
    for kind in ("superpixels", "heatmap", "cam"):
        picture = np.asarray(cat.overlay(kind=kind)).astype(int)
        assert picture.shape == cat.image.shape
        # Outside the crop all kinds look alike: pale, hatched, without colour.
        outside = picture[:, :90]
        assert np.ptp(outside, axis=2).max() <= 1
    kept = np.asarray(cat.overlay())
    np.testing.assert_array_equal(kept[cat.mask()], cat.image[cat.mask()])
    peak = np.unravel_index(cat.cam[0].argmax(), cat.cam[0].shape)
    left, top, right, bottom = cat.geometry.box
    y = int(top + (peak[0] + 0.5) / 7 * (bottom - top))
    x = int(left + (peak[1] + 0.5) / 7 * (right - left))
    red, _, blue = np.asarray(cat.overlay(kind="cam"))[y, x].astype(int)
    assert red - blue > 60, "the peak of the map must be drawn in the hot end of the colours"
    with pytest.raises(OptionError, match="Unknown kind of picture 'jet'"):
        cat.overlay(kind="jet")
    with pytest.raises(ClassError, match=r"Class 'tench' is not among the explained ones: 'tiger cat' \(282\)"):
        cat.overlay("tench")
    with pytest.raises(ClassError, match=r"Unknown class 'tenh'\. Near matches: 'tench'"):
        cat.mask("tenh")
    assert "tiger cat (282)" in repr(cat)
    np.testing.assert_array_equal(cat.mask("282"), cat.mask("Tiger_Cat"))


def test_saving_and_reading_back(cat: Explanation, tmp_path: Path) -> None:
    folder = cat.save(tmp_path / "why", pictures=1)
    report = json.loads((folder / "explanation.json").read_text())
    assert sorted(report["files"] + ["explanation.json"]) == sorted(file.name for file in folder.iterdir())
    assert len(list(folder.glob("*.png"))) == 4
    with np.load(folder / "arrays.npz") as arrays:
        for name in ("segment_scores", "segment_contributions", "bias", "segments"):
            np.testing.assert_array_equal(arrays[name], getattr(cat, name))
        np.testing.assert_array_equal(arrays["cam"], cat.cam)
        np.testing.assert_allclose(arrays["box"], cat.geometry.box)
    first = report["classes"][0]
    total = sum(entry["contribution"] for entry in first["superpixels"]) + first["bias"]
    assert total == pytest.approx(first["logit"], rel=1e-4)
    assert report == {**cat.to_dict(), "files": report["files"]}


def test_a_large_photograph_has_the_same_panel(explainer: Explainer, chelsea: np.ndarray) -> None:
    large = explainer.explain(np.asarray(Image.fromarray(chelsea).resize((1804, 1200), Image.Resampling.BICUBIC)))
    assert large.overlay().size == (1804, 1200)
    shrunk = np.asarray(large.overlay().resize((840, 559), Image.Resampling.BOX)).astype(int)
    preview = np.asarray(large._shrunk(840).overlay()).astype(int)
    assert np.abs(preview - shrunk).mean() < 6


@pytest.mark.parametrize(("value", "text"), [(1.234, "+1.23"), (-0.001, "0"), (9.6e17, "+9.6e+17"), (0.0, "0")])
def test_numbers_in_captions(value: float, text: str) -> None:
    from secam_onnx.explanation.prediction import signed

    assert signed(value) == text


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_change_with_the_threads_of_the_network(
    threads: int, explainer: Explainer, chelsea: np.ndarray
) -> None:
    """To float rounding: with more threads, products are cut into other pieces."""
    other, own = Explainer(threads=threads, providers="cpu").explain(chelsea), explainer.explain(chelsea)
    np.testing.assert_array_equal(other.segments, own.segments)
    for name in ("cam", "segment_scores", "segment_contributions", "bias"):
        expected = getattr(own, name)
        np.testing.assert_allclose(getattr(other, name), expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
