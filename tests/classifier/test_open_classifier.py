"""Ordinary ONNX classifiers, made explainable in memory: layouts, fixed batches, probabilities only, odd inputs."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import HEADS, classifier, mlp_on_pixels

from secam_onnx import Explainer, Preprocessing, PreprocessingSettings, runtime
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.default_model import default_model
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.head_query import HeadQuery


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def own_outputs(path: Path, image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What plain ONNX Runtime says of the file as it lies there."""
    session = runtime.open_session(path, "cpu")
    inputs = preprocessing.normalise(preprocessing.crop(image)[0])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0][0]


@pytest.mark.parametrize("head", [name for name in HEADS if "sin" not in name])
def test_an_ordinary_model_is_explained_as_it_is(tmp_path: Path, chelsea: np.ndarray, head: str) -> None:
    path = saved(classifier(head), tmp_path)
    explainer = Explainer(path, providers="cpu")
    assert explainer.preprocessing == Preprocessing.preset("torchvision", (32, 32))
    assert (explainer.preprocessing_note or "").startswith("assumed: torchvision's")
    explanation = explainer.explain(chelsea, "all")
    assert explanation.classes[3].label == "class 3"
    logits = own_outputs(path, chelsea, explainer.preprocessing)
    np.testing.assert_allclose([entry.logit for entry in explanation.classes], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        explanation.segment_contributions.sum(axis=1) + explanation.bias, logits, rtol=1e-3, atol=1e-5
    )
    assert explanation.completeness_error < 1e-5


def test_probabilities_are_the_models_own(tmp_path: Path, chelsea: np.ndarray) -> None:
    path = saved(classifier(softmax=True), tmp_path)
    explainer = Explainer(path, providers="cpu", preprocessing="lite", labels=list("abcdefg"))
    assert explainer.preprocessing_note == "preset lite"
    explanation = explainer.explain(chelsea, "all")
    probabilities = own_outputs(path, chelsea, explainer.preprocessing)
    np.testing.assert_allclose([entry.probability for entry in explanation.classes], probabilities, rtol=1e-4)
    assert explainer.explain(chelsea, "g").classes[0].index == 6


def test_multi_label_probabilities_are_sigmoids(tmp_path: Path, chelsea: np.ndarray) -> None:
    model = classifier(softmax=True)
    model.graph.node[-1].op_type = "Sigmoid"
    del model.graph.node[-1].attribute[:]
    path = saved(model, tmp_path)
    explanation = Explainer(path, providers="cpu").explain(chelsea, "all")
    probabilities = own_outputs(path, chelsea, Preprocessing.preset("torchvision", (32, 32)))
    np.testing.assert_allclose([entry.probability for entry in explanation.classes], probabilities, rtol=1e-4)


def test_a_fixed_batch_axis_runs_image_by_image(tmp_path: Path, chelsea: np.ndarray) -> None:
    free, fixed = tmp_path / "free", tmp_path / "fixed"
    for folder, shape in ((free, ["N", 3, 32, 32]), (fixed, [1, 3, 32, 32])):
        folder.mkdir()
        saved(classifier(input_shape=shape), folder)
    images = [chelsea, chelsea[::-1], chelsea[:, ::-1]]
    expected = Explainer(free / "model.onnx", providers="cpu").explain_batch(images)
    for one, other in zip(
        Explainer(fixed / "model.onnx", providers="cpu").explain_batch(images), expected, strict=True
    ):
        np.testing.assert_allclose(one.cam, other.cam, rtol=1e-4, atol=1e-6)


def turned(shape: list[int | str]) -> onnx.ModelProto:
    """A classifier whose input has its channels last, declared with any shape."""
    model = classifier()
    model.graph.node[0].input[0] = "nchw"
    model.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    return model


