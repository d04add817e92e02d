"""All heads of a model in one forward pass: each as its own explainer has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tails import PICTURE, network, own_values, saved
from token_networks import Transformer

from secam_onnx import Explainer, Heads, Preprocessing, Segmenter
from secam_onnx.errors import ClassError, OptionError
from secam_onnx.explanation import Explanation
from secam_onnx.export import export_model, from_onnx
from secam_onnx.head_query import HeadQuery

TWO = "age = Gemm <transB = 1> (net_q, w_1x6, b_1) gender = Softmax (z)"
SEGMENTER = Segmenter(n_segments=9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return saved(network(TWO, "age; gender", classes=2), tmp_path)


def same(found: Explanation, wanted: Explanation) -> None:
    assert [vars(entry) for entry in found.classes] == [vars(entry) for entry in wanted.classes]
    np.testing.assert_allclose(found.cam, wanted.cam, atol=1e-6)
    np.testing.assert_array_equal(found.segments, wanted.segments)
    assert {**found.method, "fidelity": None} == {**wanted.method, "fidelity": None}


def test_each_is_what_its_own_explainer_says(file: Path) -> None:
    heads = Heads(file, providers="cpu", segmenter=SEGMENTER)
    found = heads.explain(PICTURE)
    assert list(found) == ["age", "gender"]
    for name, explanation in found.items():
        same(explanation, Explainer(file, providers="cpu", logits=name, segmenter=SEGMENTER).explain(PICTURE))
    age = own_values(file, heads.explainers["age"], tensor="age")
    assert found["age"].classes[0].logit == pytest.approx(age[0, 0], rel=1e-5)
    assert found["age"].classes[0].probability is None
    gender = own_values(file, heads.explainers["gender"], tensor="gender")
    assert found["gender"].classes[0].probability == pytest.approx(gender.max(), rel=1e-5)


@pytest.mark.parametrize("batch_second", [False, True])
def test_heads_of_a_transformer(batch_second: bool, tmp_path: Path) -> None:
    """Both share what is saved of the same blocks; with the batch second, none of it leads with the batch."""
    net = Transformer()
    net.join(1)
    if batch_second:
        net.batch_second()
    net.blocks(4, first=not batch_second)
    token = net.token(0, axis=0 if batch_second else 1)
    onnx.save(net.model(net.fc(token), age=net.fc(token)), tmp_path / "network.onnx")
    options = {"providers": "cpu", "segmenter": SEGMENTER, "preprocessing": Preprocessing((32, 32))}
    for name, explanation in Heads(tmp_path / "network.onnx", **options).explain(PICTURE).items():
        assert explanation.completeness_error < 1e-5
        same(explanation, Explainer(tmp_path / "network.onnx", logits=name, **options).explain(PICTURE))


def test_the_network_runs_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(file, providers="cpu", segmenter=SEGMENTER)
    classifiers: list[Any] = [explainer.classifier for explainer in heads.explainers.values()]
    (network_,) = {id(opened._network._network): opened._network._network for opened in classifiers}.values()
    session, runs = network_.session, []

    class Counted:
        def run(self, *given: object) -> object:
            runs.append(given)
            return session.run(*given)

        def __getattr__(self, name: str) -> object:
            return getattr(session, name)

    monkeypatch.setattr(network_, "session", Counted())
    heads.explain(PICTURE)
    assert len(runs) == 1
    list(heads.explain_stream([PICTURE, PICTURE[::-1], PICTURE[:, ::-1]], batch_size=2))
    assert len(runs) == 3
    heads.explainers["age"].explain(PICTURE)
    heads.explainers["gender"].explain(PICTURE)
    assert len(runs) == 4


def test_streams_and_errors(file: Path, tmp_path: Path) -> None:
    heads = Heads(file, providers="cpu", segmenter=SEGMENTER)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"none")
    first, second = heads.explain_stream([PICTURE, broken])
    assert isinstance(first, dict)
    assert "broken.jpg" in str(second)
    with pytest.raises(ClassError):
        heads.explain(PICTURE, 1)  # ages have one
    wide = heads.explain(PICTURE, "all")
    assert [len(explanation.classes) for explanation in wide.values()] == [1, 2]


def test_heads_of_different_feature_maps(tmp_path: Path) -> None:
    tail = (
        "g = Conv <pads = [1, 1, 1, 1]> (f, w_5x6x3x3) r = Relu (g) p = GlobalAveragePool (r) q = Flatten (p) "
        "mood = Gemm <transB = 1> (q, w_3x5) s = Sigmoid (z)"
    )
    file = saved(network(tail, "mood; s"), tmp_path)
    found = Heads(file, providers="cpu", segmenter=SEGMENTER).explain(PICTURE)
    assert {name: explanation.method["features"] for name, explanation in found.items()} == {"mood": "r", "s": "f"}
    for name, explanation in found.items():
        same(explanation, Explainer(file, providers="cpu", logits=name, segmenter=SEGMENTER).explain(PICTURE))


def test_one_head_is_a_dict_of_one(tmp_path: Path) -> None:
    file = saved(network("y = Softmax (z)"), tmp_path)
    assert list(Heads(file, providers="cpu").explain(PICTURE)) == ["y"]


def test_an_exported_file_has_one_head(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "age.onnx"
    export_model(from_onnx(file), target, query=HeadQuery(logits="age"))
    with pytest.raises(OptionError, match="was exported for one head"):
        Heads(target)


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("p = Softmax (z) q = MatMul (p, w_4x1)", "p; q"),
        ("p = Softmax (z) y = Gemm (z, w_4x2, b_2) q = Softmax (y)", "p; q"),
        ("p = Identity (z) q = Gemm (z, w_4x2, b_2)", "p; q"),
        ("p = Softmax (z) q = Sigmoid (z)", "p; q"),
        ("p = Softmax (z) q = Gather <axis = 1> (p, i_2_0)", "p; q"),
    ],
)
def test_an_output_that_another_is_made_of_is_a_head_too(tail: str, outputs: str, tmp_path: Path) -> None:
    file = saved(network(tail, outputs), tmp_path)
    heads = Heads(file, providers="cpu", segmenter=SEGMENTER)
    assert list(heads.explainers) == ["p", "q"]
    found = heads.explain(PICTURE, "all")
    for name, explainer in heads.explainers.items():
        said = own_values(file, explainer, tensor=name)[0]
        ours = {entry.index: (entry.probability, entry.logit) for entry in found[name].classes}
        own = [ours[index][explainer.classifier.metadata.activation == "none"] for index in range(len(said))]
        np.testing.assert_allclose(own, said, rtol=1e-4, atol=1e-6)
    with pytest.raises(OptionError, match=r"Several outputs are logits: 'p' .*; 'q' "):
        Explainer(file, providers="cpu")


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("p = Softmax (z)", "z; p"),
        ("p = Softmax (z) l = LogSoftmax (z)", "p; l"),
        ("p = Softmax (z) n = ArgMax <axis = 1> (p)", "p; int64[N, L] n"),
        ("p = Softmax (z) n = ArgMax <axis = 1> (z)", "int64[N, L] n; p"),
    ],
)
def test_outputs_that_say_the_same_are_one_head(tail: str, outputs: str, tmp_path: Path) -> None:
    file = saved(network(tail, outputs), tmp_path)
    assert list(Heads(file, providers="cpu", segmenter=SEGMENTER).explainers) == ["p"]


def test_names_that_may_be_those_of_another_head_are_given_to_none(tmp_path: Path) -> None:
    model = network("b = Gemm <transB = 1> (net_q, w_4x6, b_4) p = Softmax (z) q = Softmax (b)", "p; q")
    model.metadata_props.add(key="names", value="{0: 'happy', 1: 'sad', 2: 'angry', 3: 'calm'}")
    file = saved(model, tmp_path)
    for name, explainer in Heads(file, providers="cpu", segmenter=SEGMENTER).explainers.items():
        assert explainer.labels is None
        note = explainer.classifier.metadata.origin["labels"]
        assert f"whether they are those of {name!r} or of" in note
    told = Explainer(file, providers="cpu", logits="q", labels=["0-9", "10-19", "20-59", "60"])
    assert told.labels == ("0-9", "10-19", "20-59", "60")


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("b = Gemm <transB = 1> (net_q, w_3x6, b_3) p = Softmax (z) q = Softmax (b)", "p; q"),
        ("p = Softmax (z) q = Sigmoid (z)", "p; q"),
        ("q = Gemm <transB = 1> (net_q, w_1x6, b_1) p = Softmax (z)", "q; p"),
    ],
)
def test_names_go_to_the_head_that_has_as_many_classes(tail: str, outputs: str, tmp_path: Path) -> None:
    model = network(tail, outputs)
    model.metadata_props.add(key="names", value="{0: 'happy', 1: 'sad', 2: 'angry', 3: 'calm'}")
    assert Explainer(saved(model, tmp_path), providers="cpu", logits="p").labels == ("happy", "sad", "angry", "calm")
