"""The three networks of the paper against PyTorch itself: features, logits, maps, completeness; and reading weights."""

from __future__ import annotations

import functools
import http.server
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.head_query import HeadQuery
from secam_onnx.photograph.images import read_image

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from secam_onnx.export import export_model, open_source  # noqa: E402
from secam_onnx.export.pytorch import read_weights  # noqa: E402
from secam_onnx.export.torchvision import from_torchvision  # noqa: E402

CLASS_IDS = [0, 281, 282, 500, 999]
# Where a forward hook reads the feature map, and the classifier behind it.
LAYERS = {"resnet50": ("layer4", "fc"), "inception_v3": ("Mixed_7c", "fc"), "vgg16": ("features", "classifier")}
LARGE = ("inception_v3", "vgg16")  # tests/matrix has smaller networks with their kinds of head
full = pytest.mark.full


class Reference:
    """A torchvision network in PyTorch, run once, with what a forward hook saw."""

    def __init__(self, name: str, inputs: np.ndarray) -> None:
        torch.manual_seed(0)
        options = {"transform_input": True, "init_weights": False} if name == "inception_v3" else {}
        network = torchvision.models.get_model(name, weights=None, **options).eval()
        layer, last = LAYERS[name]
        seen = {}
        network.get_submodule(layer).register_forward_hook(lambda module, args, output: seen.update(f=output))
        logits = network(torch.from_numpy(inputs))
        self.features = seen["f"]
        self.features.retain_grad()
        self.logits = logits
        self.head = network.get_submodule(last)

    def gradient_times_activation(self, class_id: int) -> np.ndarray:
        """Autograd's `sum_k dz_c/df_k * f_k`, the HiResCAM map, `(N, h, w)`."""
        (gradient,) = torch.autograd.grad(self.logits[:, class_id].sum(), self.features, retain_graph=True)
        return (gradient * self.features).sum(dim=1).detach().numpy()


@pytest.fixture(scope="module", params=["resnet50", *(pytest.param(name, marks=full) for name in LARGE)])
def pair(
    request: pytest.FixtureRequest, exported: Callable[[str], Path], photo: Path
) -> tuple[Classifier, Reference, np.ndarray]:
    """A network in ONNX and in PyTorch, and what it is fed: a photograph and noise."""
    classifier = open_classifier(exported(request.param), providers="cpu")
    preprocessing = classifier.metadata.preprocessing
    image = read_image(photo)
    noise = np.random.default_rng(3).integers(0, 256, image.shape, dtype=np.uint8)
    inputs = np.concatenate([preprocessing.normalise(preprocessing.crop(picture)[0]) for picture in (image, noise)])
    return classifier, Reference(request.param, inputs), inputs


def close(ours: np.ndarray, reference: np.ndarray) -> None:
    np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-4 * float(np.abs(reference).max()))


def test_features_and_logits_equal_pytorch(pair: tuple[Classifier, Reference, np.ndarray]) -> None:
    classifier, reference, inputs = pair
    features, logits, probabilities = classifier.forward(inputs)
    expected = reference.features
    if isinstance(reference.head, torch.nn.Sequential):  # VGG16's first layer is split, and run cell by cell
        weight = reference.head[0].weight.unflatten(1, expected.shape[1:])
        expected = torch.einsum("jcyx,ncyx->njyx", weight, expected)
    close(features[0], expected.detach().numpy())
    close(logits, reference.logits.detach().numpy())
    close(probabilities, reference.logits.softmax(dim=1).detach().numpy())


def test_maps_equal_autograd_and_add_up_for_every_class_tried(pair: tuple[Classifier, Reference, np.ndarray]) -> None:
    classifier, reference, inputs = pair
    features, logits, _ = classifier.forward(inputs)
    maps, bias = classifier.contribute(features, np.array([CLASS_IDS] * len(inputs)))
    for column, class_id in enumerate(CLASS_IDS):
        close(maps[:, column], reference.gradient_times_activation(class_id))
    np.testing.assert_allclose(
        maps.sum(axis=(2, 3)) + bias, logits[:, CLASS_IDS], rtol=1e-3, atol=1e-3 * np.abs(logits).max()
    )