def test_channels_last(tmp_path: Path, chelsea: np.ndarray) -> None:
    for name, model in (("plain", classifier()), ("turned", turned(["N", 32, 32, 3]))):
        (tmp_path / name).mkdir()
        saved(model, tmp_path / name)
    plain, last = (Explainer(tmp_path / name / "model.onnx", providers="cpu") for name in ("plain", "turned"))
    assert last.preprocessing.layout == "NHWC"
    np.testing.assert_allclose(last.explain(chelsea).cam, plain.explain(chelsea).cam, rtol=1e-4, atol=1e-6)


def test_any_input_size(tmp_path: Path, chelsea: np.ndarray) -> None:
    path = saved(classifier(input_shape=["N", 3, "H", "W"]), tmp_path)
    assert Explainer(path, providers="cpu").preprocessing.size == (224, 224)
    wide = Preprocessing(size=(48, 96))
    explanation = Explainer(path, providers="cpu", preprocessing=wide).explain(chelsea)
    assert explanation.cam.shape == (1, 12, 24)
    assert explanation.segments.shape == (48, 96)


@pytest.mark.parametrize("shape", [["N", "H", "W", "C"], ["N", 32, 32, "C"], ["N", 32, 32, 3]], ids=str)
def test_the_layout_can_be_told_where_the_shape_leaves_it_open(
    shape: list[int | str], tmp_path: Path, chelsea: np.ndarray
) -> None:
    settings = PreprocessingSettings(layout="NHWC", size=(32, 32))
    explainer = Explainer(saved(turned(shape), tmp_path), providers="cpu", preprocessing=settings)
    assert explainer.preprocessing.layout == "NHWC"
    (tmp_path / "plain").mkdir()
    plain = Explainer(saved(classifier(), tmp_path / "plain"), providers="cpu")
    np.testing.assert_allclose(explainer.explain(chelsea).cam, plain.explain(chelsea).cam, rtol=1e-4, atol=1e-6)
    assert (explainer.preprocessing_note or "").endswith("as given: size, layout")


def test_a_layout_that_the_shape_does_not_allow(tmp_path: Path) -> None:
    path = saved(classifier(), tmp_path)
    with pytest.raises(OptionError, match=r"input is NCHW, but the preprocessing .* makes NHWC"):
        open_classifier(path, preprocessing=PreprocessingSettings(layout="NHWC"))
    path = saved(turned(["N", "H", "W", 3]), tmp_path)
    with pytest.raises(OptionError, match=r"input is NHWC, but the preprocessing .* makes NCHW"):
        open_classifier(path, preprocessing=PreprocessingSettings(layout="NCHW"))


CONFIG = '{"id2label": {"1": "b", "0": "a", "2": "c", "3": "d", "4": "e", "5": "f", "6": "g"}}'
PROCESSOR = '{"image_processor_type": "ViTImageProcessor", "size": 32}'


def test_the_files_beside_an_ordinary_model_are_read(tmp_path: Path) -> None:
    saved(classifier(), tmp_path)
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "preprocessor_config.json").write_text(PROCESSOR)
    explainer = Explainer(tmp_path, providers="cpu")
    assert explainer.labels == tuple("abcdefg")
    half = (127.5,) * 3
    assert explainer.preprocessing == Preprocessing((32, 32), mean=half, std=half, crop_rounding="down")
    assert explainer.preprocessing_note == "read from preprocessor_config.json (ViTImageProcessor)"


def test_what_is_given_wins_over_the_files_beside(tmp_path: Path) -> None:
    saved(classifier(), tmp_path)
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "preprocessor_config.json").write_text(PROCESSOR)
    box = PreprocessingSettings(interpolation="box")
    part = open_classifier(tmp_path, preprocessing=box, labels=tuple("tuvwxyz")).metadata
    assert part.labels == tuple("tuvwxyz")
    assert (part.preprocessing.interpolation, part.preprocessing.mean) == ("box", (127.5,) * 3)
    assert part.origin["preprocessing"].endswith("(ViTImageProcessor); as given: interpolation")
    assert "labels" not in part.origin
    (tmp_path / "preprocessor_config.json").write_text("{")
    whole = open_classifier(tmp_path, preprocessing="lite").metadata
    assert whole.preprocessing == Preprocessing.preset("lite", (32, 32))
    assert whole.origin["preprocessing"] == "preset lite"
    with pytest.raises(ModelError, match="it is not JSON"):
        open_classifier(tmp_path, preprocessing=box)


