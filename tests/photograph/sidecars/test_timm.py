"""timm's `config.json`: the same tensors as `create_transform` makes, in closed form and by timm itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secam_onnx import Preprocessing
from secam_onnx.errors import ModelError
from secam_onnx.photograph.sidecars.beside_model import preprocessing_beside
from secam_onnx.photograph.sidecars.stated_labels import stated_labels

Beside = Callable[[str], Path]
SIZES = [(300, 451), (451, 300), (333, 333), (481, 640), (97, 211), (503, 1001)]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5,) * 3, (0.5,) * 3
# name: length of the input, shorter side before the crop (None: stretched), mean and std of pixels in 0..1
FILES = {
    "timm-resnet18-a1-in1k": (224, 235, IMAGENET),
    "timm-convnext-atto-d2-in1k": (224, 256, IMAGENET),
    "timm-inception-v3-tv-in1k": (299, 341, HALF),
    "timm-convnext-tiny-in12k-ft-in1k-384": (384, None, IMAGENET),
}


def fitted(model: Path) -> Preprocessing:
    settings, note = preprocessing_beside(model)
    assert settings is not None
    assert note == ""
    assert settings.complete
    assert settings.source == "read from config.json (timm)"
    return Preprocessing.from_settings(settings)


def written(folder: Path, **data: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(data))
    return folder / "model.onnx"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FILES)
def test_closed_form(name: str, size: tuple[int, int], beside: Beside, chelsea: np.ndarray) -> None:
    length, edge, (mean, std) = FILES[name]
    image = np.asarray(Image.fromarray(chelsea).resize(size[::-1]))
    edges = (length, length)
    if edge is not None:
        high, wide = (edge if side == min(size) else int(edge * side / min(size)) for side in size)
        edges = (high, wide)
    picture = np.asarray(Image.fromarray(image).resize(edges[::-1], Image.Resampling.BICUBIC), dtype=np.float64)
    top, left = (round((side - length) / 2) for side in edges)
    seen = picture[top : top + length, left : left + length]
    expected = ((seen / 255 - mean) / std).transpose(2, 0, 1)[None]
    preprocessing = fitted(beside(name))
    made = preprocessing.normalise(preprocessing.crop(image)[0])
    np.testing.assert_allclose(made, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", FILES)
def test_timm_itself(name: str, beside: Beside, chelsea: np.ndarray) -> None:
    data = pytest.importorskip("timm.data")
    model = beside(name)
    config = json.loads((model.parent / "config.json").read_text())["pretrained_cfg"]
    transform = data.create_transform(**data.resolve_data_config(pretrained_cfg=config), is_training=False)
    preprocessing = fitted(model)
    for size in SIZES:
        image = np.asarray(Image.fromarray(chelsea).resize(size[::-1]))
        made = preprocessing.normalise(preprocessing.crop(image)[0])
        np.testing.assert_allclose(made[0], transform(Image.fromarray(image)).numpy(), rtol=0, atol=1e-5)


def test_flat_files_of_old_versions(beside: Beside, tmp_path: Path) -> None:
    model = beside("timm-resnet18-a1-in1k")
    new = fitted(model)
    data = json.loads((tmp_path / "config.json").read_text())
    flat = {**data.pop("pretrained_cfg"), "architecture": "resnet18", "labels": ["a", "b", "c"]}
    assert fitted(written(tmp_path, **flat)) == new
    assert stated_labels({}, model, 3) == (("a", "b", "c"), "read from config.json")


def test_absent_keys_are_timms_defaults(tmp_path: Path) -> None:
    preprocessing = fitted(written(tmp_path, architecture="x", pretrained_cfg={"mean": None}))
    assert preprocessing == Preprocessing((224, 224), 256, "bicubic")


def test_squash_and_a_network_built_for_another_size(tmp_path: Path) -> None:
    squash = fitted(written(tmp_path, pretrained_cfg={"crop_mode": "squash", "crop_pct": 0.9}))
    assert (squash.size, squash.resize_to) == ((224, 224), (248, 248))
    border = fitted(written(tmp_path, pretrained_cfg={"crop_mode": "border", "crop_pct": 1.0, "mean": [0.5, 0.4, 0]}))
    assert (border.resize_to, border.pad_color) == ("letterbox", (128.0, 102.0, 0.0))
    config = {"input_size": [3, 224, 224], "fixed_input_size": True}
    assert fitted(written(tmp_path, pretrained_cfg=config, model_args={"img_size": 160})).size == (160, 160)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"crop_mode": "edges"}, r"crop_mode is 'edges', which is not supported \(center, squash and border are\)"),
        ({"crop_mode": "border"}, r"crop_mode is 'border' with a crop_pct of .*, which is supported for 1 only"),
        ({"interpolation": "random"}, "interpolation is 'random' where one of nearest, bilinear"),
        ({"crop_pct": 1.1}, "crop_pct is 1.1, which pads"),
        ({"crop_pct": "most"}, "crop_pct is 'most' where a positive number"),
        ({"input_size": [28, 28]}, r"input_size is \[28, 28\] where \[channels, height, width\]"),
        ({"input_size": 224}, "input_size is 224 where"),
        ({"input_size": [3, 128, 256]}, "for 128 x 256 pixels, which is supported for squares only"),
        ({"mean": [0.5, "a"]}, r"mean is \[0.5, 'a'\] where a number for each channel"),
        ({"std": [1, -1, 1]}, r"std is \[1.0, -1.0, 1.0\] where positive"),
    ],
    ids=str,
)
def test_what_is_not_supported(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"config\.json says how .*, but .*{message}"):
        preprocessing_beside(written(tmp_path, pretrained_cfg=config))


def test_class_names(beside: Beside, tmp_path: Path) -> None:
    """The description where there is one, else the name."""
    expected = ("tench, Tinca tinca", "goldfish", "n01484850")
    assert stated_labels({}, beside("timm-resnet18-a1-in1k"), 3) == (expected, "read from config.json")
    assert stated_labels({}, beside("timm-inception-v3-tv-in1k"), 3) == (
        None,
        "none in config.json: it has no label_names",
    )
    gaps = written(tmp_path, pretrained_cfg={"label_names": {"0": "a", "5": "b"}})
    assert stated_labels({}, gaps, 2) == (
        None,
        "none in config.json: the index 1 is missing; labels count from 0 without gaps",
    )


def test_one_channel(tmp_path: Path) -> None:
    config = {
        "input_size": [1, 28, 28],
        "mean": [0.1307],
        "std": [0.3081],
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }
    settings, _ = preprocessing_beside(written(tmp_path, pretrained_cfg=config))
    assert settings is not None
    found = Preprocessing.from_settings(settings, (28, 28), n_channels=1)
    assert found == Preprocessing((28, 28), 28, mean=(0.1307 * 255,), std=(0.3081 * 255,))
    assert Preprocessing.from_settings(settings, (28, 28)).mean == (0.1307 * 255,) * 3  # as timm repeats it
