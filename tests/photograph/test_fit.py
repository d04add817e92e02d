"""Letterboxing, and stretching before the crop, as others do them, and what is said of the padding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageOps
from tiny_models import classifier

from secam_onnx import Explainer, Preprocessing, Selection, fuse, runtime
from secam_onnx.errors import OptionError
from secam_onnx.explanation.prediction import signed
from secam_onnx.photograph.preprocessing_settings import PRESETS, PreprocessingSettings
from secam_onnx.schema import from_json

LETTERBOX = PreprocessingSettings(fit="letterbox", pad_color=(114.0,))
SIZES = [(300, 451), (451, 300), (64, 64), (20, 31), (7, 201)]


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("color", [(0.0,), (114.0, 20.0, 255.0)])
@pytest.mark.parametrize("size", SIZES)
def test_the_photograph_fits_inside_as_pillow_has_it(size: tuple[int, int], color: tuple[float, ...]) -> None:
    image = photograph(*size)
    seen, _ = Preprocessing((64, 48), "letterbox", pad_color=color).crop(image)
    inside = ImageOps.contain(Image.fromarray(image), (48, 64), Image.Resampling.BILINEAR)
    expected = Image.new("RGB", (48, 64), tuple(int(value) for value in (color if len(color) == 3 else color * 3)))
    expected.paste(inside, ((48 - inside.width) // 2, (64 - inside.height) // 2))
    np.testing.assert_array_equal(seen, np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_half_a_pixel_of_padding_goes_where_ultralytics_puts_it(size: tuple[int, int]) -> None:
    """Its LetterBox by hand, but for OpenCV's filter."""
    (height, width), image = size, photograph(*size)
    share = min(65 / height, 48 / width)
    new = round(width * share), round(height * share)
    left, top = (round((whole - part) / 2 - 0.1) for whole, part in zip((48, 65), new, strict=True))
    expected = np.full((65, 48, 3), 114, dtype=np.uint8)
    resized = Image.fromarray(image).resize(new, Image.Resampling.BILINEAR)
    expected[top : top + new[1], left : left + new[0]] = np.asarray(resized)
    for rounding in ("even", "down"):
        settings = Preprocessing((65, 48), "letterbox", crop_rounding=rounding, pad_color=(114.0,))
        np.testing.assert_array_equal(settings.crop(image)[0], expected)


def test_stretched_and_cropped_is_torchvisions(chelsea: np.ndarray) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    settings = Preprocessing.from_settings(PreprocessingSettings(fit="stretch", crop=0.875), (28, 56))
    assert settings.resize_to == (32, 64)
    steps = transforms.Compose([transforms.Resize((32, 64)), transforms.CenterCrop((28, 56))])
    np.testing.assert_array_equal(settings.crop(chelsea)[0], np.asarray(steps(Image.fromarray(chelsea))))


def test_the_box_goes_beyond_the_photograph() -> None:
    image = np.zeros((30, 60, 3), dtype=np.uint8)
    image[21, 45] = 255
    seen, geometry = Preprocessing((60, 60), "letterbox", "nearest", pad_color=(7.0,)).crop(image)
    assert geometry.box == (0, -15, 60, 45)
    assert geometry.on_image().sum() == 30 * 60
    assert (seen[~geometry.on_image()] == 7).all()
    (rows, _, _) = np.nonzero(seen == 255)
    assert set(rows) == {36}
    back = geometry.to_image(seen[..., 0], fill=99)
    np.testing.assert_array_equal(back, image[..., 0])