def test_a_preprocessor_for_another_size_is_refused_with_a_way_out(tmp_path: Path) -> None:
    saved(classifier(), tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(PROCESSOR.replace("32", "64"))
    with pytest.raises(OptionError, match=r"takes inputs of 32 x 32 .*read from .* makes 64 x 64\. With --size 32x32"):
        open_classifier(tmp_path)
    settings = PreprocessingSettings(size=(32, 32))
    assert open_classifier(tmp_path, preprocessing=settings).metadata.preprocessing.mean == (127.5,) * 3


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("{", "none in config.json: it is not JSON"),
        ('{"id2label": {"0": "a"}}', "names 1 class, and the model has 7"),
    ],
)
def test_files_of_other_programs_do_no_harm(content: str, note: str, tmp_path: Path) -> None:
    saved(classifier(), tmp_path)
    (tmp_path / "config.json").write_text(content)
    metadata = open_classifier(tmp_path).metadata
    assert metadata.labels is None
    assert note in metadata.origin["labels"]
    assert metadata.origin["preprocessing"].startswith("assumed: torchvision's")
    assert ("config.json beside it is not used" in metadata.origin["preprocessing"]) == (content == "{")


def test_an_explainable_model_does_not_look_beside_itself(tmp_path: Path) -> None:
    from secam_onnx.export import Source, export_model

    metadata = export_model(Source(classifier()), tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "preprocessor_config.json").write_text(PROCESSOR)
    assert open_classifier(tmp_path).metadata == metadata
    darker = open_classifier(tmp_path, preprocessing=PreprocessingSettings(mean=(0.0,) * 3)).metadata
    assert (darker.preprocessing.mean, darker.preprocessing.std) == ((0,) * 3, metadata.preprocessing.std)
    assert darker.origin["preprocessing"] == f"{metadata.origin['preprocessing']}; as given: mean"


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = saved(classifier(), tmp_path)
    with pytest.raises(
        ModelError,
        match=r"is NCHW of size \(32, 32\) with 3 channels, but the preprocessing makes NCHW of size \(64, 64\)",
    ):
        open_classifier(path, preprocessing=Preprocessing(size=(64, 64)))
    with pytest.raises(OptionError, match="There are 2 labels for 7 classes"):
        open_classifier(path, labels=("a", "b"))
    with pytest.raises(OptionError, match="Unknown preprocessing preset 'torch'"):
        open_classifier(path, preprocessing="torch")
    with pytest.raises(ModelError, match=r"without a spatial feature map"):
        open_classifier(saved(mlp_on_pixels(), tmp_path))


def test_an_explainable_model_keeps_its_own_settings(tmp_path: Path) -> None:
    given = {"preprocessing": "unit", "labels": ("a",)}
    with pytest.raises(OptionError, match=r"The default model fixes its own preprocessing and labels; name the model"):
        open_classifier(default_model(), **given)
    shutil.copy(default_model(), tmp_path / "another.onnx")
    with pytest.raises(OptionError, match=r"another.*fixes its own preprocessing and labels; .*secam-onnx export"):
        open_classifier(tmp_path / "another.onnx", **given)


def test_nan_logits_are_an_error(tmp_path: Path, chelsea: np.ndarray) -> None:
    model = classifier()
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "logits.bias")
    bias.raw_data = np.full(7, np.nan, dtype=np.float32).tobytes()
    with pytest.raises(ModelError, match="logits are NaN or infinite"):
        Explainer(saved(model, tmp_path), providers="cpu").explain(chelsea)


