"""Fused models as the explainer's model: the same results, without onnx; files that are not right are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models

from secam_onnx import Explainer, Fusion, Segmenter, Selection, fuse
from secam_onnx.classifier.metadata import KEY
from secam_onnx.errors import ClassError, ModelError, OptionError
from secam_onnx.photograph.preprocessing import Preprocessing

SETTINGS = Preprocessing.preset("torchvision", (32, 32))
LABELS = [f"thing {index}" for index in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    onnx.save(tiny_models.classifier("mlp"), folder / "source.onnx")
    fuse(folder / "source.onnx", folder / "fused.onnx", preprocessing=SETTINGS, labels=LABELS)
    return folder


@pytest.fixture(scope="module")
def fused(folder: Path) -> Explainer:
    return Explainer(folder / "fused.onnx", providers="cpu")


@pytest.fixture(scope="module")
def source(folder: Path) -> Explainer:
    return Explainer(folder / "source.onnx", providers="cpu", preprocessing=SETTINGS, labels=LABELS)


def assert_alike(one, other) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_array_equal(one.segments, other.segments)
    assert [entry.index for entry in one.classes] == [entry.index for entry in other.classes]
    for name in ("segment_scores", "segment_contributions", "cam", "bias"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5, err_msg=name)
    for ours, theirs in zip(one.predictions, other.predictions, strict=True):
        assert (ours.index, ours.label) == (theirs.index, theirs.label)
        assert ours.probability == pytest.approx(theirs.probability, abs=1e-6)
        assert ours.logit == pytest.approx(theirs.logit, abs=1e-5)


@pytest.mark.parametrize("classes", ["top-1", "all", 3, ["top-2", "thing 5", 5, "top-1"]])
def test_results_are_those_of_the_model_that_it_was_made_of(fused, source, chelsea, classes) -> None:
    assert_alike(fused.explain(chelsea, classes), source.explain(chelsea, classes))


def test_what_results_say_of_themselves(fused, source, chelsea) -> None:
    ours, theirs = (dict(explainer.explain(chelsea).method) for explainer in (fused, source))
    for method in (ours, theirs):
        method.pop("model")
        method["preprocessing"].pop("note")
        method.pop("fidelity", None)  # a fused file is compared on request only
    assert ours == theirs
    assert fused.labels == source.labels
    assert fused.providers == ("CPUExecutionProvider",)


def test_many_at_once(fused, source, chelsea) -> None:
    photographs = [chelsea[:, :300], chelsea, chelsea[50:200], chelsea[::2]]
    for ours, theirs in zip(
        fused.explain_batch(photographs, "top-2"), source.explain_batch(photographs, "top-2"), strict=True
    ):
        assert_alike(ours, theirs)
    streamed = list(fused.explain_stream(photographs, "top-2", batch_size=3))
    for ours, theirs in zip(streamed, source.explain_batch(photographs, "top-2"), strict=True):
        assert_alike(ours, theirs)


def test_each_picture_has_its_own_classes(fused: Explainer, source: Explainer, chelsea: np.ndarray) -> None:
    asked = [["top-2", 5], [3], ["all"]]
    for model in (fused.classifier, source.classifier):
        inputs = np.repeat(model.input_of(model.metadata.preprocessing.crop(chelsea)[0]), 3, axis=0)
        together = model.run(inputs, asked, pool=True)
        for answer, own in zip(together, asked, strict=True):
            (alone,) = model.run(inputs[:1], [own], pool=True)
            assert answer.class_ids == alone.class_ids
            np.testing.assert_allclose(answer.cam, alone.cam, atol=1e-6)


def test_other_superpixels_are_made_beside_it(fused, source, folder, chelsea) -> None:
    grid = Segmenter("grid", 9)
    ours, theirs = (
        Explainer(model, providers="cpu", segmenter=grid, **options).explain(chelsea)
        for model, options in (
            (folder / "fused.onnx", {}),
            (folder / "source.onnx", {"preprocessing": SETTINGS, "labels": LABELS}),
        )
    )
    assert_alike(ours, theirs)
    labels = np.arange(300)[:, None] // 100 * 3 + np.arange(451) // 151
    assert_alike(fused.explain(chelsea, segments=labels), source.explain(chelsea, segments=labels))
    mixed = fused.explain_batch([chelsea, chelsea], segments=[labels, labels])
    assert mixed[0].method["superpixels"] == {"method": "given label map"}


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 32, 32)])
def test_a_fixed_batch(shape: tuple[int, ...], tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(tiny_models.classifier(input_shape=shape), tmp_path / "source.onnx")
    fuse(tmp_path / "source.onnx", tmp_path / "fused.onnx", preprocessing=SETTINGS)
    photographs = [chelsea[:, x : x + 200] for x in (0, 60, 120, 200)]
    expected = Explainer(tmp_path / "source.onnx", providers="cpu", preprocessing=SETTINGS).explain_batch(photographs)
    found = Explainer(tmp_path / "fused.onnx", providers="cpu").explain_batch(photographs)
    for ours, theirs in zip(found, expected, strict=True):
        assert_alike(ours, theirs)


def test_neither_onnx_nor_scikit_image_is_needed(folder: Path, photo: Path, source: Explainer) -> None:
    code = (
        "import sys, json\n"
        "for name in ('onnx', 'skimage', 'google.protobuf', 'torch'): sys.modules[name] = None\n"
        "from secam_onnx import Explainer\n"
        "explanation = Explainer(sys.argv[1], providers='cpu').explain(sys.argv[2])\n"
        "print(json.dumps(explanation.segment_contributions.tolist()))"
    )
    command = [sys.executable, "-c", code, str(folder / "fused.onnx"), str(photo)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), source.explain(photo).segment_contributions, atol=1e-5)


def test_pictures_keep_what_the_overlay_keeps_unless_told(tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "source.onnx")
    fuse(
        tmp_path / "source.onnx",
        tmp_path / "f.onnx",
        Fusion(selection=Selection(top_segments=2)),
        preprocessing=SETTINGS,
    )
    explanation = Explainer(tmp_path / "f.onnx", providers="cpu").explain(chelsea)
    assert explanation.selection == Selection(top_segments=2)
    told = Explainer(tmp_path / "f.onnx", providers="cpu", selection=Selection(threshold=0.9)).explain(chelsea)
    assert told.selection == Selection(threshold=0.9)


def test_unknown_classes(fused: Explainer, chelsea: np.ndarray) -> None:
    for query in ("thing 77", 7, "top-8"):
        with pytest.raises(ClassError):
            fused.explain(chelsea, query)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"preprocessing": "lite"}, "preprocessing"),
        ({"labels": LABELS}, "labels"),
        ({"logits": "logits", "features": "f"}, "logits and features"),
        ({"attribution": "masking"}, "attribution"),
        ({"token_grid": (2, 2)}, "token_grid"),
    ],
)
def test_what_the_file_fixes_is_no_option(folder: Path, options: dict[str, object], names: str) -> None:
    with pytest.raises(OptionError, match=f"is a fused model, which fixes its own {names}"):
        Explainer(folder / "fused.onnx", providers="cpu", **options)  # type: ignore[arg-type]


def test_names_for_a_file_without_any(tmp_path: Path, chelsea: np.ndarray) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "source.onnx")
    fuse(tmp_path / "source.onnx", tmp_path / "fused.onnx", preprocessing=SETTINGS)
    named = Explainer(tmp_path / "fused.onnx", providers="cpu", labels=LABELS)
    assert named.explain(chelsea, "thing 4").classes[0].index == 4
    with pytest.raises(OptionError, match="3 labels for 7 classes"):
        Explainer(tmp_path / "fused.onnx", providers="cpu", labels=LABELS[:3])


def changed(folder: Path, target: Path, change) -> Path:  # type: ignore[no-untyped-def]
    """The fused file with other metadata."""
    model = onnx.load(folder / "fused.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    data = json.loads(entry.value)
    change(data)
    entry.value = json.dumps(data)
    onnx.save(model, target)
    return target


def resized(data: dict[str, Any]) -> None:
    for part in ("fused", "preprocessing"):
        data[part].update(size=[16, 16])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data["fused"].update(schema=1), "The fused model has schema 1; this version reads 2. Fuse"),
        (lambda data: data["fused"].update(schema=3), "has schema 3; this version reads 2"),
        (lambda data: data["fused"].pop("schema"), "damaged"),
        (lambda data: data["fused"].update(size=[32]), "damaged"),
        (lambda data: data["fused"].update(n_segments=0), "damaged"),
        (lambda data: data["fused"].update(surprise=1), "damaged"),
        (lambda data: data["fused"]["segmenter"].update(method="magic"), "damaged"),
        (lambda data: data.update(fused=5), "damaged"),
        (resized, r"promise 'image' as uint8 .*16, 16, 3.*there is tensor"),
        (lambda data: data["fused"].update(n_segments=7), "promise 'segment_scores'"),
        (lambda data: data["fused"].update(map_size=[4, 4]), r"map_size is \(4, 4\), but head.shape is \(6, 8, 8\)"),
        (lambda data: data["fused"].update(batch=2), "promise 'image'"),
        (lambda data: data["fused"].update(own_outputs={}), "own_outputs does not have 'logits'"),
        (lambda data: data["fused"].update(n_classes=9), "7 labels for 9 classes"),
        (lambda data: [data["fused"].update(n_classes=9), data.update(labels=None)], r"'logits' as float32 \['N', 9\]"),
        (
            lambda data: [data["fused"].update(n_classes=30_000_000), data.update(labels=None)],
            "1 to 1000000 was expected",
        ),
        (lambda data: data["fused"].update(batch=2_000_000_000), "at most 536870912 at once"),
        (lambda data: data["fused"].update(top_k=8), "top_k is 8, but there are 7 classes"),
        (lambda data: data["fused"].update(overlay=False), "has overlay False, but its graph True"),
        (lambda data: data["fused"].update(default_classes=False), "has default_classes False, but its graph True"),
        (lambda data: data["fused"].update(tolerance="x"), "fused.tolerance is 'x'; a finite number of 0 to 1"),
        (lambda data: data["fused"].update(batch=True), "fused.batch is true; a whole number of 1 to"),
        (
            lambda data: data["fused"].update(attribution="magic"),
            "one of gradient, detached, integrated, masking was expected",
        ),
        (lambda data: data["fused"].update(own_outputs={"logits": 5}), r"own_outputs\['logits'\] is 5; text"),
        (lambda data: data["fused"]["own_outputs"].update(more="ghost"), "no output 'ghost'"),
        (lambda data: data["fused"]["own_outputs"].update(more="logits"), "names one output twice"),
        (lambda data: data["fused"].update(agreement={"images": 5}), "fused.agreement.images is 5"),
        (lambda data: data["fused"]["segmenter"].update(method="slic"), "a graph holds kmeans only"),
        (lambda data: data["fused"]["segmenter"].update(n_segments="x"), "fused.segmenter.n_segments is 'x'; a whole"),
        (lambda data: data["fused"]["selection"].update(coverage=7), "fused.selection: coverage is 7"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_never_misread(folder, tmp_path, change, reason: str) -> None:
    path = changed(folder, tmp_path / "changed.onnx", change)
    with pytest.raises(ModelError, match=reason):
        Explainer(path, providers="cpu")


def test_a_file_without_an_output(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "fused.onnx")
    (index,) = (index for index, value in enumerate(model.graph.output) if value.name == "bias")
    del model.graph.output[index]
    onnx.save(model, tmp_path / "less.onnx")
    with pytest.raises(ModelError, match=r"promise 'bias' as float32 .*; there is nothing of that name"):
        Explainer(tmp_path / "less.onnx", providers="cpu")


def test_a_file_that_was_cut_off(folder: Path, tmp_path: Path) -> None:
    data = (folder / "fused.onnx").read_bytes()
    for share in (0.3, 0.9, 0.999):
        (tmp_path / "part.onnx").write_bytes(data[: int(share * len(data))])
        with pytest.raises(ModelError):
            Explainer(tmp_path / "part.onnx", providers="cpu")


def test_nothing_is_made_of_a_fused_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a fused model; export the model that it was made from"):
        fuse(folder / "fused.onnx", tmp_path / "twice.onnx")
    assert not list(tmp_path.iterdir())


def test_logits_that_are_no_numbers(tmp_path: Path, chelsea: np.ndarray) -> None:
    """Proven before: only a file that was changed afterwards gives them."""
    onnx.save(tiny_models.classifier(), tmp_path / "source.onnx")
    fuse(tmp_path / "source.onnx", tmp_path / "fused.onnx", Fusion(top_k=2), preprocessing=SETTINGS)
    model = onnx.load(tmp_path / "fused.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "logits.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(7, np.nan, np.float32), bias.name))
    onnx.save(model, tmp_path / "fused.onnx")
    with pytest.raises(ModelError, match="NaN or infinite"):
        Explainer(tmp_path / "fused.onnx", providers="cpu").explain(chelsea)