def test_gap_networks_give_the_cam_of_the_literature(pair: tuple[Classifier, Reference, np.ndarray]) -> None:
    """`W[c] . f`, divided by the number of cells, which GAP does later."""
    classifier, reference, inputs = pair
    if not isinstance(reference.head, torch.nn.Linear):
        pytest.skip("VGG16 has no CAM in the literature's sense; autograd is its reference")
    features, _, _ = classifier.forward(inputs)
    maps, bias = classifier.contribute(features, np.array([CLASS_IDS] * len(inputs)))
    cam = torch.einsum("ck,nkhw->nchw", reference.head.weight[CLASS_IDS], reference.features)
    close(maps, (cam / cam[0, 0].numel()).detach().numpy())
    close(bias[0], reference.head.bias[CLASS_IDS].detach().numpy())


def test_the_file_is_an_ordinary_model_with_the_contract(exported: Callable[[str], Path]) -> None:
    model = onnx.load(exported("resnet50"))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits", "secam_features"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_param")
    metadata = ModelMetadata.of(model)
    assert metadata is not None
    assert (metadata.head.kind, metadata.head.shape) == ("gap + fc", (2048, 7, 7))
    assert metadata.labels is not None
    assert metadata.labels[281] == "tabby"
    assert metadata.completeness["max_relative_error"] < 1e-3
    assert metadata.completeness["classes"] == 1000
    text = model.SerializeToString()
    assert b"site-packages" not in text, "the exporter's stack traces carry paths of the machine"


@full
@pytest.mark.parametrize(
    ("name", "size", "resize_to", "shape", "kind"),
    [
        ("inception_v3", (299, 299), 342, (2048, 8, 8), "gap + fc"),
        ("vgg16", (224, 224), 256, (512, 7, 7), "flatten + fc + relu + fc + relu + fc"),
    ],
)
def test_preprocessing_and_head_of_the_other_networks(
    exported: Callable[[str], Path], name: str, size: tuple[int, int], resize_to: int, shape: tuple[int, ...], kind: str
) -> None:
    metadata = open_classifier(exported(name), providers="cpu").metadata
    assert (metadata.preprocessing.size, metadata.preprocessing.resize_to) == (size, resize_to)
    assert (metadata.head.kind, metadata.head.shape) == (kind, shape)


@full
def test_a_finer_map_of_vgg16_through_its_last_max_pool(
    exported: Callable[[str], Path], tmp_path: Path, photo: Path
) -> None:
    coarse = open_classifier(exported("vgg16"), providers="cpu")
    metadata = export_model(
        open_source(str(exported("vgg16"))), tmp_path / "fine.onnx", query=HeadQuery(features="relu_12")
    )
    assert metadata.head.shape == (512, 14, 14)
    fine = open_classifier(tmp_path / "fine.onnx", providers="cpu")
    inputs = fine.metadata.preprocessing.normalise(fine.metadata.preprocessing.crop(read_image(photo))[0])
    maps = []
    for classifier in (coarse, fine):
        features, _, _ = classifier.forward(inputs)
        maps.append(classifier.contribute(features, np.array([[7]]))[0][0, 0])
    # Windows of the pool do not overlap, so what they hold adds up to the coarse map.
    close(maps[1].reshape(7, 2, 7, 2).sum(axis=(1, 3)), maps[0])


# ---- weights -------------------------------------------------------------------------------------------------------


@functools.cache
def small_state() -> dict[str, torch.Tensor]:
    """Weights of a ResNet18 for 7 classes."""
    torch.manual_seed(1)
    return dict(torchvision.models.resnet18(num_classes=7).state_dict())


def logits_of(source_model: onnx.ModelProto) -> np.ndarray:
    from secam_onnx import runtime

    session = runtime.open_session(source_model.SerializeToString(), "cpu")
    inputs = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    return session.run(["logits"], {"image": inputs})[0]


