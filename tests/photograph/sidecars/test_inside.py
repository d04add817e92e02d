"""What a file says of itself in its metadata, as others write it, is read and said by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from tiny_models import classifier

from secam_onnx import Explainer, runtime
from secam_onnx.errors import ModelError
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings
from secam_onnx.photograph.sidecars.metadata_props import preprocessing_inside
from secam_onnx.photograph.sidecars.stated_labels import stated_labels

IMAGE = {
    "Image.BitmapPixelFormat": "Bgr8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "NominalRange_0_255",
}
NAMES = {index: f"name {index}" for index in range(7)}
ULTRALYTICS = {"author": "Ultralytics", "task": "classify", "stride": "1", "imgsz": "[32, 32]", "names": str(NAMES)}
OTX = {
    "model_info labels": "a b_c d e f g h",
    "model_info label_ids": "0 1 2 3 4 5 6",
    "model_info mean_values": "123.675 116.28 103.53",
    "model_info scale_values": "58.395 57.12 57.375",
    "model_info resize_type": "standard",
    "model_info reverse_input_channels": "False",
    "model_info pad_value": "0",
}


def saved(metadata: dict[str, str], folder: Path) -> Path:
    model = classifier(softmax=True)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("value", "black", "white"),
    [
        ("NominalRange_0_255", 0, 255),
        ("Normalized_0_1", 0, 1),
        ("Normalized_1_1", -1, 1),
        ("NominalRange_16_235", 16, 235),
    ],
)
def test_ranges_of_images(value: str, black: float, white: float) -> None:
    found = preprocessing_inside({"Image.NominalPixelRange": value})
    assert found is not None
    assert (found.mean, found.std) != (None, None)
    assert [(pixel - found.mean[0]) / found.std[0] for pixel in (0, 255)] == pytest.approx([black, white])
    assert found.source == f"read from the file's metadata (Image.NominalPixelRange {value})"


def test_as_windows_ml_and_custom_vision_write_it(tmp_path: Path, chelsea: np.ndarray) -> None:
    path = saved(IMAGE, tmp_path)
    explainer = Explainer(path, providers="cpu")
    assert explainer.preprocessing_note == (
        "assumed: torchvision's crop and filter, since the file does not say; read from the file's metadata "
        "(Image.BitmapPixelFormat Bgr8, Image.NominalPixelRange NominalRange_0_255)"
    )
    pixels = explainer.preprocessing.crop(chelsea)[0].astype(np.float32)
    blue_first = pixels[None, ..., ::-1].transpose(0, 3, 1, 2)
    expected = runtime.open_session(path, "cpu").run(None, {"image": blue_first})[0][0]
    by_index = sorted(explainer.explain(chelsea, "all").classes, key=lambda one: one.index)
    np.testing.assert_allclose([one.probability for one in by_index], expected, rtol=1e-4, atol=1e-6)


def test_grey_pictures(tmp_path: Path, chelsea: np.ndarray) -> None:
    model = classifier(input_shape=["N", 1, 32, 32])
    onnx.helper.set_model_props(
        model, {**IMAGE, "Image.BitmapPixelFormat": "Gray8", "Image.NominalPixelRange": "Normalized_1_1"}
    )
    onnx.save(model, tmp_path / "m.onnx")
    preprocessing = Explainer(tmp_path / "m.onnx", providers="cpu").preprocessing
    fed = preprocessing.normalise(preprocessing.crop(chelsea)[0])
    grey = np.asarray(Image.fromarray(chelsea).convert("L").resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(fed[0, 0], grey / 127.5 - 1, atol=0.02)


def test_a_part_of_it_leaves_the_rest_open() -> None:
    found = preprocessing_inside({"Image.BitmapPixelFormat": "Rgb8"})
    assert found == PreprocessingSettings(channel_order="RGB")
    assert preprocessing_inside({"Image.ColorSpaceGamma": "SRGB", "author": "somebody"}) is None


def test_ultralytics_is_torchvisions_resize_and_crop(tmp_path: Path, chelsea: np.ndarray) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    explainer = Explainer(saved(ULTRALYTICS, tmp_path), providers="cpu")
    assert explainer.labels == tuple(NAMES.values())
    assert explainer.preprocessing_note == "read from the file's metadata (Ultralytics' task classify, imgsz)"
    # ultralytics.data.augment.classify_transforms
    steps = [transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()]
    expected = transforms.Compose(steps)(Image.fromarray(chelsea)).numpy()
    fed = explainer.preprocessing.normalise(explainer.preprocessing.crop(chelsea)[0])
    np.testing.assert_allclose(fed[0], expected, atol=1e-6)


def test_ultralytics_other_tasks_and_sizes() -> None:
    assert preprocessing_inside({**ULTRALYTICS, "task": "detect"}) is None
    wide = preprocessing_inside({**ULTRALYTICS, "imgsz": "[32, 64]"})
    assert wide is not None
    assert (wide.size, wide.crop) == ((32, 64), "none")


def test_rapidocr_names_classes_only(tmp_path: Path) -> None:
    explainer = Explainer(saved({"character": "\n".join("abcdefg")}, tmp_path), providers="cpu")
    assert explainer.labels == tuple("abcdefg")
    assert explainer.classifier.metadata.origin["labels"] == "read from the file's metadata (character)"
    assert (explainer.preprocessing_note or "").startswith("assumed: torchvision's ImageNet settings")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("labels", "a,b,c"),
        ("classes", '["a", "b", "c"]'),
        ("class_names", "a\nb\nc\n"),
        ("id2label", "{0: 'a', 1: 'b', 2: 'c'}"),
    ],
)
def test_names_under_other_keys(key: str, text: str) -> None:
    assert stated_labels({key: text}, None, 3) == (("a", "b", "c"), f"read from the file's metadata ({key})")
    other = stated_labels({"names": "3", key: text}, None, 3)  # what is no list of names does not hide one that is
    assert other[0] == ("a", "b", "c")


def test_otx_and_openvino() -> None:
    found = preprocessing_inside(OTX)
    assert found is not None
    assert found.complete
    assert (found.mean, found.std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    assert (found.crop, found.channel_order) == ("none", "RGB")
    assert found.source.startswith("read from the file's metadata (OTX's model_info: mean_values, scale_values, ")
    turned = preprocessing_inside({**OTX, "model_info reverse_input_channels": "True"})
    assert turned is not None
    assert turned.channel_order == "BGR"
    plain = {key: value for key, value in OTX.items() if "label_ids" not in key}
    blue_first = preprocessing_inside(plain)
    assert blue_first is not None
    assert blue_first.channel_order == "BGR"
    boxed = {**OTX, "model_info resize_type": "fit_to_window_letterbox", "model_info pad_value": "114"}
    found = preprocessing_inside(boxed)
    assert found is not None
    assert (found.fit, found.pad_color, found.complete) == ("letterbox", (114.0,), True)
    assert preprocessing_inside({"model_info labels": "a b"}) is None


def test_names_of_otx_are_parted_by_spaces() -> None:
    names = ("a", "b_c", "d", "e", "f", "g", "h")
    assert stated_labels(OTX, None, 7) == (names, "read from the file's metadata (model_info labels)")


def test_label_schema_of_otx(tmp_path: Path) -> None:
    file = tmp_path / "label_schema.json"
    file.write_text(json.dumps({"label_names": ["cat", "dog"], "label_groups": [["cat", "dog"]]}))
    assert stated_labels({}, tmp_path / "m.onnx", 2) == (("cat", "dog"), "read from label_schema.json")
    old = {
        "10": {"_id": "10", "name": "ten", "is_empty": False},
        "9": {"_id": "9", "name": "nine", "is_empty": False},
        "0": {"_id": "0", "name": "none", "is_empty": True},
    }
    file.write_text(json.dumps({"label_tree": {}, "label_groups": [], "all_labels": old}))
    assert stated_labels({}, tmp_path / "m.onnx", 2)[0] == ("nine", "ten")
    file.write_text('{"stop_multiple": 1.0}')
    assert stated_labels({}, tmp_path / "m.onnx", 2) == (
        None,
        "none in label_schema.json: it has neither label_names nor all_labels",
    )


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"Image.NominalPixelRange": "0..255"}, "Image.NominalPixelRange is '0..255' where one of ONNX's values"),
        ({**IMAGE, "Image.ColorSpaceGamma": "Linear"}, "Image.ColorSpaceGamma is 'Linear'"),
        ({**ULTRALYTICS, "imgsz": "__import__('os')"}, r"imgsz is \"__import__\('os'\)\": it is neither JSON nor"),
        ({**ULTRALYTICS, "imgsz": "[32]"}, r"imgsz is '\[32\]' where \[height, width\]"),
        ({**ULTRALYTICS, "imgsz": "9" * 5000}, "imgsz is"),
        ({**OTX, "model_info mean_values": "1 " * 1_000_000}, "mean_values is"),
        ({**OTX, "model_info scale_values": "0"}, "scale_values is '0' where positive numbers"),
        ({**OTX, "model_info mean_values": "1 2"}, "mean_values is '1 2' where one number, or three"),
        ({**OTX, "model_info resize_type": "spin"}, "resize_type is 'spin', which is not supported"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_names_it(metadata: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"file's metadata says .* but {reason}.*Give --preprocess"):
        preprocessing_inside(metadata)
    Explainer(saved(metadata, tmp_path), providers="cpu", preprocessing="raw")


@pytest.mark.parametrize(
    ("metadata", "note"),
    [
        ({"names": "{0: 'a', 2: 'b'}"}, "(names): the index 1 is missing"),
        ({"names": "open('x')"}, "(names): it is neither JSON nor a list or dict in Python's syntax"),
        ({"names": "(" * 5000}, "(names): its lists and objects are nested 5,000 deep"),
        ({"names": "[" + "[]," * 1_000_000 + "[]]"}, "(names): it has more than 1,000,000 entries"),
        ({"names": r'["\ud800"]'}, "(names): it holds half of a surrogate pair"),
        ({"character": "a\n" * 1_000_001}, "(character): it has more than 1,000,000 names"),
        ({"labels": "a," * 1_000_001}, "(labels): it has more than 1,000,000 names"),
        ({"model_info labels": "a " * 1_000_001}, "(model_info labels): it has more than 1,000,000 names"),
        ({"names": "['a', 'b']"}, "(names): it names 2 classes, and the model has 7"),
        ({"character": "0\n180"}, "(character): it names 2 classes, and the model has 7"),
    ],
)
def test_names_that_do_not_fit_are_not_used_and_said(metadata: dict[str, str], note: str, tmp_path: Path) -> None:
    read = Explainer(saved(metadata, tmp_path), providers="cpu").classifier.metadata
    assert read.labels is None
    assert note in read.origin["labels"]


def test_the_file_wins_over_the_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor", "size": 32}')
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(index): f"b{index}" for index in range(7)}}))
    whole = Explainer(saved(ULTRALYTICS, tmp_path), providers="cpu")
    assert (whole.preprocessing.std, whole.labels) == ((255.0,) * 3, tuple(NAMES.values()))
    part = Explainer(saved(IMAGE, tmp_path), providers="cpu")
    assert (part.preprocessing.std, part.preprocessing.channel_order) == ((1.0,) * 3, "BGR")
    assert (part.preprocessing.resize_to, part.preprocessing.crop_rounding) == (None, "down")
    note = part.preprocessing_note or ""
    assert note.startswith(
        "read from preprocessor_config.json (ViTImageProcessor); read from the file's metadata (Image."
    )
    given = Explainer(tmp_path, providers="cpu", preprocessing="lite")
    assert given.preprocessing.mean == (127.0,) * 3
