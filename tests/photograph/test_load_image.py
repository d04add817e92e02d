"""What the model gets of an image and what is shown of it, and that the untouched file agrees with what is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tifffile
from other_inputs import CLASSES, SIZE, classifier_of
from PIL import Image

from secam_onnx import Explainer, Preprocessing, PreprocessingSettings
from secam_onnx.errors import ImageError, OptionError
from secam_onnx.export import export_model, open_source
from secam_onnx.photograph.load_image import load_image

RANDOM = np.random.default_rng(0)
CUBE = RANDOM.integers(0, 4096, (40, 50, 12)).astype(np.uint16)
PIXELS = (CUBE >> 4).astype(np.uint8)


def of(n: int, /, **settings: Any) -> Preprocessing:
    return Preprocessing.from_settings(PreprocessingSettings(**settings), (SIZE, SIZE), n_channels=n)


def test_a_photograph_for_three_channels_is_what_it_was(chelsea: np.ndarray) -> None:
    found = load_image(chelsea, of(3))
    np.testing.assert_array_equal(found.shown, chelsea)
    assert found.values is None
    assert found.source == {"dtype": "uint8", "channels": 3, "black": 0, "white": 255}


@pytest.mark.parametrize("size", [(300, 451), (97, 32), (33, 47)])
def test_one_channel_gets_pillows_grey(chelsea: np.ndarray, size: tuple[int, int]) -> None:
    picture = Image.fromarray(chelsea).resize(size[::-1])
    preprocessing = of(1, mean=(0.0,), std=(1.0,), crop="none")
    found = load_image(picture, preprocessing)
    assert found.values is None
    made = preprocessing.normalise(preprocessing.crop(found.shown)[0])
    expected = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR).convert("L"))
    np.testing.assert_array_equal(made, expected[None, None].astype(np.float32))
    grey = picture.convert("L")  # of which resizing first or last makes no difference
    found = load_image(grey, preprocessing)
    made = preprocessing.normalise(preprocessing.crop(found.shown)[0])
    expected = np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(made, expected[None, None].astype(np.float32))


def test_deep_grey_is_not_rounded_to_8_bits() -> None:
    deep = load_image(CUBE[..., 0], of(1, value_range=(0, 4095)))
    np.testing.assert_allclose(deep.values[..., 0], CUBE[..., 0] / 4095 * 255, rtol=1e-6)
    np.testing.assert_array_equal(deep.shown[..., 1], np.rint(CUBE[..., 0] / 4095 * 255))
    without = load_image(CUBE[..., 0] << 4, of(1))
    np.testing.assert_allclose(without.values[..., 0], (CUBE[..., 0] << 4) / 257, rtol=1e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize(("crop", "edges"), [("none", (SIZE, SIZE)), (0.8, (40, 50))])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_each_channel_is_resized_by_pillow_as_floats(
    interpolation: str, crop: Any, edges: tuple[int, int], layout: Any
) -> None:
    settings = PreprocessingSettings(crop=crop, interpolation=interpolation, value_range=(0, 4095), mean=(0,), std=(1,))
    preprocessing = Preprocessing.from_settings(settings, (SIZE, SIZE), layout, 12)
    found = load_image(CUBE, preprocessing)
    made = preprocessing.normalise(preprocessing.crop(found.values)[0])[0]
    top, left = (edges[0] - SIZE) // 2, (edges[1] - SIZE) // 2
    for channel in range(12):
        plane = Image.fromarray((CUBE[..., channel].astype(np.float32) * np.float32(255 / 4095)), "F")
        plane = plane.resize(edges[::-1], Image.Resampling[interpolation.upper()])
        plane = plane.crop((left, top, left + SIZE, top + SIZE))
        np.testing.assert_array_equal(made[channel] if layout == "NCHW" else made[..., channel], np.asarray(plane))


def test_channels_are_counted_from_1_in_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", PIXELS, photometric="minisblack", planarconfig="contig")
    found = load_image(tmp_path / "c.tif", of(3, channels=(4, 3, 2)))
    np.testing.assert_array_equal(found.shown, PIXELS[..., [3, 2, 1]])
    np.testing.assert_array_equal(found.values, PIXELS[..., [3, 2, 1]])
    np.testing.assert_array_equal(load_image(PIXELS, of(1, channels=(12,))).values, PIXELS[..., 11:])
    with pytest.raises(ImageError, match=r"c.tif: Channel 13 was asked for, but the image has 12"):
        load_image(tmp_path / "c.tif", of(1, channels=(13,)))


SHOWN = {  # channels of the model, settings: channels of the file as red, green, blue
    "the first three": (12, {}, (0, 1, 2)),
    "the first three that the model gets": (4, {"channels": (9, 8, 7, 6)}, (8, 7, 6)),
    "as asked for": (12, {"display_channels": (4, 3, 2)}, (3, 2, 1)),
    "of the file, not of the model": (1, {"channels": (5,), "display_channels": (4, 3, 2)}, (3, 2, 1)),
    "one as grey": (12, {"display_channels": (7,)}, (6, 6, 6)),
    "the first of two": (2, {"channels": (5, 6)}, (4, 4, 4)),
}


@pytest.mark.parametrize(("channels", "settings", "expected"), SHOWN.values(), ids=SHOWN)
def test_what_is_shown(channels: int, settings: dict[str, Any], expected: tuple[int, ...]) -> None:
    found = load_image(PIXELS, of(channels, **settings))
    np.testing.assert_array_equal(found.shown, PIXELS[..., list(expected)])
    assert found.values is not None
    assert found.values.shape[2] == channels


def test_beyond_the_range_the_model_gets_what_is_there_and_pictures_are_cut_off() -> None:
    found = load_image(CUBE, of(12, value_range=(1000, 2000)))
    np.testing.assert_allclose(found.values, (CUBE.astype(float) - 1000) * 0.255, rtol=1e-5, atol=1e-3)
    assert found.values.min() < -200
    assert (found.shown.min(), found.shown.max()) == (0, 255)


def test_transparency_is_a_channel_for_four_and_laid_over_white_for_others(chelsea: np.ndarray) -> None:
    rgba = np.dstack([chelsea, 255 - chelsea[..., 0]])
    np.testing.assert_array_equal(load_image(rgba, of(4)).values, rgba)
    picture = Image.fromarray(rgba, "RGBA")
    np.testing.assert_array_equal(load_image(picture, of(4)).values, rgba)
    ranged = load_image(picture, of(3, value_range=(0, 255)))
    np.testing.assert_allclose(ranged.values, load_image(picture, of(3)).shown, atol=0.51)
    grey = load_image(picture, of(1, value_range=(0, 255)))
    np.testing.assert_allclose(
        grey.values, np.asarray(Image.fromarray(ranged.shown).convert("L"))[..., None], atol=1.02
    )


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        (PIXELS, 3, r"shape \(40, 50, 12\)|12 channels, and the model takes 3.*--channels 1,2,3 "),
        (PIXELS, 1, r"has 12 channels, and the model takes 1\b.*--channels 1 "),
        (PIXELS[..., :3], 4, "has 3 channels, and the model takes 4.*--channels 1,2,3,4 "),
        (PIXELS[..., :3], 12, r"3 channels, and the model takes 12.*--channels 1,2,3,4,\.\.\."),
        (PIXELS[..., 0], 2, "1 channel, and the model takes 2"),
        (np.moveaxis(PIXELS, 2, 0), 12, "50 channels, and the model takes 12.*Channels are the last axis"),
    ],
)
def test_another_number_of_channels_names_both(image: np.ndarray, channels: int, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(image, of(channels))


@pytest.mark.parametrize(
    ("channels", "settings", "message"),
    [
        (3, {"channels": (1, 2)}, r"takes 3 channels, and 2 were named \(--channels 1,2\)"),
        (1, {"channels": (0,)}, "channels is"),
        (12, {"display_channels": (1, 2)}, "one channel or three"),
        (3, {"value_range": (5, 5)}, "value_range is .*two finite numbers, the lower first"),
        (12, {"mean": (0.0,) * 3}, "takes 12 channels, but the preprocessing .* has a mean of 3"),
        (4, {"channel_order": "BGR"}, "channel_order is BGR, which is an order of three channels"),
    ],
)
def test_settings_that_do_not_fit(channels: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        of(channels, **settings)


@pytest.mark.parametrize("file", [True, False], ids=["NPY", "array"])
def test_one_channel_of_many_has_to_be_chosen(file: bool, tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", PIXELS)
    image = tmp_path / "cube.npy" if file else PIXELS
    for fused in (False, True):
        with pytest.raises(ImageError, match=r"has 12 channels, and the model takes 1\b.*--channels 1 "):
            load_image(image, of(1), eight_bit=fused)
    np.testing.assert_array_equal(load_image(image, of(1, channels=(5,))).values, PIXELS[..., 4:5])


@pytest.mark.parametrize("channels", [1, 12])
def test_an_order_of_three_channels_is_not_taken_without_effect(channels: int, tmp_path: Path) -> None:
    onnx.save(classifier_of(("N", channels, SIZE, SIZE), channels=channels), tmp_path / "model.onnx")
    settings = PreprocessingSettings(channel_order="BGR")
    for preset in ({}, {"mean": (0.0,), "std": (1.0,), "source": "preset raw"}):
        given = settings.with_defaults(PreprocessingSettings(**preset))
        with pytest.raises(OptionError, match=rf"three channels, and the model takes {channels}\. .*--channel-order"):
            Explainer(tmp_path / "model.onnx", preprocessing=given)
    Explainer(tmp_path / "model.onnx", preprocessing=PreprocessingSettings(channel_order="RGB"))


def test_what_is_no_image_names_all_that_are() -> None:
    with pytest.raises(ImageError, match="NoneType; a path, the bytes of a file, an open file, a Pillow image or an"):
        load_image(None, of(3))  # type: ignore[arg-type]


def test_of_other_than_three_channels_imagenets_mean_is_not_assumed() -> None:
    for channels in (1, 2, 4, 12):
        found = of(channels)
        assert (found.mean, found.std, found.resize_to) == ((0.0,) * channels, (255.0,) * channels, None)


WAYS = {  # channels, what is explained, settings, what a script would feed
    "X-ray, 12 bits": (1, CUBE[..., 0], {"value_range": (0, 4095)}, CUBE[..., :1] / 4095),
    "digits": (1, PIXELS[..., 0], {}, PIXELS[..., :1] / 255),
    "infrared": (4, PIXELS[..., :4], {}, PIXELS[..., :4] / 255),
    "reflectance, normalised by band": (
        12,
        CUBE,
        {"value_range": (0, 4000), "mean": tuple(range(12)), "std": tuple(range(100, 112))},
        (CUBE / 4000 * 255 - np.arange(12)) / np.arange(100, 112),
    ),
    "some of 12 bands": (3, CUBE, {"channels": (4, 3, 2), "value_range": (0, 4095)}, CUBE[..., [3, 2, 1]] / 4095),
    "floats": (2, (CUBE[..., :2] / 4095).astype(np.float32), {}, CUBE[..., :2] / 4095),
}


@pytest.mark.parametrize(("channels", "image", "settings", "fed"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
def test_the_untouched_file_says_the_same_of_inputs_made_by_hand(
    channels: int, image: np.ndarray, settings: dict[str, Any], fed: np.ndarray, last: bool, tmp_path: Path
) -> None:
    shape = ("N", 40, 50, channels) if last else ("N", channels, 40, 50)
    body = "x = Transpose <perm = [0, 3, 1, 2]> (image)" if last else "x = Identity (image)"
    path = tmp_path / "model.onnx"
    onnx.save(classifier_of(shape, body, channels), path)
    scale = {} if "mean" in settings else {"mean": (0,), "std": (255,)}
    explainer = Explainer(path, providers="cpu", preprocessing=PreprocessingSettings(crop="none", **scale, **settings))
    for given in (image, image if image.dtype == np.float32 else stored(image, tmp_path)):
        result = explainer.explain(given, "all")
        x = (fed if last else fed.transpose(2, 0, 1))[None].astype(np.float32)
        (said,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": x})
        logits = np.array([entry.logit for entry in result.classes])
        np.testing.assert_allclose(logits, said[0], rtol=1e-4, atol=1e-4)
        assert result.completeness_error < 1e-5
        assert result.cam.shape == (CLASSES, 10, 13)
        assert result.image.shape == (40, 50, 3)
        assert result.image.dtype == np.uint8
        assert result.segments.shape == (40, 50)
        assert result.method["image"]["channels"] == (1 if image.ndim == 2 else image.shape[2])


def stored(image: np.ndarray, folder: Path) -> Path:
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack", planarconfig="contig")
    return folder / "image.tif"


def test_a_range_that_was_assumed_and_leaves_pixels_dark_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier_of(("N", 1, SIZE, SIZE)), path)
    with pytest.warns(UserWarning, match=r"0\.\.65535, the range that was assumed.*--value-range"):
        result = Explainer(path, providers="cpu").explain(CUBE[..., 0])
    assert "value_range" in result.method["image"]["doubt"]


def test_an_explainable_model_takes_other_images_all_the_same(tmp_path: Path) -> None:
    onnx.save(classifier_of(("N", 3, 40, 50), channels=3), tmp_path / "model.onnx")
    source = open_source(str(tmp_path / "model.onnx"), None, None, None)
    source = dataclasses.replace(source, preprocessing="unit")
    export_model(source, tmp_path / "explainable.onnx")
    settings = PreprocessingSettings(channels=(4, 3, 2), value_range=(0.0, 4095.0))
    found = Explainer(tmp_path / "explainable.onnx", providers="cpu", preprocessing=settings).preprocessing
    assert (found.channels, found.value_range, found.std) == ((4, 3, 2), (0, 4095), (255.0,) * 3)
    with pytest.raises(OptionError, match="fixes its own preprocessing"):
        Explainer(tmp_path / "explainable.onnx", preprocessing=PreprocessingSettings(crop=0.5))
    with pytest.raises(OptionError, match="takes 3 channels, and 1 were named"):
        Explainer(tmp_path / "explainable.onnx", preprocessing=PreprocessingSettings(channels=(4,)))


@pytest.mark.parametrize(("channels", "color"), [(12, tuple(range(12))), (12, (7,)), (1, (255, 0, 0)), (1, (7,))])
def test_padding_around_deep_images(channels: int, color: tuple[float, ...]) -> None:
    preprocessing = of(channels, fit="letterbox", pad_color=color, value_range=(0, 4095), mean=(0,), std=(1,))
    found = load_image(CUBE[..., :channels], preprocessing)
    seen, geometry = preprocessing.crop(found.values)
    expected = (76.245,) if len(color) == 3 else color
    np.testing.assert_allclose(seen[0, 0], np.broadcast_to(expected, channels), atol=0.01)
    assert geometry.box[1] < 0
    assert preprocessing.crop(found.shown)[0].shape == (SIZE, SIZE, 3)


def test_whole_numbers_are_rounded_once_for_a_model_that_takes_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    body = "x = Cast <to = 1> (image)"
    onnx.save(classifier_of(("N", 4, SIZE, SIZE), body, 4, dtype=onnx.TensorProto.UINT8), path)
    result = Explainer(path, providers="cpu").explain(PIXELS[..., :4], "all")
    planes = [Image.fromarray(PIXELS[..., c].astype(np.float32)).resize((SIZE, SIZE), 2) for c in range(4)]
    x = np.clip(np.rint(np.stack(planes)), 0, 255).astype(np.uint8)[None]
    (said,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": x})
    np.testing.assert_allclose([entry.logit for entry in result.classes], said[0], rtol=1e-5)
