"""Keras's networks against Keras itself: preprocessing, probabilities, weights from everywhere, whole saved models."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from keras_networks import enliven

from secam_onnx import runtime
from secam_onnx.errors import MissingDependencyError, ModelError, OptionError
from secam_onnx.export import Source, open_source
from secam_onnx.photograph.images import read_image

if importlib.util.find_spec("keras") is None:  # to import it here would choose its backend
    pytest.skip("Keras is not installed", allow_module_level=True)

from secam_onnx.export import keras as keras_source
from secam_onnx.export.keras import from_keras, from_keras_file
from secam_onnx.export.keras_preprocessing import derive_preprocessing
from secam_onnx.export.keras_weights import load_weights

keras = keras_source.keras  # with the backend that this chose
FAMILIES = {
    name: module.preprocess_input
    for name, module in vars(keras.applications).items()
    if hasattr(module, "preprocess_input")
}
MOBILENET = keras.applications.MobileNet  # the cheapest to build and to export


def keras_recipe(photo: Path, size: tuple[int, int], family: str) -> np.ndarray:
    """A photograph as the documentation of Keras prepares it, `(1, h, w, 3)`."""
    image = keras.utils.load_img(photo, target_size=size)
    return FAMILIES[family](keras.utils.img_to_array(image)[None])


def probabilities(network: Any, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.stop_gradient(network(inputs, training=False))))


def run(source: Source, inputs: np.ndarray) -> np.ndarray:
    session = runtime.open_session(source.model.SerializeToString(), "cpu")
    (result,) = session.run(None, {session.get_inputs()[0].name: inputs})
    return result


def close(ours: np.ndarray, reference: np.ndarray) -> None:
    assert reference.max() > 1.2 * reference.min(), "answers that are all alike prove nothing"
    np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-7)


@functools.cache
def small(classes: int = 7) -> Any:
    """A MobileNet with answers that differ."""
    keras.utils.set_random_seed(1)
    network = MOBILENET(weights=None, classes=classes)
    enliven(network, np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32))
    return network


@pytest.fixture
def picture(photo: Path) -> np.ndarray:
    """The photograph as MobileNet takes it."""
    return keras_recipe(photo, (224, 224), "mobilenet")


# ---- the networks of the paper ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known", "family", "size"),
    [
        ("resnet50", "ResNet50", "resnet", (224, 224)),
        ("Inception_V3", "InceptionV3", "inception_v3", (299, 299)),
        ("VGG16", "VGG16", "vgg16", (224, 224)),
    ],
)
def test_probabilities_equal_keras(
    tmp_path: Path, photo: Path, name: str, known: str, family: str, size: tuple[int, int]
) -> None:
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, known)(weights=None)
    theirs = keras_recipe(photo, size, family)
    enliven(network, theirs)
    network.save_weights(tmp_path / "w.weights.h5")

    source = open_source(name, str(tmp_path / "w.weights.h5"), source="keras")
    preprocessing: Any = source.preprocessing
    ours = preprocessing.normalise(preprocessing.crop(read_image(photo))[0])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    close(run(source, ours), probabilities(network, theirs))
    batch = run(source, np.concatenate([ours, ours[:, ::-1]]))
    close(batch[1:], probabilities(network, theirs[:, ::-1]))

    assert source.labels[281] == "tabby"
    assert source.origin["network"] == known
    assert source.origin["weights"] == "file w.weights.h5"
    assert source.origin["source"].startswith(f"keras {keras.__version__}")
    onnx.checker.check_model(source.model, full_check=True)
    assert [
        tuple(entry.dim_value for entry in value.type.tensor_type.shape.dim)[1:] for value in source.model.graph.input
    ] == [(*size, 3)]
    assert [node.op_type for node in source.model.graph.node if source.model.graph.output[0].name in node.output] == [
        "Softmax"
    ]


# ---- preprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_preprocessing_equals_every_familys_own(family: str, photo: Path) -> None:
    size = (160, 224)
    theirs = keras_recipe(photo, size, family)
    for layout in ("NHWC", "NCHW"):
        preprocessing = derive_preprocessing(FAMILIES[family], size, layout)
        ours = preprocessing.normalise(preprocessing.crop(read_image(photo))[0])
        if layout == "NCHW":
            ours = ours.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.ptp(theirs))


def test_the_three_modes_and_none() -> None:
    found = {name: derive_preprocessing(FAMILIES[name], (8, 8), "NHWC") for name in FAMILIES}
    assert (found["vgg16"].channel_order, found["vgg16"].mean) == ("BGR", (103.939, 116.779, 123.68))
    assert (found["xception"].mean, found["xception"].std) == ((127.5,) * 3, (127.5,) * 3)
    assert (found["densenet"].mean, found["densenet"].std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    for name in ("efficientnet", "efficientnet_v2", "convnext", "mobilenet_v3"):
        assert (found[name].mean, found[name].std, found[name].channel_order) == ((0.0,) * 3, (1.0,) * 3, "RGB")
    assert {entry.interpolation for entry in found.values()} == {"nearest"}
    assert {entry.resize_to for entry in found.values()} == {None}


@pytest.mark.parametrize(
    "function",
    [
        lambda x, data_format: x**2,
        lambda x, data_format: x.mean(axis=-1, keepdims=True) + 0 * x,
        lambda x, data_format: 0 * x,
    ],
    ids=["curved", "grey", "nothing"],
)
def test_what_is_no_affine_map_is_refused(function: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ModelError, match=r"not an affine map of each channel.*--preprocess"):
        derive_preprocessing(function, (8, 8), "NHWC")


def test_every_network_has_a_family_that_preprocesses() -> None:
    assert len(keras_source._APPLICATIONS) >= 38
    for build in keras_source._APPLICATIONS.values():
        assert build.__module__.rpartition(".")[2] in FAMILIES


# ---- names, random weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("resnet50", "ResNet50"),
        ("ResNet50V2", "ResNet50V2"),
        ("inception_v3", "InceptionV3"),
        ("inception_resnet_v2", "InceptionResNetV2"),
        ("VGG16", "VGG16"),
        ("efficientnetv2-b0", "EfficientNetV2B0"),
        ("convnext_tiny", "ConvNeXtTiny"),
        ("resnet51", None),
        ("imagenet_utils", None),
    ],
)
def test_names(name: str, known: str | None) -> None:
    assert keras_source._find(name) == known


def test_unknown_names() -> None:
    with pytest.raises(OptionError, match=r"no classifier 'resnet51'; it has .*ResNet50.*FILE\.keras"):
        from_keras("resnet51")
    with pytest.raises(OptionError, match=r"Unknown weights 'DEFAULT' for MobileNet; give imagenet, none, or a file"):
        from_keras("mobilenet", "DEFAULT")


def test_random_weights_follow_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    source = open_source("mobilenet", "none", 5, "keras")
    assert capsys.readouterr().out == ""
    keras.utils.set_random_seed(5)
    kernel = MOBILENET(weights=None).get_layer("conv_preds").get_weights()[0]
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in source.model.graph.initializer]
    assert any(
        array.size == kernel.size and (array.ravel() == kernel.transpose(3, 2, 0, 1).ravel()).all() for array in arrays
    )
    assert source.origin["weights"] == "random, seed 5"


def test_networks_for_any_size_take_224() -> None:
    source = from_keras("MobileNetV3Small", "none")
    assert source.preprocessing.size == (224, 224)
    shape = source.model.graph.input[0].type.tensor_type.shape.dim
    assert [entry.dim_value for entry in shape] == [0, 224, 224, 3]


def test_channels_first_where_keras_is_set_so(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if keras.backend.backend() != "torch":
        pytest.skip("TensorFlow cannot do that on CPUs")
    keras.config.set_image_data_format("channels_first")
    try:
        source = from_keras("mobilenet", "none")
    finally:
        keras.config.set_image_data_format("channels_last")
    preprocessing: Any = source.preprocessing
    assert (preprocessing.layout, preprocessing.size) == ("NCHW", (224, 224))
    assert run(source, preprocessing.normalise(preprocessing.crop(read_image(photo))[0])).shape == (
        1,
        1000,
    )


def test_a_network_that_the_backend_cannot_build() -> None:
    if keras.backend.backend() != "torch":
        pytest.skip("NASNet is missing with PyTorch only")
    with pytest.raises(ModelError, match=r"cannot build NASNetMobile \(.*torch backend"):
        from_keras("nasnet_mobile", "none")


# ---- weights from files ----------------------------------------------------------------------------------------------


def save_legacy(network: Any, path: Path) -> None:
    """As the files are that Keras downloads."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)


