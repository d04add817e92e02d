"""All heads of a model in one forward pass: each as its own explainer has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tails import PICTURE, network, own_values, saved

from secam_onnx import Explainer, Heads, Segmenter
from secam_onnx.errors import ClassError, OptionError
from secam_onnx.explanation import Explanation
from secam_onnx.export import export_model, from_onnx

TWO = "age = Gemm <transB = 1> (net_q, w_1x6, b_1) gender = Softmax (z)"
SEGMENTER = Segmenter(segments=9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return saved(network(TWO, "age; gender", classes=2), tmp_path)


def same(found: Explanation, wanted: Explanation) -> None:
    assert [vars(entry) for entry in found.classes] == [vars(entry) for entry in wanted.classes]
    np.testing.assert_allclose(found.maps, wanted.maps, atol=1e-6)
    np.testing.assert_array_equal(found.segments, wanted.segments)
    assert {**found.method} == {**wanted.method}


def test_each_is_what_its_own_explainer_says(file: Path) -> None:
    heads = Heads(file, providers="cpu", segmenter=SEGMENTER)
    found = heads.explain(PICTURE)
    assert list(found) == ["age", "gender"]
    for name, explanation in found.items():
        same(explanation, Explainer(file, providers="cpu", output=name, segmenter=SEGMENTER).explain(PICTURE))
    age = own_values(file, heads.explainers["age"], tensor="age")
    assert found["age"].classes[0].logit == pytest.approx(age[0, 0], rel=1e-5)
    assert found["age"].classes[0].probability is None
    gender = own_values(file, heads.explainers["gender"], tensor="gender")
    assert found["gender"].classes[0].probability == pytest.approx(gender.max(), rel=1e-5)


def test_the_network_runs_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(file, providers="cpu", segmenter=SEGMENTER)
    (network_,) = {id(explainer.classifier._network._network): explainer.classifier._network._network
                   for explainer in heads.explainers.values()}.values()  # fmt: skip
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
        same(explanation, Explainer(file, providers="cpu", output=name, segmenter=SEGMENTER).explain(PICTURE))


def test_one_head_is_a_dict_of_one(tmp_path: Path) -> None:
    file = saved(network("y = Softmax (z)"), tmp_path)
    assert list(Heads(file, providers="cpu").explain(PICTURE)) == ["y"]


def test_an_exported_file_has_one_head(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "age.onnx"
    export_model(from_onnx(file), target, output="age")
    with pytest.raises(OptionError, match="was exported for one head"):
        Heads(target)
