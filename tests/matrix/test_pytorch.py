"""torchvision's networks through both exporters of PyTorch, against autograd on the network itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from cells import CLASS_TOKEN, PYTORCH, PYTORCH_OF_EACH_HEAD, Cell, each

from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.head_query import HeadQuery

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from torchvision_networks import WithAuxiliaryHeads, built, fed, write  # noqa: E402

CLASS_IDS = [0, 282, 500, 999]


class Reference:
    """The network in PyTorch, run once, with what a forward hook saw."""

    def __init__(self, network: torch.nn.Module, cell: Cell, inputs: np.ndarray) -> None:
        seen = {}
        inner = network.network if isinstance(network, WithAuxiliaryHeads) else network
        layer = inner.get_submodule(cell.layer)
        handle = layer.register_forward_hook(lambda module, args, output: seen.update(f=output))
        outputs = network(torch.from_numpy(inputs))
        handle.remove()
        self.features = seen["f"]
        self.logits = outputs[["logits", "aux1", "aux2"].index(cell.output)] if cell.output else outputs
        self.split = inner.get_submodule(cell.split) if cell.split else None

    def given(self) -> np.ndarray:
        """What the contribution model is given: the feature map, or what a layer that is split makes of each cell."""
        features = self.features.detach()
        if self.split is not None:
            weight = self.split.weight.detach().unflatten(1, tuple(features.shape[1:]))
            features = torch.einsum("jcyx,ncyx->njyx", weight, features)
        return features.numpy()

    def maps(self) -> np.ndarray:
        """Autograd's `sum_k dz_c/df_k * f_k`, `(N, K, h, w)`."""
        rows = []
        for class_id in CLASS_IDS:
            (gradient,) = torch.autograd.grad(self.logits[:, class_id].sum(), self.features, retain_graph=True)
            rows.append((gradient * self.features).sum(dim=1).detach().numpy())
        return np.stack(rows, axis=1)


def close(ours: np.ndarray, reference: np.ndarray) -> None:
    np.testing.assert_allclose(ours, reference, rtol=2e-3, atol=2e-4 * float(np.abs(reference).max()))


def check_report(report: dict, cell: Cell) -> None:
    """What `inspect` says of a file."""
    assert report["head"]["kind"] == cell.head
    assert report["head"]["algebra"] == cell.algebra
    assert [edge or known for edge, known in zip(report["feature_map"]["shape"], cell.shape, strict=True)] == list(
        cell.shape
    )
    assert all(step["reason"] for step in report["head"]["steps"])
    assert report["rejected"], "what lies between feature map and logits was looked at"
    assert all(entry["reason"] for entry in report["rejected"])
    measured = report["completeness"]["measured_now"]
    assert report["fidelity"]["measured_now"]["max_relative_difference"] < 1e-4
    assert measured["identity_error"] < 5e-4
    assert measured["max_relative_error"] < (5e-4 if cell.algebra == "piecewise linear" else 0.05)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@each(PYTORCH, PYTORCH_OF_EACH_HEAD)
def test_features_logits_and_maps_equal_pytorch(name: str, exporter: str, tmp_path: Path, photo: Path) -> None:
    cell = PYTORCH[name]
    network = built(name.split()[0], cell.size)
    path = tmp_path / "model.onnx"
    write(network, cell.size, exporter, path, ["logits", "aux1", "aux2"] if cell.output else ["logits"])
    onnx.checker.check_model(path)

    check_report(inspect_model(path, query=HeadQuery(logits=cell.output)), cell)
    classifier = open_classifier(path, providers="cpu", query=HeadQuery(logits=cell.output))
    inputs = fed(cell.size, photo)
    reference = Reference(network, cell, inputs)
    features, logits, _ = classifier.forward(inputs)
    own = reference.given()
    # densenet121 applies its last ReLU outside of any module.
    close(features[0], own.clip(min=0) if name == "densenet121" else own)
    close(logits, reference.logits.detach().numpy())
    check_maps(classifier, reference, features, logits)


def check_maps(
    classifier: Classifier, reference: Reference, features: tuple[np.ndarray, ...], logits: np.ndarray
) -> None:
    ids = np.array([CLASS_IDS, CLASS_IDS])
    maps, bias, gap = classifier.contribute.local(features, ids)
    close(maps, reference.maps())
    wanted = logits[:, CLASS_IDS]
    scale = np.abs(maps).sum((2, 3)) + np.abs(wanted) + 1e-6  # a class may be dead
    assert (np.abs(maps.sum((2, 3)) + bias + gap - wanted) / scale).max() < 5e-4


def test_a_class_token_can_be_explained_by_masking_the_last_block(tmp_path: Path, photo: Path) -> None:
    cell, path = CLASS_TOKEN["VisionTransformer"], tmp_path / "model.onnx"
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=cell.size, patch_size=16, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=10
    ).eval()
    torch.nn.init.normal_(network.heads.head.weight)
    write(network, cell.size, "dynamo", path, ["logits"])
    report = inspect_model(path)
    assert (report["head"]["kind"], report["head"]["algebra"]) == (cell.head, cell.algebra)
    assert (tuple(report["feature_map"]["shape"]), report["feature_map"]["layout"]) == (cell.shape, "NLC")
    assert report["completeness"]["measured_now"]["identity_error"] < 1e-4

    classifier = open_classifier(path, providers="cpu", attribution="masking")
    inputs = fed(cell.size, photo)
    tokens, logits, _ = classifier.forward(inputs)
    maps, bias = classifier.contribute(tokens, np.array([[3, 7]] * 2))
    with torch.no_grad():
        reference = Reference(network, cell, inputs)
        close(tokens[0], reference.features.numpy())
        close(logits, reference.logits.numpy())

        def of_masked(cells: list[int]) -> np.ndarray:
            kept = torch.zeros_like(reference.features)
            for token in (0, *(index + 1 for index in cells)):
                kept[:, token] = reference.features[:, token]
            last = network.encoder.ln(network.encoder.layers.encoder_layer_2(kept))
            return network.heads(last[:, 0])[:, [3, 7]].numpy()

        close(bias, of_masked([]))
        for index in (0, 8, 35):
            alone = maps[:, :, index // 6, index % 6]
            np.testing.assert_allclose(alone, of_masked([index]) - of_masked([]), rtol=1e-2, atol=1e-5)
