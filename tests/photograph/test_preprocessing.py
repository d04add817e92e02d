import json

import numpy as np
import pytest
from PIL import Image

from secam_onnx.errors import OptionError
from secam_onnx.photograph.geometry import Geometry
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import PRESETS
from secam_onnx.schema import from_json

SIZES = [(300, 451), (451, 300), (333, 333), (97, 211), (224, 225), (1001, 503), (40, 37)]


def resized(chelsea: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(chelsea).resize(size[::-1]))


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose red is its column and whose green is its row."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x, y, 0 * x]).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("interpolation", "resize_to", "crop"),
    [
        ("bilinear", 256, (224, 224)),
        ("bicubic", 232, (224, 224)),
        ("bilinear", 175, (97, 128)),
        ("nearest", 64, (64,) * 2),
    ],
)
def test_crop_is_torchvisions(chelsea, size, interpolation, resize_to, crop):
    transforms = pytest.importorskip("torchvision.transforms")
    image = resized(chelsea, size)
    mode = transforms.InterpolationMode(interpolation)
    expected = transforms.CenterCrop(crop)(transforms.Resize(resize_to, mode)(Image.fromarray(image)))
    seen, geometry = Preprocessing(crop, resize_to, interpolation).crop(image)
    np.testing.assert_array_equal(seen, np.asarray(expected))
    assert (geometry.image_size, geometry.input_size) == (size, crop)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "weights",
    ["ResNet50_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2", "Inception_V3_Weights.IMAGENET1K_V1"],
)
def test_tensor_is_that_of_torchvisions_weights(chelsea, size, weights):
    models = pytest.importorskip("torchvision.models")
    transform = models.get_weight(weights).transforms()
    image = resized(chelsea, size)
    preprocessing = Preprocessing.preset(
        "torchvision", (transform.crop_size[0],) * 2, resize_to=transform.resize_size[0]
    )
    tensor = preprocessing.normalise(preprocessing.crop(image)[0])
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0], transform(Image.fromarray(image)).numpy(), rtol=0, atol=1e-5)


def test_default_resize_is_torchvisions():
    presets = pytest.importorskip("torchvision.transforms._presets")
    for edge in (224, 299, 448):
        preset = presets.ImageClassification(crop_size=edge, resize_size=round(edge * 256 / 224))
        assert Preprocessing.preset("torchvision", (edge, edge)).resize_to == preset.resize_size[0]


@pytest.mark.parametrize(
    ("preset", "formula"),
    [
        ("lite", lambda x: (x - 127) / 128),
        ("keras-tf", lambda x: x / 127.5 - 1),
        ("keras-caffe", lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68])),
        ("unit", lambda x: x / 255),
        ("raw", lambda x: x),
        ("torchvision", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_presets_follow_their_formulas(chelsea, preset, formula, layout):
    seen = chelsea[:20, :30]
    tensor = Preprocessing.preset(preset, (20, 30), layout).normalise(seen)
    expected = formula(seen.astype(np.float64))[None]
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor, expected if layout == "NHWC" else expected.transpose(0, 3, 1, 2), atol=1e-4)


@pytest.mark.parametrize("size", [(200, 250), (250, 130), (180, 180), (60, 101), (256, 90)])
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((96, 96), 110),
        Preprocessing((96, 64), 96),
        Preprocessing((224, 224), 256, "bicubic"),
        Preprocessing((64, 120), None),
        Preprocessing((50, 50), 64, "nearest"),
        Preprocessing((80, 70), (100, 96)),
        Preprocessing((81, 70), 101, crop_rounding="down"),
    ],
    ids=repr,
)
def test_geometry_says_where_each_pixel_came_from(size, preprocessing):
    image = coordinates(*size)
    seen, geometry = preprocessing.crop(image)
    left, top, right, bottom = geometry.box
    columns, rows = seen[0, :, 0].astype(float), seen[:, 0, 1].astype(float)
    maps = [image[..., channel].astype(float) for channel in (0, 1)]
    fetched = [geometry.to_input(values) for values in maps]
    carried = [geometry.to_image(seen[..., channel].astype(float), np.nan) for channel in (0, 1)]
    (seen_rows, _), (seen_columns, _) = geometry.positions()
    spans = ((left, right, columns, 0, seen_columns), (top, bottom, rows, 1, seen_rows))
    for start, stop, colours, channel, source in spans:
        step = (stop - start) / len(colours)
        # Filters blur and clip at the photograph's edge, by less than a step; elsewhere a gradient stays a gradient.
        slack = 0.51 + (step / 2 if preprocessing.interpolation == "nearest" else 0)
        centres = start + (np.arange(len(colours)) + 0.5) * step - 0.5
        inside = (centres > 2 * step + 1) & (centres < image.shape[1 - channel] - 2 * step - 2)
        assert inside.sum() > len(colours) // 3
        assert np.abs(colours - centres)[inside].max() <= slack
        assert np.abs(colours - centres).max() <= slack + step
        assert np.abs(fetched[channel] - seen[..., channel]).max() <= slack + step + 0.5
        assert np.nanmax(np.abs(carried[channel] - maps[channel])) <= slack + 1.5 * step + 0.5
        pixels = np.arange(image.shape[1 - channel])
        np.testing.assert_array_equal(source, pixels[(pixels + 0.5 >= start) & (pixels + 0.5 < stop)])
    unseen = np.ones(image.shape[:2], dtype=bool)
    unseen[np.ix_(seen_rows, seen_columns)] = False
    np.testing.assert_array_equal(np.isnan(carried[0]), unseen)