def test_a_feature_map_that_depends_on_the_batch_is_no_surprise(tmp_path: Path, chelsea: np.ndarray) -> None:
    """A model whose reshape fixes the batch at run time is asked for one image after the other."""
    model = classifier("flatten+fc")
    flat = next(node for node in model.graph.node if node.output[0] == "flat")
    flat.op_type = "Reshape"
    flat.input.append("shape")
    model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [2], [1, 6 * 8 * 8]))
    explainer = Explainer(saved(model, tmp_path), providers="cpu")
    opened: Any = explainer.classifier
    expected = explainer.explain(chelsea)
    assert expected.completeness_error < 1e-5
    for found in explainer.explain_batch([chelsea, chelsea]):
        np.testing.assert_array_equal(found.segment_scores, expected.segment_scores)
    with pytest.raises(ModelError, match=r"fails on an input of shape \(2, 3, 32, 32\)"):
        opened.forward(np.zeros((2, 3, 32, 32), np.float32))


def test_what_an_exported_model_leaves_open_can_be_given(tmp_path: Path) -> None:
    from secam_onnx.export import Source, export_model

    export_model(Source(classifier()), tmp_path / "open.onnx")
    metadata = open_classifier(tmp_path / "open.onnx", preprocessing="lite", labels=tuple("abcdefg")).metadata
    assert metadata.preprocessing == Preprocessing.preset("lite", (32, 32))
    assert metadata.origin["preprocessing"] == "preset lite"
    assert metadata.labels == tuple("abcdefg")
    with pytest.raises(OptionError, match="There are 2 labels for 7 classes"):
        open_classifier(tmp_path / "open.onnx", labels=("a", "b"))
    export_model(Source(classifier(), "unit", tuple("abcdefg")), tmp_path / "fixed.onnx")
    for given in ({"preprocessing": "lite"}, {"labels": tuple("abcdefg")}):
        with pytest.raises(OptionError, match=f"fixes its own {next(iter(given))}"):
            open_classifier(tmp_path / "fixed.onnx", **given)


def test_a_grid_of_tokens_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"3 x 5 tokens .* 'feature_map', has a grid of its own"):
        open_classifier(saved(classifier(), tmp_path), query=HeadQuery(token_grid=(3, 5)))


def large(folder: Path, **options: object) -> Path:
    """A model with weights of more than 64 KiB, which are not read with it."""
    folder.mkdir(parents=True, exist_ok=True)
    return saved(classifier("mlp", channels=64, classes=300, **options), folder)


def forwarded(path: Path) -> list[np.ndarray]:
    opened = open_classifier(path, providers="cpu")
    features, logits, _ = opened.forward(INPUTS)
    return [*features, logits, *opened.contribute(features, np.array([[1, 2]] * len(INPUTS)))]


INPUTS = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)


def test_large_weights_are_found_wherever_the_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large(tmp_path / "with spaces, \u4e2d")
    whole, paths = onnx.load(path), [path]
    onnx.save(whole, path.with_name("b.onnx"), save_as_external_data=True, location="b.data", size_threshold=1000)
    paths.append(path.with_name("b.onnx"))
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("elsewhere/link.onnx", path), ("linked folder", path.parent)):
        try:
            (tmp_path / name).symlink_to(target)
        except OSError:
            continue  # not everybody may make links on Windows
        paths.append(tmp_path / name if target is path else tmp_path / name / path.name)
    monkeypatch.chdir(path.parent)
    paths.append(Path(path.name))
    own = runtime.open_session(path, "cpu").run(["logits"], {"image": INPUTS})[0]
    expected = forwarded(path)
    np.testing.assert_allclose(expected[1], own, rtol=1e-4, atol=1e-5)
    for other in paths:
        for one, wanted in zip(forwarded(other), expected, strict=True):
            np.testing.assert_array_equal(one, wanted)


