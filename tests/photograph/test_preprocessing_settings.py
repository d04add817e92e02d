"""Partial settings: how they are laid over each other, in which unit people write them, and how they are fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secam_onnx.errors import OptionError
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import (
    ASSUMED,
    PRESETS,
    PreprocessingSettings,
    in_pixel_values,
    preset,
)

IMAGENET = (123.675, 116.28, 103.53)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_leaves_only_size_and_layout_open(name: str) -> None:
    assert preset(name).complete
    assert not {"size", "layout"}.intersection(preset(name).given)
    assert Preprocessing.from_settings(preset(name), (96, 128), "NHWC") == Preprocessing.preset(name, (96, 128), "NHWC")


def test_settings_lie_over_others() -> None:
    own = PreprocessingSettings(mean=(1.0, 2.0, 3.0), crop="none")
    assert own.given == ("crop", "mean")
    assert not own.complete
    both = own.with_defaults(PRESETS["lite"])
    assert (both.mean, both.std, both.crop, both.interpolation) == ((1, 2, 3), (128,), "none", "bicubic")
    assert both.source == "preset lite; as given: crop, mean"
    assert both.with_defaults(ASSUMED) == both
    assert both.with_defaults(ASSUMED).source == both.source
    assert own.with_defaults(own).source == ""


def test_a_crop_takes_the_place_of_another() -> None:
    absolute = PreprocessingSettings(size=(224, 224), resize_to=256)
    assert PreprocessingSettings(crop=0.5).with_defaults(absolute) == PreprocessingSettings(size=(224, 224), crop=0.5)
    assert PreprocessingSettings(resize_to=300).with_defaults(PRESETS["unit"]).crop is None


def test_another_size_keeps_the_share_of_the_photograph() -> None:
    base = PreprocessingSettings(size=(224, 224), resize_to=256, mean=(0.0,) * 3)
    assert Preprocessing.from_settings(PreprocessingSettings(size=(448, 448)).with_defaults(base)).resize_to == 512
    assert PreprocessingSettings(size=(224, 224)).with_defaults(base).resize_to == 256


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        ((0.485, 0.456, 0.406), None, (IMAGENET, None)),
        ((0.5,), (0.25,), ((127.5,), (63.75,))),
        ((0,), (1,), ((0,), (255,))),
        ((0,), (255,), ((0,), (255,))),
        ((103.939, 116.779, 123.68), (1,), ((103.939, 116.779, 123.68), (1,))),
        (None, (58.395, 57.12, 57.375), (None, (58.395, 57.12, 57.375))),
        (None, None, (None, None)),
    ],
    ids=str,
)
def test_the_unit_of_mean_and_std(mean: Any, std: Any, expected: Any) -> None:
    for made, wanted in zip(in_pixel_values(mean, std), expected, strict=True):
        assert made == (None if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5, float("inf")), None, "mean is 0.5, inf; a finite number per channel, or one for all, was expected"),
        (None, (0.5, 0, 0.5), "std is 0.5, 0, 0.5; .* was expected, above 0"),
        ((float("nan"),), None, "mean is nan"),
        (None, (), "std is ;"),
    ],
    ids=str,
)
def test_bad_mean_and_std(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        in_pixel_values(mean, std)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 0.0}, "crop is 0.0; a fraction above 0 and at most 1, or 'none', was expected"),
        ({"crop": 1.5}, "crop is 1.5; a fraction"),
        ({"crop": float("nan")}, "crop is nan; a fraction"),
        ({"crop": "some"}, "crop is some; a fraction"),
        ({"crop": 1.0, "resize_to": 256}, "crop 1.0 and resize_to 256 say the same in two ways"),
        (
            {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
            "std is 0.229, .* Multiply mean and std by 255",
        ),
        ({"mean": 0.5}, "mean is 0.5, which is for pixels in 0..1; values for pixels in 0..255 were expected"),
    ],
    ids=str,
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PreprocessingSettings(**settings)


@pytest.mark.parametrize(
    ("own", "model", "size"),
    [
        (None, (None, None), (224, 224)),
        (None, (32, None), (32, 224)),
        ((96, 128), (None, None), (96, 128)),
        ((96, 128), (96, None), (96, 128)),
        ((96, 128), (96, 128), (96, 128)),
    ],
)
def test_fitted_size(own: Any, model: Any, size: Any) -> None:
    assert Preprocessing.from_settings(PreprocessingSettings(size=own), model).size == size


@pytest.mark.parametrize(
    ("settings", "model", "message"),
    [
        (
            PreprocessingSettings(size=(64, 64), source="read from x.json"),
            ((32, 32), "NCHW"),
            r"takes inputs of 32 x 32 \(height x width\), but the preprocessing \(read from x.json\) makes 64 x 64. "
            "With --size 32x32 its other settings are used",
        ),
        (PreprocessingSettings(size=(64, 64)), ((None, 32), "NCHW"), "any x 32 .*as given.* makes 64 x 64"),
        (
            PreprocessingSettings(layout="NHWC"),
            ((32, 32), "NCHW"),
            "input is NCHW, but .* makes NHWC; leave the layout",
        ),
        (PreprocessingSettings(resize_to=16), ((32, 32), "NCHW"), "resize_to is 16; None"),
    ],
    ids=lambda value: None,
)
def test_what_does_not_fit(settings: PreprocessingSettings, model: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Preprocessing.from_settings(settings, *model)


def test_a_preprocessing_as_settings_and_back() -> None:
    for given in (
        Preprocessing((96, 128), 140, "box", layout="NHWC", channel_order="BGR", crop_rounding="down"),
        Preprocessing((96, 128), (100, 130)),
        Preprocessing((96, 128)),
    ):
        settings = given.settings("somewhere")
        assert settings.complete
        assert Preprocessing.from_settings(settings, (96, 128), given.layout) == given
        darker = PreprocessingSettings(mean=(0.0,) * 3).with_defaults(settings)
        assert darker.source == "somewhere; as given: mean"
        assert Preprocessing.from_settings(darker, given.size, given.layout).resize_to == given.resize_to


@pytest.mark.parametrize(
    ("preprocessing", "words"),
    [
        (Preprocessing((224, 200), 256), "shorter side to 256, centre crop 224 x 200 (bilinear)"),
        (Preprocessing((224, 200), (256, 250)), "whole picture to 256 x 250, centre crop 224 x 200 (bilinear)"),
        (
            Preprocessing((8, 8), None, "box", IMAGENET, (1, 1, 1), "NHWC", "BGR"),
            "whole picture to 8 x 8 (box), (pixel - mean) / std of 0..255 with mean 123.675, 116.28, 103.53 and std 1, "
            "1, 1, BGR, NHWC",
        ),
    ],
    ids=str,
)
def test_in_words(preprocessing: Preprocessing, words: str) -> None:
    assert str(preprocessing).startswith(words)


def test_who_gives_mean_std_and_crop_has_assumed_nothing() -> None:
    essential = PreprocessingSettings(mean=(1.0,) * 3, std=(2.0,) * 3, crop="none").with_defaults(ASSUMED)
    assert essential.source.startswith("as given: crop, mean, std; the rest assumed")
    partly = PreprocessingSettings(mean=(1.0,) * 3, crop="none").with_defaults(ASSUMED)
    assert partly.source.startswith("assumed")
    assert partly.source.endswith("as given: crop, mean")


@pytest.mark.parametrize("number", [127, 127.5, np.float32(127.5), np.int64(127)])
def test_one_number_counts_for_all_channels(number: Any) -> None:
    made = PreprocessingSettings(mean=number, std=number, fit="letterbox", pad_color=number)
    assert (made.mean, made.std, made.pad_color) == ((float(number),),) * 3
    assert Preprocessing.from_settings(made).mean == (float(number),) * 3