def expected_logits() -> np.ndarray:
    network = torchvision.models.resnet18(num_classes=7).eval()
    network.load_state_dict(small_state())
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32))
    return network(inputs).detach().numpy()


def save_pth(path: Path) -> None:
    torch.save(small_state(), path)


def save_safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(small_state(), path)


def save_checkpoint(path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in small_state().items()}}, path)


@pytest.mark.parametrize(
    ("name", "save"), [("w.pth", save_pth), ("w.safetensors", save_safetensors), ("c.pt", save_checkpoint)]
)
def test_local_weights_with_their_own_number_of_classes(
    tmp_path: Path, name: str, save: Callable[[Path], None]
) -> None:
    save(tmp_path / name)
    source = from_torchvision("resnet18", str(tmp_path / name))
    assert source.labels is None, "7 classes cannot have ImageNet's names"
    np.testing.assert_allclose(logits_of(source.model), expected_logits(), rtol=1e-3, atol=1e-4)


def test_inception_weights_without_the_auxiliary_head(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = torchvision.models.inception_v3(aux_logits=False, init_weights=False, num_classes=5)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert from_torchvision("inception_v3", str(tmp_path / "w.pth")).model.graph.output[0].name == "logits"


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("evil-was-here"),))


def test_weights_that_would_run_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"")
    torch.save({"fc.weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"holds more than weights.*state_dict"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match=r"old\.pth"):
        read_weights(tmp_path / "old.pth")
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (None, "w.pth", "does not exist"),
        (b"", "w.pth", "cannot be read|damaged"),
        (b"\x00garbage" * 50, "w.pth", "cannot be read|damaged"),
        (b"\x00garbage" * 50, "w.safetensors", "cannot be read"),
    ],
)
def test_bad_weight_files(tmp_path: Path, content: bytes | None, name: str, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        from_torchvision("resnet18", str(tmp_path / name))


def test_weights_of_another_network(tmp_path: Path) -> None:
    save_pth(tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"do not fit torchvision's resnet34"):
        from_torchvision("resnet34", str(tmp_path / "w.pth"))
    torch.save({"note": "no tensors"}, tmp_path / "n.pth")
    with pytest.raises(ModelError, match="no state dict"):
        from_torchvision("resnet18", str(tmp_path / "n.pth"))


def test_unknown_names() -> None:
    with pytest.raises(OptionError, match=r"no classifier 'resnet51'; it has .*resnet50"):
        from_torchvision("resnet51")
    with pytest.raises(OptionError, match=r"Unknown weights 'V9' for resnet18; give one of IMAGENET1K_V1"):
        from_torchvision("resnet18", "V9")


@pytest.fixture
def weight_server(tmp_path: Path) -> Iterator[str]:
    """A web server on the loopback address that has one file of weights for 1000 classes."""
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_default_weights_are_downloaded(weight_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    data = (tmp_path / "resnet18.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(data).hexdigest()[:8]}.pth"  # torch.hub compares the name with the content
    (tmp_path / name).write_bytes(data)
    entry = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(entry.value, "url", f"{weight_server}/{name}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    source = from_torchvision("resnet18", "DEFAULT")
    assert source.labels is not None
    assert len(source.labels) == 1000
    network = torchvision.models.resnet18().eval()
    network.load_state_dict(torch.load(tmp_path / name, weights_only=True))
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32))
    np.testing.assert_allclose(logits_of(source.model), network(inputs).detach().numpy(), rtol=1e-3, atol=1e-4)

    (tmp_path / name).write_bytes(data[: len(data) // 2])  # cut off on its way
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache2"))
    with pytest.raises(ModelError, match=r"cannot be downloaded from http.*--weights"):
        from_torchvision("resnet18", "DEFAULT")


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(entry.value, "url", "http://127.0.0.1:9/resnet18-00000000.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"cannot be downloaded .*--weights none"):
        from_torchvision("resnet18", "DEFAULT")