def save(network: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        network.save_weights(path)
    elif path.suffix == ".keras":
        network.save(path)
    else:
        save_legacy(network, path)
    return path


@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5", "w.keras"])
def test_weights_with_their_own_number_of_classes(tmp_path: Path, name: str) -> None:
    file = save(small(), tmp_path / name)
    network = load_weights(functools.partial(MOBILENET, weights=None), str(file), "MobileNet")
    assert network.output_shape == (None, 7)
    for ours, theirs in zip(network.get_weights(), small().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_a_compiled_and_trained_network(tmp_path: Path, picture: np.ndarray) -> None:
    network = small(5)
    network.compile(optimizer="adam", loss="categorical_crossentropy")
    network.fit(picture, np.eye(5)[:1], verbose=0)
    source = from_keras("mobilenet", str(save(network, tmp_path / "w.weights.h5")))
    close(run(source, picture), probabilities(network, picture))
    assert source.labels is None, "5 classes cannot have ImageNet's names"


def test_classes_are_found_for_layers_of_several_shapes(tmp_path: Path) -> None:
    """VGG16 has two layers of one shape when there are 4096 classes; MobileNetV3's last layer is a convolution."""
    from collections import Counter

    from secam_onnx.export.keras_weights import _classes

    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), *(keras.layers.Dense(4096) for _ in range(2))]
    network = keras.Sequential([*layers, keras.layers.Dense(10)])
    other = keras.Sequential([*layers, keras.layers.Dense(4096)])
    shapes = Counter(tuple(variable.shape) for variable in other.variables)
    assert _classes(shapes, network) == 4096
    assert _classes(shapes, other) is None


