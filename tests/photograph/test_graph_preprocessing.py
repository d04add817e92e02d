"""Preprocessing inside the graph: seen, said, and not done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from beginnings import begun, node
from onnx import TensorProto, helper
from tiny_models import classifier

from secam_onnx import Explainer, Preprocessing, runtime
from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.errors import OptionError, PreprocessingWarning
from secam_onnx.graph.index import Graph
from secam_onnx.photograph.graph_preprocessing.recognise import recognise_preprocessing
from secam_onnx.photograph.model_input import image_input
from secam_onnx.photograph.preprocessing_settings import PreprocessingSettings

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])
NHWC = ("N", 32, 32, 3)


def a_channel(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(1, 3, 1, 1)


def transform_input() -> onnx.ModelProto:
    """What torchvision's Inception-v3 and GoogLeNet do to inputs that are normalised already."""
    nodes, constants = [], {}
    for index in range(3):
        constants |= {
            f"i{index}": np.int64(index),
            f"a{index}": float(STD[index] / 0.5),
            f"b{index}": float((MEAN[index] - 0.5) / 0.5),
        }
        nodes += [
            node("Gather", "image", f"i{index}", f"c{index}", axis=1),
            node("Unsqueeze", f"c{index}", "one", f"u{index}"),
            node("Mul", f"u{index}", f"a{index}", f"m{index}"),
            node("Add", f"m{index}", f"b{index}", f"p{index}"),
        ]
    return begun([*nodes, node("Concat", "p0", "p1", "p2", "x", axis=1)], {**constants, "one": np.array([1])})