@pytest.mark.parametrize(("rounding", "left"), [("even", 2), ("down", 1)])
def test_which_way_half_a_pixel_goes(rounding, left):
    image = coordinates(10, 13)
    seen, geometry = Preprocessing((10, 10), 10, "nearest", crop_rounding=rounding).crop(image)
    assert geometry.box == (left, 0, left + 10, 10)
    np.testing.assert_array_equal(seen, image[:, left : left + 10])


def test_stretching_sees_the_whole_photograph(chelsea):
    seen, geometry = Preprocessing((80, 60), None).crop(chelsea)
    assert geometry.box == (0, 0, 451, 300)
    assert [len(index) for index, _ in geometry.positions()] == [300, 451]
    np.testing.assert_array_equal(
        seen, np.asarray(Image.fromarray(chelsea).resize((60, 80), Image.Resampling.BILINEAR))
    )


def test_labels_survive_the_way_to_a_larger_photograph_and_back():
    geometry = Geometry((100, 160), (20, 20), (30.0, 10.0, 110.0, 90.0))
    labels = np.random.default_rng(0).integers(0, 99, (20, 20)).astype(np.int32)
    on_image = geometry.to_image(labels, -1)
    assert on_image.dtype == np.int32
    np.testing.assert_array_equal(on_image[10:90, 30:110], np.kron(labels, np.ones((4, 4), dtype=int)))
    assert (on_image == -1).sum() == 100 * 160 - 80 * 80
    np.testing.assert_array_equal(geometry.to_input(on_image), labels)


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_json(preset):
    preprocessing = Preprocessing.preset(preset, (96, 128), "NHWC")
    assert from_json(Preprocessing, json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize("change", [lambda data: data.pop("size"), lambda data: data.update(colour=1)])
def test_missing_and_unknown_settings(change):
    data = Preprocessing((8, 8)).to_dict()
    change(data)
    with pytest.raises(ValueError, match=r"it has no size|it has 'colour', which is not known"):
        from_json(Preprocessing, data)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": (0, 224)},
        {"size": (224, 9000)},
        {"size": (224,)},
        {"size": (224.5, 224)},
        {"resize_to": 223},
        {"resize_to": 20_000},
        {"resize_to": 256.5},
        {"resize_to": (256, 223)},
        {"resize_to": (256, 256, 256)},
        {"crop_rounding": "up"},
        {"interpolation": "area"},
        {"mean": (0.0, 0.0)},
        {"mean": (0.0, 0.0, float("nan"))},
        {"std": (1.0, 1.0, 0.0)},
        {"std": (1.0, 1.0, float("inf"))},
        {"layout": "CHW"},
        {"channel_order": "RBG"},
    ],
    ids=str,
)
def test_settings_outside_their_range(settings):
    (name,) = settings
    with pytest.raises(OptionError, match=f"Preprocessing: {name} is"):
        Preprocessing(**{"size": (224, 224), **settings})


def test_unknown_preset():
    with pytest.raises(OptionError, match="Unknown preprocessing preset 'imagenet'; there are torchvision"):
        Preprocessing.preset("imagenet", (224, 224))