@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5", "w.keras"])
@pytest.mark.parametrize("damage", [None, b"", b"garbage" * 50, "half"], ids=["missing", "empty", "garbage", "half"])
def test_bad_weight_files(tmp_path: Path, name: str, damage: bytes | str | None) -> None:
    file = tmp_path / name
    if damage == "half":
        data = save(small(), file).read_bytes()
        file.write_bytes(data[: len(data) // 2])
    elif damage is not None:
        file.write_bytes(damage)
    with pytest.raises(ModelError, match=r"does not exist|cannot be read as weights"):
        from_keras("mobilenet", str(file))


@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5", "w.keras"])
def test_weights_of_another_network(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"do not fit Keras's MobileNetV2") as caught:
        from_keras("mobilenet_v2", str(save(small(), tmp_path / name)))
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_layer(tmp_path: Path) -> None:
    custom().save_weights(tmp_path / "w.weights.h5")
    layers = [*custom().layers[:2], keras.layers.Conv2D(8, 3), *custom().layers[2:]]
    with pytest.raises(ModelError, match=r"do not fit Keras's deeper: .*conv2d"):
        load_weights(
            lambda: keras.Sequential([keras.Input((24, 32, 3)), *layers]), str(tmp_path / "w.weights.h5"), "deeper"
        )


def test_imagenet_weights_of_efficientnet_need_the_whole_model(tmp_path: Path) -> None:
    network = keras.applications.EfficientNetB0(weights=None)
    from_file = functools.partial(keras.applications.EfficientNetB0, weights=None)
    network.save_weights(tmp_path / "own.weights.h5")
    load_weights(from_file, str(tmp_path / "own.weights.h5"), "EfficientNetB0")
    (normalisation,) = (layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    normalisation.set_weights([np.full(3, 0.4), np.full(3, 0.2), np.asarray(0)])
    network.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ModelError, match=r"one more layer\. Save the whole model.*--weights imagenet"):
        load_weights(from_file, str(tmp_path / "w.weights.h5"), "EfficientNetB0")


# ---- downloads -------------------------------------------------------------------------------------------------------


@pytest.fixture
def weight_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a web server on the loopback address, from which Keras gets MobileNet's weights."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", address)
        yield folder / "mobilenet_1_0_224_tf.h5"
        server.shutdown()
        thread.join()


def test_imagenet_weights_are_downloaded(
    weight_server: Path, picture: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    save_legacy(small(1000), weight_server)
    source = open_source("mobilenet", source="keras")
    assert capsys.readouterr().out == "", "progress belongs to stderr"
    close(run(source, picture), probabilities(small(1000), picture))
    assert source.labels is not None
    assert source.origin["weights"] == "imagenet"


@pytest.mark.parametrize("damage", ["missing", "half", "garbage"])
def test_a_failed_download_is_one_sentence(weight_server: Path, damage: str) -> None:
    if damage == "half":
        save_legacy(small(), weight_server)
        weight_server.write_bytes(weight_server.read_bytes()[:100_000])
    elif damage == "garbage":
        weight_server.write_bytes(b"<html>Log in to this network</html>")
    reason = "URL fetch failure on http://127.0.0.1:.*404" if damage == "missing" else ""
    with pytest.raises(
        ModelError, match=rf"cannot build MobileNet with its ImageNet weights \({reason}.*--weights"
    ) as caught:
        from_keras("mobilenet")
    assert "\n" not in str(caught.value)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(ModelError, match=r"URL fetch failure on http://127\.0\.0\.1:9/mobilenet.*\.keras/models"):
        from_keras("mobilenet")


# ---- whole models ----------------------------------------------------------------------------------------------------


def custom(**changes: Any) -> Any:
    """A classifier of one's own, with 5 classes."""
    keras.utils.set_random_seed(2)
    settings = {"shape": (24, 32, 3), **changes}
    return keras.Sequential(
        [
            keras.Input(**settings),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ],
        name="my_own",
    )


@pytest.mark.parametrize("batch", [None, 1])
def test_a_model_of_ones_own(tmp_path: Path, batch: int | None) -> None:
    network = custom(batch_size=batch)
    network.save(tmp_path / "own.keras")
    source = open_source(str(tmp_path / "own.keras"))
    assert source.preprocessing is None
    assert source.labels is None
    assert (source.origin["file"], source.origin["network"]) == ("own.keras", "my_own")
    inputs = np.random.default_rng(0).uniform(0, 255, (1, 24, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(run(source, inputs), probabilities(network, inputs), rtol=1e-4)
    assert b"site-packages" not in source.model.SerializeToString()


def test_a_saved_application_is_recognised_by_its_name(tmp_path: Path, picture: np.ndarray) -> None:
    small(1000).save(tmp_path / "m.keras")
    source = from_keras_file(tmp_path / "m.keras")
    assert source.preprocessing == derive_preprocessing(FAMILIES["mobilenet"], (224, 224), "NHWC")
    assert source.labels[281] == "tabby"
    assert source.origin["preprocessing"].startswith("assumed: that of Keras's MobileNet")
    close(run(source, picture), probabilities(small(1000), picture))


def test_a_model_for_any_size_takes_224(tmp_path: Path) -> None:
    custom(shape=(None, None, 3)).save(tmp_path / "m.keras")
    shape = from_keras_file(tmp_path / "m.keras").model.graph.input[0].type.tensor_type.shape.dim
    assert [entry.dim_value for entry in shape] == [0, 224, 224, 3]


def test_layers_that_need_a_fixed_batch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """PyTorch cannot export Keras's layer normalisation with a dynamic batch, and says so with all of the graph."""
    if keras.backend.backend() != "torch":
        pytest.skip("a limit of PyTorch")
    layers = custom().layers
    network = keras.Sequential([keras.Input((24, 32, 3)), *layers[:2], keras.layers.LayerNormalization(), *layers[2:]])
    network.save(tmp_path / "m.keras")
    source = from_keras_file(tmp_path / "m.keras")
    assert capfd.readouterr() == ("", "")
    assert [entry.dim_value for entry in source.model.graph.input[0].type.tensor_type.shape.dim] == [1, 24, 32, 3]
    inputs = np.random.default_rng(0).uniform(0, 255, (1, 24, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(run(source, inputs), probabilities(network, inputs), rtol=1e-4)


def two_inputs() -> Any:
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return keras.Model([first, second], keras.layers.Flatten()(first + second))


def without_input() -> Any:
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5)])


def with_code() -> Any:
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: 2 * x), keras.layers.Flatten()])


def flat() -> Any:
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (two_inputs, r"inputs of shape .*one image was expected.*keras\.Input"),
        (without_input, r"inputs of shape \[\]; one image was expected"),
        (flat, r"inputs of shape \[\(None, 8\)\]"),
        (with_code, r"cannot be read as a Keras model .*Lambda"),
    ],
)
def test_models_that_are_no_image_classifiers(tmp_path: Path, build: Callable[[], Any], reason: str) -> None:
    build().save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=reason) as caught:
        from_keras_file(tmp_path / "m.keras")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [None, b"", b"garbage" * 50, "half"], ids=["missing", "empty", "garbage", "half"])
