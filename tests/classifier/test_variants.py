"""Every variant of a classifier is explained without an option: features, logits and maps, and they add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models
from onnx import ModelProto, helper
from variants import VARIANTS, Variant, optimised

from secam_onnx.classifier.inspection import inspect_model
from secam_onnx.classifier.open_classifier import open_classifier
from secam_onnx.classifier.unfused import Classifier
from secam_onnx.errors import ModelError
from secam_onnx.photograph.preprocessing import Preprocessing

HEADS = {"gap+fc": "gap + fc", "mlp": "flatten + fc + relu + fc"}
SETTINGS = Preprocessing.preset("torchvision", (32, 32))


def written(model: ModelProto, variant: Variant, folder: Path) -> Path:
    path = folder / "model.onnx"
    changed = variant.change(model, folder)
    if changed is not None or not path.exists():
        onnx.save(changed or model, path)
    return path


def opened(path: Path) -> Classifier:
    return open_classifier(path, providers="cpu", preprocessing=SETTINGS)


def run(path: Path, tensor: str, x: np.ndarray) -> np.ndarray:
    """A tensor of the file as ONNX Runtime computes it, without anything of ours."""
    model = onnx.load(path)
    if tensor not in {value.name for value in model.graph.output}:
        model.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    x = x.astype(np.float16 if "16" in entry.type else np.float32)
    rows = entry.shape[0] if isinstance(entry.shape[0], int) else len(x)
    return session.run([tensor], {entry.name: np.repeat(x, rows, axis=0)})[0][: len(x)].astype(np.float32)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_explained_as_the_original_is(name: str, head: str, tmp_path: Path, chelsea: np.ndarray) -> None:
    variant = VARIANTS[name]
    model = tiny_models.classifier(head, layers=2, channels=8, size=32)
    (tmp_path / "original").mkdir()
    (tmp_path / "variant").mkdir()
    onnx.save(model, tmp_path / "original" / "model.onnx")
    original = opened(tmp_path / "original" / "model.onnx")
    path = written(model, variant, tmp_path / "variant")
    classifier = opened(path)
    assert classifier.metadata.head.algebra == variant.algebra
    assert classifier.metadata.head.kind == HEADS[head]

    x = SETTINGS.normalise(SETTINGS.crop(chelsea)[0])
    features, logits, _ = classifier.forward(x)
    wanted_features, wanted, _ = original.forward(x)
    for ours, theirs in ((features[0], wanted_features[0]), (logits, wanted)):
        assert np.abs(ours - theirs).max() <= variant.tolerance * np.abs(theirs).max()
    np.testing.assert_allclose(
        logits, run(path, classifier.metadata.explained_output, x), rtol=variant.tolerance or 1e-4
    )

    ids = np.arange(7)[None]
    maps, bias = classifier.contribute(features, ids)
    theirs, _ = original.contribute(wanted_features, ids)
    assert np.abs(maps - theirs).max() <= max(2 * variant.tolerance, 1e-5) * np.abs(theirs).max()
    measured = inspect_model(path, preprocessing=SETTINGS)["completeness"]["measured_now"]
    assert measured["identity_error"] < 1e-3
    if variant.algebra == "piecewise linear":
        np.testing.assert_allclose(maps.sum((2, 3)) + bias, logits, rtol=max(variant.tolerance, 1e-5), atol=2e-3)


def test_what_the_runtime_fused_is_explained(tmp_path: Path) -> None:
    """Convolution and ReLU in one node of its own, whose shape ONNX does not know."""
    model = tiny_models.classifier(layers=2)
    optimised("EXTENDED")(model, tmp_path)
    fused = onnx.load(tmp_path / "model.onnx")
    assert [node.op_type for node in fused.graph.node].count("FusedConv") == 2
    head = opened(tmp_path / "model.onnx").metadata.head
    assert (head.kind, head.shape) == ("gap + fc", (6, 8, 8))


def test_arithmetic_in_bfloat16_is_refused_in_words(tmp_path: Path) -> None:
    model = tiny_models.classifier()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.to_array(tensor).astype(
            onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16)
        )
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"'image' is of type bfloat16; float, float16.* Export it with a float input"):
        open_classifier(tmp_path / "model.onnx", providers="cpu")