def test_settings_in_words_json_and_over_others() -> None:
    fitted = Preprocessing.from_settings(LETTERBOX.with_defaults(PRESETS["unit"]), (32, 48))
    assert (fitted.resize_to, fitted.pad_color, fitted.std) == ("letterbox", (114.0,), (255.0,) * 3)
    assert str(fitted).startswith("whole picture fitted inside 32 x 48, the rest padded with 114 (bilinear)")
    assert from_json(Preprocessing, json.loads(json.dumps(fitted.to_dict()))) == fitted
    assert Preprocessing.from_settings(
        PreprocessingSettings(pad_color=(0.0,)).with_defaults(fitted.settings())
    ).pad_color == (0.0,)
    larger = Preprocessing.from_settings(PreprocessingSettings(size=(64, 64)).with_defaults(fitted.settings()))
    assert (larger.size, larger.resize_to) == ((64, 64), "letterbox")
    cropped = PreprocessingSettings(crop=0.5).with_defaults(PreprocessingSettings(fit="letterbox"))
    assert (cropped.crop, cropped.fit) == (0.5, None)
    assert Preprocessing.from_settings(PreprocessingSettings(fit="stretch"), (32, 32)).resize_to is None
    assert Preprocessing.from_settings(PreprocessingSettings(fit="crop"), (28, 28)).resize_to == 32
    assert Preprocessing.from_settings(PreprocessingSettings(fit="letterbox")).pad_color == (0.0,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fit": "letterbox", "crop": 0.9}, "fit is 'letterbox', which does not go with crop 0.9"),
        ({"fit": "crop", "crop": "none"}, "fit is 'crop', which does not go with crop 'none'"),
        ({"fit": "pad"}, "fit is 'pad'; one of crop, stretch, letterbox"),
        ({"pad_color": (300.0,)}, r"pad_color is \(300.0,\); one number in 0..255"),
    ],
)
def test_what_does_not_go_together(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        PreprocessingSettings(**wrong)


def test_a_colour_without_padding() -> None:
    with pytest.raises(OptionError, match="only fit 'letterbox' pads"):
        Preprocessing.from_settings(PreprocessingSettings(pad_color=(1.0,)))
    with pytest.raises(OptionError, match="pad_color is None; with resize_to"):
        Preprocessing((32, 32), "letterbox")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "m.onnx"
    onnx.save(classifier("flatten+fc", size=64), path)
    return path


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    """With nothing of the padding's colour, and 2 : 1, so that half of the input is padding."""
    return photograph(80, 160)


def test_padding_carries_its_share_and_is_said(model: Path, wide: np.ndarray) -> None:
    explainer = Explainer(model, providers="cpu", preprocessing=LETTERBOX.with_defaults(PRESETS["torchvision"]))
    result = explainer.explain(wide, "all")
    shown = result.geometry.on_image()
    assert (shown.sum(axis=0) == 32).all()
    padding = result.padding
    assert 0 < padding.sum() < len(padding)
    np.testing.assert_array_equal(padding, [not shown[result.segments == label].any() for label in range(len(padding))])
    np.testing.assert_allclose(
        result.segment_contributions.sum(axis=1) + result.bias,
        [entry.logit for entry in result.classes],
        rtol=1e-4,
        atol=1e-4,
    )
    # Independent: what plain ONNX Runtime says of the letterboxed photograph.
    padded = ImageOps.pad(Image.fromarray(wide), (64, 64), Image.Resampling.BILINEAR, color=(114,) * 3)
    mean, std = (np.array(values, np.float32) for values in (explainer.preprocessing.mean, explainer.preprocessing.std))
    inputs = ((np.asarray(padded, np.float32) - mean) / std).transpose(2, 0, 1)[None]
    expected = runtime.open_session(model, "cpu").run(None, {"image": inputs})[0][0]
    by_index = sorted(result.classes, key=lambda entry: entry.index)
    np.testing.assert_allclose([entry.logit for entry in by_index], expected, rtol=1e-4, atol=1e-4)

    everything = Selection(top_segments=len(padding))
    assert result.mask(selection=everything).all()
    superpixels = result.to_dict()["classes"][0]["superpixels"]
    assert [entry["in_padding"] for entry in superpixels] == padding.tolist()
    for kind in ("superpixels", "heatmap", "cam"):
        assert result.overlay(kind=kind).size == (160, 80)


def test_the_panel_says_how_many_kept_ones_cannot_be_seen(
    model: Path, wide: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import secam_onnx.explanation.result

    said: list[str] = []
    drawn = secam_onnx.explanation.result.compose
    monkeypatch.setattr(secam_onnx.explanation.result, "compose", lambda *args: (said.append(args[1]), drawn(*args))[1])
    result = Explainer(model, providers="cpu", preprocessing=LETTERBOX).explain(wide)
    everything = Selection(top_segments=len(result.padding))
    result.panel(selection=everything)
    share = result.segment_contributions[0][result.padding].sum()
    assert said[0].endswith(f"(in the padding, not drawn: {result.padding.sum()} kept, {signed(share)})")
    cropped = Explainer(model, providers="cpu").explain(wide)
    assert not cropped.padding.any()
    assert not any(entry["in_padding"] for entry in cropped.to_dict()["classes"][0]["superpixels"])


def test_the_padding_is_a_superpixel_of_its_own_beside_given_ones(
    model: Path, wide: np.ndarray, tmp_path: Path
) -> None:
    own = np.zeros((80, 160), dtype=np.uint8)
    own[:, 80:] = 255
    result = Explainer(model, providers="cpu", preprocessing=LETTERBOX).explain(wide, segments=own)
    assert result.given_segment_ids is not None
    assert result.given_segment_ids.tolist() == [0, 255, None]
    assert result.padding.tolist() == [False, False, True]
    np.testing.assert_array_equal(result.segments == 2, ~result.geometry.on_image())
    result.save(tmp_path / "result")
    report = json.loads((tmp_path / "result" / "explanation.json").read_text(encoding="utf-8"))
    superpixels = [(entry["given_segment_id"], entry["in_padding"]) for entry in report["classes"][0]["superpixels"]]
    assert superpixels == [(0, False), (255, False), (None, True)]
    assert np.load(tmp_path / "result" / "arrays.npz")["given_segment_ids"].tolist()[:2] == [0, 255]


def test_numbers_given_to_the_padding_are_kept(model: Path, wide: np.ndarray) -> None:
    explainer = Explainer(model, providers="cpu", preprocessing=LETTERBOX)
    shown = explainer.explain(wide).geometry.on_image()
    superpixels = explainer.explain(wide, segments=np.where(shown, 5, 77)).to_dict()["classes"][0]["superpixels"]
    assert [(entry["given_segment_id"], entry["in_padding"]) for entry in superpixels] == [(5, False), (77, True)]


def test_a_fused_model_takes_the_letterboxed_picture(model: Path, wide: np.ndarray, tmp_path: Path) -> None:
    metadata = fuse(model, tmp_path / "fused.onnx", preprocessing=LETTERBOX)
    assert (metadata.preprocessing.resize_to, metadata.preprocessing.pad_color) == ("letterbox", (114.0,))
    ours = Explainer(tmp_path / "fused.onnx", providers="cpu").explain(wide)
    theirs = Explainer(model, providers="cpu", preprocessing=LETTERBOX).explain(wide)
    np.testing.assert_array_equal(ours.segments, theirs.segments)
    np.testing.assert_allclose(ours.segment_contributions, theirs.segment_contributions, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(ours.padding, theirs.padding)