def test_bad_model_files(tmp_path: Path, damage: bytes | str | None) -> None:
    file = tmp_path / "m.keras"
    if damage == "half":
        custom().save(file)
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
    elif damage is not None:
        file.write_bytes(damage)
    with pytest.raises(ModelError, match=r"m\.keras (does not exist|cannot be read as a Keras model)"):
        open_source(str(file))


# ---- backends --------------------------------------------------------------------------------------------------------


def in_a_process(code: str, *arguments: object, **environment: str) -> str:
    settings = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    command = [sys.executable, "-P", "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env={**settings, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_pytorch_is_the_backend_where_nobody_says_otherwise() -> None:
    pytest.importorskip("torch")
    assert in_a_process("import secam_onnx.export.keras, keras; print(keras.backend.backend())") == "torch"


def test_a_backend_of_the_users_choice_is_left(tmp_path: Path) -> None:
    code = """import sys
from secam_onnx.export import open_source
try:
    open_source("mobilenet", source="keras")
except Exception as error:
    print(type(error).__name__, error)"""
    text = in_a_process(code, KERAS_BACKEND="none-such")
    assert text.startswith("MissingDependencyError 'mobilenet' needs Keras and one of its backends")
    assert "none-such" in text


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (ImportError("This requires the tf2onnx module."), MissingDependencyError, r"one more package .*the tf2onnx"),
        (
            NotImplementedError("only TensorFlow, JAX and\n\nTorch"),
            ModelError,
            r"cannot export 'my_own'.*KERAS_BACKEND",
        ),
    ],
)
def test_a_backend_that_cannot_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception], message: str
) -> None:
    def export(*arguments: object, **options: object) -> None:
        raise raised

    custom().save(tmp_path / "m.keras")
    monkeypatch.setattr(keras.Model, "export", export)
    with pytest.raises(expected, match=message) as caught:
        from_keras_file(tmp_path / "m.keras")
    assert "\n" not in str(caught.value)
