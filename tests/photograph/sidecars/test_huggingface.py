"""`preprocessor_config.json`: the tensors that image processors make, in closed form and by transformers itself."""

from __future__ import annotations

import json
import math
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
FILTERS = {2: Image.Resampling.BILINEAR, 3: Image.Resampling.BICUBIC}
IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CLIP = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
TOP = np.array([0.47853944, 0.4732864, 0.47434163])


def standard(mean: Any, std: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: (x / 255 - mean) / std


# name: (shorter side, or (height, width) that is stretched to), crop, filter, from pixels to values
FILES: dict[str, tuple[Any, tuple[int, int], int, Callable[[np.ndarray], np.ndarray]]] = {
    "vit": ((224, 224), (224, 224), 2, standard(0.5, 0.5)),
    "convnext-224": (256, (224, 224), 3, standard(*IMAGENET)),
    "convnext-384": ((384, 384), (384, 384), 3, standard(*IMAGENET)),
    "efficientnet": ((224, 224), (224, 224), 3, lambda x: standard(IMAGENET[0], TOP)(x) / TOP),
    "efficientnet-offset": ((240, 240), (200, 220), 3, lambda x: ((x / 127.5 - 1) - 0.5) / 0.5),
    "mobilevit": (288, (256, 256), 3, lambda x: x[..., ::-1] / 255),
    "mobilenet-v2": (256, (224, 224), 2, standard(0.5, 0.5)),
    "deit": ((256, 256), (224, 224), 3, standard(0.5, 0.5)),
    "levit": (256, (224, 224), 3, standard(*IMAGENET)),
    "poolformer": (248, (224, 224), 3, standard(*IMAGENET)),
    "clip": (224, (224, 224), 3, standard(*CLIP)),
}


def fitted(model: Path) -> Preprocessing:
    settings, note = preprocessing_beside(model)
    assert settings is not None
    assert note == ""
    assert settings.complete
    return Preprocessing.from_settings(settings)


def tensor(preprocessing: Preprocessing, image: np.ndarray) -> np.ndarray:
    return preprocessing.normalise(preprocessing.crop(image)[0])


def resized(chelsea: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(chelsea).resize(size[::-1]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FILES)
def test_closed_form(name: str, size: tuple[int, int], beside: Beside, chelsea: np.ndarray) -> None:
    edges, (rows, columns), resample, values = FILES[name]
    image = resized(chelsea, size)
    if isinstance(edges, int):
        edges = tuple(edges if side == min(size) else int(edges * side / min(size)) for side in size)
    picture = np.asarray(Image.fromarray(image).resize(edges[::-1], FILTERS[resample]), dtype=np.float64)
    top, left = math.floor((edges[0] - rows) / 2), math.floor((edges[1] - columns) / 2)
    expected = values(picture[top : top + rows, left : left + columns]).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(tensor(fitted(beside(name)), image), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", FILES)
def test_transformers_itself(name: str, beside: Beside, chelsea: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers")
    model = beside(name)
    kind = json.loads((model.parent / "preprocessor_config.json").read_text())["image_processor_type"]
    processor = getattr(transformers, f"{kind}Pil").from_pretrained(model.parent)
    for size in SIZES:
        image = resized(chelsea, size)
        expected = np.asarray(processor(Image.fromarray(image), return_tensors="np")["pixel_values"])
        np.testing.assert_allclose(tensor(fitted(model), image), expected, rtol=0, atol=1e-5)


def written(folder: Path, **data: Any) -> Path:
    (folder / "preprocessor_config.json").write_text(json.dumps(data))
    return folder / "model.onnx"


@pytest.mark.parametrize("name", ["vit", "deit", "clip", "mobilenet-v2", "levit", "poolformer"])
def test_absent_and_null_keys_mean_the_types_defaults(name: str, beside: Beside, tmp_path: Path) -> None:
    """These files were written by processors with their defaults."""
    whole = fitted(beside(name))
    data = json.loads((tmp_path / "preprocessor_config.json").read_text())
    kind = data["image_processor_type"]
    assert fitted(written(tmp_path, image_processor_type=kind)) == whole
    nulls = {**dict.fromkeys(data), "image_processor_type": f"{kind}Fast"}
    assert fitted(written(tmp_path, **nulls)) == whole


def test_files_of_old_versions(tmp_path: Path) -> None:
    old = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    convnext = fitted(
        written(tmp_path, feature_extractor_type="ConvNextFeatureExtractor", size=224, crop_pct=0.9, **old)
    )
    assert (convnext.size, convnext.resize_to) == ((224, 224), 248)
    vit = fitted(written(tmp_path, feature_extractor_type="ViTFeatureExtractor", size=200, **old))
    assert (vit.size, vit.resize_to, vit.interpolation) == ((200, 200), None, "bicubic")
    clip = fitted(written(tmp_path, feature_extractor_type="CLIPFeatureExtractor", size=230, crop_size=200, **old))
    assert (clip.size, clip.resize_to) == ((200, 200), 230)
    pair = fitted(written(tmp_path, feature_extractor_type="ViTFeatureExtractor", size=[120, 160], **old))
    assert (pair.size, pair.resize_to) == ((120, 160), None)


def test_a_file_without_type_does_what_it_names(tmp_path: Path) -> None:
    model = written(tmp_path, size={"shortest_edge": 64}, crop_size=48, image_mean=0.5, image_std=[0.25] * 3)
    settings, _ = preprocessing_beside(model)
    assert settings is not None
    assert "without a type: plain resize, crop, rescale, normalise" in settings.source
    assert fitted(model) == Preprocessing((48, 48), 64, mean=(127.5,) * 3, std=(63.75,) * 3, crop_rounding="down")
    plain = fitted(written(tmp_path, size=32))
    assert (plain.mean, plain.std, plain.resize_to) == ((0,) * 3, (255,) * 3, None)


VIT = {"image_processor_type": "ViTImageProcessor"}
CONVNEXT = {"image_processor_type": "ConvNextImageProcessor"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"image_processor_type": "PerceiverImageProcessor"}, "type PerceiverImageProcessor, whose steps are not supp"),
        ({"image_processor_type": "MobileViTImageProcessor"}, "crops 256 x 256 pixels from fewer, which needs padding"),
        ({**VIT, "do_pad": True}, "asks for the step do_pad, which is not supported"),
        ({**VIT, "do_color_quantize": True}, "asks for the step do_color_quantize"),
        ({**VIT, "do_resize": False}, r"does not resize \(do_resize is false\)"),
        ({**VIT, "do_resize": "yes"}, "do_resize is 'yes' where true or false was expected"),
        ({**VIT, "size": {"shortest_edge": 224}}, "neither crops nor stretches"),
        ({**VIT, "size": {"shortest_edge": 224, "longest_edge": 300}}, "size is .* shortest_edge alone was expected"),
        ({**VIT, "size": "224"}, "size is '224' where"),
        ({**VIT, "size": -5}, "size is -5 where"),
        ({**VIT, "size": True}, "size is true where"),
        ({**VIT, "do_center_crop": True}, "crop_size is null where"),
        ({**VIT, "resample": 9}, "resample is 9 where one of Pillow's filters, 0 to 5, was expected"),
        ({**VIT, "image_mean": [0.5, None]}, r"image_mean is \[0.5, None\] where a number for each channel"),
        ({**VIT, "image_mean": []}, "image_mean is empty where a number for each channel"),
        ({**VIT, "image_std": [1, 0, 1]}, r"image_std is \[1, 0, 1\] where positive numbers"),
        ({**VIT, "rescale_factor": 0}, "rescale_factor is 0 where a positive number"),
        ({**CONVNEXT, "size": {"height": 224, "width": 224}}, "size has no shortest_edge"),
        ({**CONVNEXT, "size": 224, "crop_size": 200, "do_center_crop": True}, "crops twice"),
        ({**CONVNEXT, "size": 224, "crop_pct": 2}, "which needs padding"),
        ({**CONVNEXT, "size": 224, "crop_pct": "most"}, "crop_pct is 'most' where a positive number"),
    ],
    ids=str,
)
def test_what_is_not_supported(data: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"preprocessor_config\.json says how .*, but .*{message}.*--preprocess"):
        preprocessing_beside(written(tmp_path, **data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "it holds a list where a JSON object was expected"),
        (b"[" * 100_000, "nested 100,000 deep"),
        (b'{"size": [' + b"[]," * 1_000_000 + b"1]}", "more than 1,000,000 entries"),
        (b'{"size": 4, "size": 5}', "the key 'size' occurs twice"),
        (b'{"size": "\\ud800"}', "half of a surrogate pair"),
        (b" " * 16_000_001, "16,000,001 bytes; at most 16,000,000"),
    ],
    ids=lambda value: str(value[:9]),
)
def test_a_damaged_file(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_bytes(content)
    with pytest.raises(ModelError, match=rf"preprocessor_config\.json says how .*{message}"):
        preprocessing_beside(tmp_path / "model.onnx")


def test_a_file_about_sound_is_not_used(tmp_path: Path) -> None:
    model = written(tmp_path, feature_extractor_type="Wav2Vec2FeatureExtractor", do_normalize=True, sampling_rate=16000)
    assert preprocessing_beside(model) == (None, "preprocessor_config.json beside it is not that of an image processor")


def test_class_names(beside: Beside) -> None:
    names = ("tench", "great white shark", "crane")
    model = beside("resnet-config")
    for n_classes in (3, None):
        assert stated_labels({}, model, n_classes) == (names, "read from config.json")
    assert stated_labels({}, model, 1000) == (None, "none in config.json: it names 3 classes, and the model has 1000")
    assert preprocessing_beside(model) == (None, "")
    assert stated_labels({}, beside("resnet-config-generic"), 3) == (
        None,
        "none in config.json: its id2label has generic names only",
    )


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ('{"id2label": {"0": "a", "2": "c"}}', "the index 1 is missing; labels count from 0 without gaps"),
        ('{"id2label": {"0": "a", "1": 5}}', "every class needs a name"),
        ('{"id2label": {"0": "a", "1": " "}}', "every class needs a name"),
        ('{"id2label": ["a", "b"]}', "it has no id2label"),
        ('{"id2label": {}}', "it has no id2label"),
        ('{"compilerOptions": {"strict": true}}', "it has no id2label"),
        ("[]", "it holds a list where a JSON object was expected"),
        ("{", "it is not JSON"),
        (" " * 16_000_001, "it has 16,000,001 bytes"),
    ],
    ids=lambda value: value[:30],
)
def test_another_programs_config_does_no_harm(content: str, note: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    labels, found = stated_labels({}, tmp_path / "model.onnx", 2)
    assert labels is None
    assert found.startswith(f"none in config.json: {note}")
    assert preprocessing_beside(tmp_path / "model.onnx")[0] is None


def test_one_channel(tmp_path: Path) -> None:
    config = {**VIT, "image_mean": [0.5], "image_std": [0.25], "size": {"height": 28, "width": 28}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    settings, _ = preprocessing_beside(tmp_path / "model.onnx")
    assert settings is not None
    found = Preprocessing.from_settings(settings, (28, 28), n_channels=1)
    assert (found.mean, found.std, found.resize_to) == ((127.5,), (63.75,), None)
