"""From an ONNX file to an explainable one: what is added, what stays, and how it is proven."""

from __future__ import annotations

import importlib.abc
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import HEADS, classifier

from secam_onnx import Explainer, Preprocessing, runtime
from secam_onnx.classifier.metadata import ModelMetadata
from secam_onnx.errors import HeadError, MissingDependencyError, ModelError, OptionError, OutputError
from secam_onnx.export import Source, export_model, open_source
from secam_onnx.graph import onnx_file
from secam_onnx.head.rules.linear import LinearStep

INPUTS = np.random.default_rng(5).standard_normal((2, 3, 32, 32)).astype(np.float32)


def outputs(path: Path) -> dict[str, np.ndarray]:
    session = runtime.open_session(path, "cpu")
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": INPUTS}), strict=True))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("head", [name for name in HEADS if "sin" not in name])
def test_the_models_own_outputs_are_untouched(tmp_path: Path, head: str, softmax: bool) -> None:
    original, result = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(classifier(head, softmax=softmax), original)
    labels = tuple("abcdefg")
    source = Source(onnx.load(original), Preprocessing.preset("lite", (32, 32)), labels, {"source": "test"})
    metadata = export_model(source, result)
    onnx.checker.check_model(result, full_check=True)
    before, after = outputs(original), outputs(result)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    added = set(after) - set(before)
    assert added == ({"secam_features", "secam_logits"} if softmax else {"secam_features"})
    assert after["secam_features"].shape == (2, 6, 8, 8)
    if softmax:
        powers = np.exp(after["secam_logits"])
        np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), after["probabilities"], rtol=1e-4)
    assert metadata == ModelMetadata.of(onnx.load(result))
    assert metadata.labels == labels
    assert metadata.origin["source"] == "test"
    assert 0 < metadata.completeness["max_relative_error"] < 1e-5


def test_an_explainable_model_can_be_exported_again(tmp_path: Path, photo: Path) -> None:
    onnx.save(classifier(), tmp_path / "in.onnx")
    first = export_model(open_source(str(tmp_path / "in.onnx")), tmp_path / "one.onnx")
    second = export_model(open_source(str(tmp_path / "one.onnx")), tmp_path / "two.onnx")
    assert first == second
    assert outputs(tmp_path / "one.onnx").keys() == outputs(tmp_path / "two.onnx").keys()


def test_over_the_limit_external_data_is_used_and_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chelsea: np.ndarray
) -> None:
    model = classifier("mlp", classes=50)
    expected = outputs_of(model)
    monkeypatch.setattr(onnx_file, "EXTERNAL_DATA_LIMIT", 1000)
    export_model(Source(model), tmp_path / "large.onnx")
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".data", ".onnx"]
    np.testing.assert_array_equal(outputs(tmp_path / "large.onnx")["logits"], expected)
    assert Explainer(tmp_path / "large.onnx", providers="cpu").explain(chelsea, "all").completeness_error < 1e-5


def outputs_of(model: onnx.ModelProto) -> np.ndarray:
    return runtime.open_session(model.SerializeToString(), "cpu").run(["logits"], {"image": INPUTS})[0]


def test_external_data_is_read_where_it_lies_and_moves_inside_on_export(tmp_path: Path, chelsea: np.ndarray) -> None:
    path, model = tmp_path / "m.onnx", classifier("flatten+fc", classes=50)
    onnx.save(model, tmp_path / "whole.onnx")
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    expected = Explainer(tmp_path / "whole.onnx", providers="cpu").explain(chelsea, "all").segment_contributions
    export_model(open_source(str(path)), tmp_path / "new.onnx")
    for file in (path, tmp_path / "new.onnx"):
        explanation = Explainer(file, providers="cpu").explain(chelsea, "all")
        np.testing.assert_allclose(explanation.segment_contributions, expected, rtol=1e-4, atol=1e-6)
        assert explanation.completeness_error < 1e-5


def test_a_wrong_derivation_does_not_get_past_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = LinearStep.backward

    def wrong(self: LinearStep, builder, gradient):  # type: ignore[no-untyped-def]
        (result,) = right(self, builder, gradient)
        return [type(result)(builder.scale(result.name, 1.01), result.of, result.form)]

    monkeypatch.setattr(LinearStep, "backward", wrong)
    with pytest.raises(HeadError, match=r"does not add up to the logits: relative error .*e-0[23]"):
        export_model(Source(classifier()), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("mine")
    steps: list[str] = []
    with pytest.raises(OutputError, match="exists already"):
        export_model(Source(classifier()), tmp_path / "m.onnx", progress=steps.append)  # type: ignore[arg-type]
    assert not steps
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_weights_are_refused_for_a_file_that_has_its_own(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "in.onnx")
    for options in ({"weights": "none"}, {"seed": 3}):
        with pytest.raises(OptionError, match=r"a file with its own weights"):
            open_source(str(tmp_path / "in.onnx"), **options)
        with pytest.raises(OptionError, match=r"a file with its own weights"):
            open_source("any.keras", **options)


def test_unknown_sources() -> None:
    with pytest.raises(OptionError, match=r"Unknown source 'caffe'; there are onnx, torchvision, keras"):
        open_source("resnet50", source="caffe")
    with pytest.raises(ModelError, match=r"resnet50 does not exist"):
        open_source("resnet50", source="onnx")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operator torchvision::nms does not exist"),
        ImportError("cannot import name 'register_fake' from 'torch.library'"),
        OSError("libtorch_cpu.so: undefined symbol: _ZN3c10"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_pytorch_and_torchvision_that_do_not_fit_each_other(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision for another version of PyTorch ends its import with whatever its compiled part stumbles on."""

    class Misfit(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "secam_onnx.export.torchvision":
                raise error

    monkeypatch.delitem(sys.modules, "secam_onnx.export.torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Misfit(), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=r"do not fit each other.*torch .*torchvision .*pip install"):
        open_source("resnet50", "none")