@pytest.mark.parametrize("kind", ["flatten+fc", "mlp"])
@pytest.mark.parametrize("shape", [None, (1, 3, 32, 32), (4, 3, 32, 32)], ids=["any", "one", "four"])
def test_a_layer_that_is_split_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chelsea: np.ndarray, kind: str, shape: tuple[int, ...] | None
) -> None:
    path = saved(classifier(kind, softmax=kind == "mlp", input_shape=shape), tmp_path)
    whole = Explainer(path, providers="cpu")
    opened: Any = whole.classifier
    assert not opened.fed
    for limit in ("_LARGE", "_FEWEST"):
        monkeypatch.setattr(f"secam_onnx.head.layer_split.{limit}", 1)
    for threads in (None, 1):
        explainer = Explainer(path, providers="cpu", threads=threads)
        opened = explainer.classifier
        assert len(opened.fed) == 1
        for image in (chelsea, chelsea[::-1]):
            found, wanted = explainer.explain(image, "all"), whole.explain(image, "all")
            # How much each differs from the file is its own.
            assert {**found.method, "fidelity": None} == {**wanted.method, "fidelity": None}
            np.testing.assert_allclose(found.segment_contributions, wanted.segment_contributions, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(found.bias, wanted.bias, rtol=1e-3, atol=1e-5)
            np.testing.assert_array_equal(found.segments, wanted.segments)
            logits = [entry.logit for entry in wanted.classes]
            np.testing.assert_allclose([entry.logit for entry in found.classes], logits, rtol=1e-4, atol=1e-5)


def test_a_shape_that_only_a_run_tells_does_not_keep_a_layer_from_being_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chelsea: np.ndarray
) -> None:
    model = classifier("mlp")
    place = next(index for index, node in enumerate(model.graph.node) if "active" in node.output)
    model.graph.node[place].input[0] = "viewed"
    for index, node in enumerate(
        [
            helper.make_node("Shape", ["hidden"], ["shape"]),
            helper.make_node("Cast", ["shape"], ["lengths"], to=TensorProto.FLOAT),
            helper.make_node("Abs", ["lengths"], ["same"]),
            helper.make_node("Cast", ["same"], ["target"], to=TensorProto.INT64),
            helper.make_node("Reshape", ["hidden", "target"], ["viewed"]),
        ]
    ):
        model.graph.node.insert(place + index, node)
    path = saved(model, tmp_path)
    wanted = Explainer(path, providers="cpu").explain(chelsea, "all")
    for limit in ("_LARGE", "_FEWEST"):
        monkeypatch.setattr(f"secam_onnx.head.layer_split.{limit}", 1)
    found = Explainer(path, providers="cpu").explain(chelsea, "all")
    np.testing.assert_allclose(found.segment_contributions, wanted.segment_contributions, rtol=1e-3, atol=1e-5)


def test_a_file_may_be_written_anew_once_it_is_open(tmp_path: Path) -> None:
    path = large(tmp_path)
    opened = open_classifier(path, providers="cpu")
    before = opened.forward(INPUTS)
    path.write_bytes(b"")  # in the same place; whoever had mapped the old one would crash
    for one, other in zip(opened.forward(INPUTS), before, strict=True):
        np.testing.assert_array_equal(one, other)
    opened.contribute(before[0], np.array([[1, 2]] * len(INPUTS)))


@pytest.mark.parametrize(("name", "step"), [("open_classifier", "analyse"), ("sessions", "without_weights")])
def test_a_file_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    module = importlib.import_module(f"secam_onnx.classifier.{name}")
    path, original = large(tmp_path), getattr(module, step)

    def interrupted(*args: object, **kwargs: object) -> object:
        with path.open("r+b") as file:
            file.truncate(5000)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, step, interrupted)
    with pytest.raises(ModelError, match="was changed while it was read"):
        open_classifier(path, providers="cpu")