SPLIT = helper.make_node("Split", ["image"], ["r", "g", "b"], axis=1, num_outputs=3)
BEGINNINGS: dict[str, tuple[onnx.ModelProto, str, str]] = {
    "division by 255": (begun([node("Div", "image", "k", "x")], {"k": 255.0}), "pixels", "a division by 255"),
    "a wrapper with ImageNet's numbers": (
        begun(
            [node("Mul", "image", "k", "u"), node("Sub", "u", "m", "s"), node("Div", "s", "d", "x")],
            {"k": 1 / 255, "m": a_channel(MEAN), "d": a_channel(STD)},
        ),
        "pixels",
        "a multiplication by 0.00392157, then the subtraction of 0.485, 0.456, 0.406, then a division by 0.229, 0.224",
    ),
    "the same without the 255": (
        begun(
            [node("Sub", "image", "m", "s"), node("Div", "s", "d", "x")],
            {"m": a_channel(MEAN), "d": a_channel(STD)},
        ),
        "unit",
        "the subtraction of 0.485",
    ),
    "Keras' Rescaling, NHWC": (
        begun(
            [
                node("Cast", "image", "f", to=TensorProto.FLOAT),
                node("Mul", "f", "k", "u"),
                node("Add", "u", "m", "s"),
                node("Transpose", "s", "x", perm=[0, 3, 1, 2]),
            ],
            {"k": 1 / 127.5, "m": -1.0},
            NHWC,
        ),
        "pixels",
        "a multiplication by 0.00784314, then the addition of -1",
    ),
    "1 - x / 127.5": (
        begun([node("Div", "image", "k", "u"), node("Sub", "one", "u", "x")], {"k": 127.5, "one": 1.0}),
        "pixels",
        "a division by 127.5, then the subtraction from 1",
    ),
    "Caffe's means, behind a reversal": (
        begun(
            [
                node("Slice", "image", "start", "end", "axis", "step", "r"),
                node("Sub", "r", "m", "s"),
                node("Transpose", "s", "x", perm=[0, 3, 1, 2]),
            ],
            {"start": np.array([-1]), "end": np.array([-(2**31)]), "axis": np.array([3]), "step": np.array([-1]),
             "m": CAFFE},
            NHWC,
        ),
        "pixels",
        "the channels in reverse order, then the subtraction of 103.939, 116.779, 123.68",
    ),
    "a picture of means": (
        begun([node("Sub", "image", "m", "x")], {"m": np.full((3, 32, 32), 120.0)}), "pixels", "the subtraction of 120",
    ),
    "Split and Concat": (
        begun([SPLIT, node("Concat", "b", "g", "r", "c", axis=1), node("Div", "c", "k", "x")], {"k": 128.0}),
        "pixels",
        "the channels in reverse order, then a division by 128",
    ),
    "channels by GatherND, as PyTorch exports an index": (
        begun(
            [
                node("Transpose", "image", "t", perm=[1, 0, 2, 3]),
                node("GatherND", "t", "i", "g"),
                node("Transpose", "g", "r", perm=[1, 0, 2, 3]),
                node("Div", "r", "k", "x"),
            ],
            {"i": np.array([[2], [1], [0]]), "k": 255.0},
        ),
        "pixels",
        "the channels in reverse order, then a division by 255",
    ),
    "a Resize by a size that is computed": (
        begun(
            [
                node("Div", "image", "k", "u"),
                node("Shape", "u", "n", start=0, end=2),
                node("Concat", "n", "hw", "sizes", axis=0),
                node("Resize", "u", "", "", "sizes", "x"),
            ],
            {"k": 255.0, "hw": np.array([32, 32])},
            ("N", 3, 48, 48),
        ),
        "pixels",
        "a division by 255, then a Resize to 32 x 32",
    ),
    "one image without a batch axis": (
        begun(
            [node("Unsqueeze", "image", "zero", "u"), node("Div", "u", "k", "x")],
            {"zero": np.array([0]), "k": 255.0},
            (3, 32, 32),
        ),
        "pixels",
        "a division by 255",
    ),
    "a Cast to integers": (
        begun([node("Cast", "image", "i", to=TensorProto.UINT8), node("Cast", "i", "x", to=TensorProto.FLOAT)]),
        "pixels",
        "a Cast to integers",
    ),
    "BatchNormalization of pixels": (
        begun([node("BatchNormalization", "image", "g", "b", "m", "v", "x")],
              {"g": np.array([1.4, 0.7, 1.0]), "b": np.array([0.3, -4, 2]), "m": np.full(3, 118.0),
               "v": np.full(3, 3600.0)}),
        "pixels",
        "a BatchNormalization with mean 118 and std 60",
    ),
    "BatchNormalization of what is normalised": (
        begun([node("BatchNormalization", "image", "g", "b", "m", "v", "x")],
              {"g": np.ones(3), "b": np.zeros(3), "m": np.full(3, 0.05), "v": np.full(3, 1.1)}),
        "",
        "a BatchNormalization with mean 0.05",
    ),
    "torchvision's transform_input": (transform_input(), "", "a multiplication by 0.458"),
    "times 255": (begun([node("Mul", "image", "k", "x")], {"k": 255.0}), "unit", "a multiplication by 255"),
    "fake quantisation": (
        begun([node("QuantizeLinear", "image", "k", "z", "q"), node("DequantizeLinear", "q", "k", "z", "x")],
              {"k": 0.02, "z": np.uint8(114)}),
        "",
        "",
    ),
    "quantisation of normalised pixels as int8": (
        begun([node("QuantizeLinear", "image", "k", "z", "q"), node("DequantizeLinear", "q", "k", "z", "x")],
              {"k": 0.0207, "z": np.int8(-14)}),
        "",
        "",
    ),
    "quantisation of -1..1": (
        begun([node("QuantizeLinear", "image", "k", "z", "q"), node("DequantizeLinear", "q", "k", "z", "x")],
              {"k": 2 / 255, "z": np.uint8(128)}),
        "",
        "",
    ),
    "quantisation of 0..1": (
        begun([node("QuantizeLinear", "image", "k", "z", "q"), node("DequantizeLinear", "q", "k", "z", "x")],
              {"k": 1 / 255, "z": np.int8(-128)}),
        "unit",
        "a QuantizeLinear to 0..1",
    ),
    "quantisation of 0..255": (
        begun([node("QuantizeLinear", "image", "k", "q"), node("DequantizeLinear", "q", "k", "x")], {"k": 1.0}),
        "pixels",
        "a QuantizeLinear to 0..255",
    ),
    "Clip 0..1": (begun([node("Clip", "image", "a", "b", "x")], {"a": 0.0, "b": 1.0}), "unit", "a Clip to 0..1"),
    "Clip of what was centred": (
        begun([node("Div", "image", "b", "d"), node("Sub", "d", "c", "s"), node("Clip", "s", "a", "c", "x")],
              {"a": -1.0, "b": 0.5, "c": 1.0}),
        "unit",
        "a division by 0.5, then the subtraction of 1, then a Clip to -1..1",
    ),
    "ReLU6": (begun([node("Clip", "image", "a", "b", "x")], {"a": 0.0, "b": 6.0}), "", ""),
    "ImageNet's numbers as a depthwise Conv": (
        begun([node("Conv", "image", "w", "b", "x", group=3)],
              {"w": (1 / 255 / STD).reshape(3, 1, 1, 1), "b": -MEAN / STD}),
        "pixels",
        "a 1 x 1 Conv, each channel times 0.0171248",
    ),
    "a Conv that also turns the channels round": (
        begun([node("Conv", "image", "w", "x")], {"w": np.eye(3)[::-1].reshape(3, 3, 1, 1) / 255}),
        "pixels",
        "a 1 x 1 Conv, each channel times 0.00392157 in another order",
    ),
    "a Conv that mixes channels": (
        begun([node("Conv", "image", "w", "x")], {"w": (np.eye(3) + 0.1).reshape(3, 3, 1, 1) / 255}), "", "",
    ),
    "nothing": (classifier(), "", ""),
    "padding of a convolution": (
        begun([node("Pad", "image", "p", "x")], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, ("N", 3, 30, 30)), "", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEGINNINGS)
def test_what_the_graph_begins_with(name: str) -> None:
    model, expects, steps = BEGINNINGS[name]
    graph = Graph(model)
    found = recognise_preprocessing(graph, "image", image_input(graph).axes)
    assert found.expects == expects
    assert str(found).startswith(steps) if steps else not found.steps


def test_means_by_channel_of_the_input() -> None:
    found = recognise_preprocessing(Graph(BEGINNINGS["Caffe's means, behind a reversal"][0]), "image", "NHWC")
    assert found.mean == pytest.approx(CAFFE[::-1])
    assert found.channel_order == "RGB"  # blue is subtracted from what was the last channel
    plain = begun([node("Sub", "image", "m", "x")], {"m": a_channel(CAFFE)})
    assert recognise_preprocessing(Graph(plain), "image", "NCHW").channel_order == "BGR"


@pytest.mark.filterwarnings("error")
def test_a_mean_of_zero_and_a_factor_of_zero() -> None:
    zero = begun([node("Sub", "image", "m", "s"), node("Div", "s", "k", "x")], {"m": a_channel([0, 1, 2]), "k": 255.0})
    assert recognise_preprocessing(Graph(zero), "image", "NCHW").mean == pytest.approx([0, 1, 2])
    nothing = begun([node("Mul", "image", "k", "x")], {"k": a_channel([1 / 255, 0, 1 / 255])})
    assert recognise_preprocessing(Graph(nothing), "image", "NCHW").expects == ""


def test_two_branches_of_which_one_takes_the_picture_as_it_comes() -> None:
    model = begun([node("Div", "image", "k", "x")], {"k": 255.0})
    model.graph.node.extend([node("GlobalMaxPool", "image", "other")])
    assert not recognise_preprocessing(Graph(model), "image", "NCHW").steps


@pytest.mark.parametrize(("other", "expects"), [(127.5, "pixels"), (0.5, "")])
def test_two_branches_that_scale_each_in_its_own_way(other: float, expects: str) -> None:
    model = begun([node("Div", "image", "k", "x")], {"k": 255.0, "o": other})
    model.graph.node.extend([node("Div", "image", "o", "o1"), node("GlobalMaxPool", "o1", "o2")])
    found = recognise_preprocessing(Graph(model), "image", "NCHW")
    assert (found.expects, str(found)) == (expects, "a division by 255" if expects else "")


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def own_logits(path: Path, inputs: np.ndarray) -> np.ndarray:
    session = runtime.open_session(path, "cpu")
    return session.run(None, {"image": inputs})[0][0]


@pytest.mark.parametrize(
    "name",
    ["division by 255", "a wrapper with ImageNet's numbers", "Keras' Rescaling, NHWC", "a picture of means"],
)
def test_raw_pixels_are_fed_where_nobody_says(name: str, tmp_path: Path, chelsea: np.ndarray) -> None:
    model, _, steps = BEGINNINGS[name]
    path = saved(model, tmp_path)
    explainer = Explainer(path, providers="cpu")
    note = explainer.preprocessing_note or ""
    assert note.startswith("assumed: torchvision's crop and filter, since the file does not say; the graph begins with")
    assert steps in note
    assert note.endswith("raw pixels are fed")
    assert explainer.preprocessing_warning is None
    seen = explainer.preprocessing.crop(chelsea)[0].astype(np.float32)
    inputs = seen[None] if explainer.preprocessing.layout == "NHWC" else seen.transpose(2, 0, 1)[None]
    expected = own_logits(path, np.ascontiguousarray(inputs))
    result = explainer.explain(chelsea, "all")
    by_index = sorted(result.classes, key=lambda prediction: prediction.index)
    np.testing.assert_allclose([one.logit for one in by_index], expected, rtol=1e-5, atol=1e-5)


def test_unit_and_blue_first(tmp_path: Path) -> None:
    unit = Explainer(saved(BEGINNINGS["the same without the 255"][0], tmp_path), providers="cpu")
    assert (unit.preprocessing.mean, unit.preprocessing.std) == ((0,) * 3, (255,) * 3)
    caffe = begun([node("Sub", "image", "m", "x")], {"m": a_channel(CAFFE)})
    explainer = Explainer(saved(caffe, tmp_path), providers="cpu")
    assert explainer.preprocessing.channel_order == "BGR"
    assert "blue, green and red: BGR" in (explainer.preprocessing_note or "")


@pytest.mark.parametrize(
    "name", ["torchvision's transform_input", "BatchNormalization of what is normalised", "nothing"]
)
def test_what_tells_nothing_changes_nothing(name: str, tmp_path: Path) -> None:
    explainer = Explainer(saved(BEGINNINGS[name][0], tmp_path), providers="cpu")
    assert explainer.preprocessing == Preprocessing.preset("torchvision", (32, 32))
    assert explainer.preprocessing_note == "assumed: torchvision's ImageNet settings, since the file does not say"
    assert explainer.preprocessing_warning is None


def test_what_is_given_wins_and_is_warned_of(tmp_path: Path, chelsea: np.ndarray) -> None:
    path = saved(BEGINNINGS["a wrapper with ImageNet's numbers"][0], tmp_path)
    with pytest.warns(PreprocessingWarning, match="--preprocess raw is right") as caught:
        explainer = Explainer(path, providers="cpu", preprocessing="torchvision")
    assert [entry.filename for entry in caught] == [__file__]
    assert explainer.preprocessing.mean == pytest.approx(MEAN * 255)
    warning = explainer.preprocessing_warning or ""
    assert "is made for pixels of 0..255 and turns them into -2.12 to 2.64" in warning
    assert "(preset torchvision) feeds it -2.12 to 2.64, which it turns into -2.15 to -1.76" in warning
    assert "--preprocess raw is right" in warning
    assert explainer.explain(chelsea).to_dict()["method"]["preprocessing"]["warning"] == warning
    report = inspect_model(path, preprocessing="torchvision")
    assert report["origin"]["preprocessing_warning"] == warning
    assert report["origin"]["graph_begins_with"].startswith("a multiplication by 0.00392157")
    right = Explainer(path, providers="cpu", preprocessing="raw")
    assert right.preprocessing_warning is None


def test_of_values_that_the_graph_divides_itself_nothing_else_may_be_said(tmp_path: Path) -> None:
    path = saved(BEGINNINGS["the same without the 255"][0], tmp_path)
    assert "--preprocess unit is right" in (
        Explainer(path, providers="cpu", preprocessing="raw").preprocessing_warning or ""
    )


def test_what_is_cut_off_is_warned_of(tmp_path: Path) -> None:
    path = saved(BEGINNINGS["quantisation of 0..1"][0], tmp_path)
    assert Explainer(path, providers="cpu").preprocessing.std == (255,) * 3
    warning = Explainer(path, providers="cpu", preprocessing="torchvision").preprocessing_warning or ""
    assert "a QuantizeLinear to 0..1, which is made for pixels divided by 255 and turns them into 0 to 1" in warning
    assert "feeds it -2.12 to 2.64, which it turns into 0 to 1. Unless" in warning


def test_a_resize_in_the_graph_gives_the_size(tmp_path: Path, chelsea: np.ndarray) -> None:
    model = begun(
        [node("Resize", "image", "", "", "sizes", "x", mode="linear")],
        {"sizes": np.array([1, 3, 32, 32])},
        (1, 3, "H", "W"),
    )
    explainer = Explainer(saved(model, tmp_path), providers="cpu")
    assert explainer.preprocessing.size == (32, 32)
    assert explainer.classifier.metadata.origin["graph_begins_with"] == "a Resize to 32 x 32"
    other = Explainer(tmp_path / "m.onnx", providers="cpu", preprocessing=PreprocessingSettings(size=(64, 96)))
    assert other.explain(chelsea).segments.shape == (64, 96)


def uint8() -> onnx.ModelProto:
    nodes = [
        node("Cast", "image", "f", to=TensorProto.FLOAT),
        node("Sub", "f", "m", "s"),
        node("Div", "s", "m", "d"),
        node("Transpose", "d", "x", perm=[0, 3, 1, 2]),
    ]
    return begun(nodes, {"m": 127.5}, NHWC, TensorProto.UINT8)


def test_whole_numbers_are_pixels(tmp_path: Path, chelsea: np.ndarray) -> None:
    path = saved(uint8(), tmp_path)
    explainer = Explainer(path, providers="cpu")
    assert (explainer.preprocessing_note or "").endswith("the input is uint8: raw pixels")
    seen = explainer.preprocessing.crop(chelsea)[0]
    by_index = sorted(explainer.explain(chelsea, "all").classes, key=lambda prediction: prediction.index)
    np.testing.assert_allclose([one.logit for one in by_index], own_logits(path, seen[None]), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("scale", "zero"), [(1 / 255, 0), (2 / 255, 128)])
def test_whole_numbers_that_the_graph_dequantises_itself(scale: float, zero: int, tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", "image", "k", "z", "d"),
        node("Transpose", "d", "t", perm=[0, 3, 1, 2]),
        node("Sub", "t", "m", "s"),
        node("Div", "s", "h", "x"),
    ]
    constants = {"k": scale, "z": np.uint8(zero), "m": a_channel(MEAN * (zero == 0)), "h": 0.5}
    model = begun(nodes, constants, NHWC, TensorProto.UINT8)
    found = recognise_preprocessing(Graph(model), "image", "NHWC")
    assert found.expects == "pixels"
    assert found.mean == pytest.approx(np.full(3, zero) if zero else MEAN * 255)
    explainer = Explainer(saved(model, tmp_path), providers="cpu")
    assert explainer.preprocessing.std == (1,) * 3
    assert explainer.preprocessing_warning is None


@pytest.mark.parametrize(
    "wanted",
    [
        "torchvision",
        "unit",
        PreprocessingSettings(mean=(127.5,) * 3),
        PreprocessingSettings(std=(2.0,) * 3),
        Preprocessing((32, 32), mean=(0.0,) * 3, std=(255.0,) * 3, layout="NHWC"),
    ],
    ids=repr,
)
def test_anything_else_is_refused_for_whole_numbers(wanted: object, tmp_path: Path) -> None:
    path = saved(uint8(), tmp_path)
    with pytest.raises(OptionError, match=r"'image' is uint8: it takes raw pixels, 0\.\.255, and nothing else"):
        Explainer(path, providers="cpu", preprocessing=wanted)
    Explainer(path, providers="cpu", preprocessing="raw")


def test_files_beside_give_the_crop_of_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor", "size": 32}')
    explainer = Explainer(saved(uint8(), tmp_path), providers="cpu")
    assert explainer.preprocessing == Preprocessing(
        (32, 32), mean=(0.0,) * 3, std=(1.0,) * 3, layout="NHWC", crop_rounding="down"
    )
    assert explainer.preprocessing_note == (
        "the input is uint8: raw pixels; the rest read from preprocessor_config.json (ViTImageProcessor)"
    )
