"""What an explanation calls a probability is what the model says, whatever its graph ends in."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from tails import PICTURE, network, own_values, saved, with_maps

from secam_onnx import Explainer
from secam_onnx.classifier.opened_model import probabilities_of as in_numpy
from secam_onnx.classifier.output_activation import check_activation
from secam_onnx.errors import ModelError, OptionError
from secam_onnx.explanation import Explanation, Prediction
from secam_onnx.export import export_model, from_onnx, fuse
from secam_onnx.head import ClassOutput

SOFTMAX = {
    "softmax": "y = Softmax (z)",
    "cast": "s = Softmax (z) d = Cast <to = 11> (s) y = Cast <to = 1> (d)",
    "clip": "s = Softmax (z) y = Clip (s, c_0p0000001, c_0p9999999)",
    "times one": "s = Softmax (z) y = Mul (s, c_1)",
    "identity and reshape": "s = Softmax (z) i = Identity (s) y = Reshape (i, i_0_m1)",
    "four axes": "r = Reshape (z, i_0_m1_1_1) s = Softmax <axis = 1> (r) y = Flatten (s)",
    "transposed": "r = Unsqueeze (z, i_2) t = Transpose <perm = [0, 2, 1]> (r) s = Softmax (t) y = Squeeze (s, i_1)",
    "by hand": "m = ReduceMax <keepdims = 1> (z, i_1) d = Sub (z, m) e = Exp (d) t = ReduceSum (e, i_1) y = Div (e, t)",
    "by hand without the max": "e = Exp (z) t = ReduceSum (e, i_m1) y = Div (e, t)",
    "by hand, times": "e = Exp (z) t = ReduceSum (e, i_1) r = Reciprocal (t) y = Mul (e, r)",
    "by hand, log": "t = ReduceLogSumExp (z, i_1) d = Sub (z, t) y = Exp (d)",
    "exp of log": "l = LogSoftmax (z) y = Exp (l)",
    "quantised": "s = Softmax (z) q = QuantizeLinear (s, c_0p0039, zero) y = DequantizeLinear (q, c_0p0039, zero)",
}
SIGMOID = {
    "sigmoid": "y = Sigmoid (z)",
    "clip": "s = Sigmoid (z) y = Clip (s, c_0p0000001, c_0p9999999)",
    "by hand": "n = Neg (z) e = Exp (n) a = Add (e, c_1) y = Div (c_1, a)",
    "by hand, reciprocal": "n = Mul (z, c_m1) e = Exp (n) a = Add (c_1, e) y = Reciprocal (a)",
    "by hand, exp over": "e = Exp (z) a = Add (e, c_1) y = Div (e, a)",
}


def explained(file: Path, **options: object) -> tuple[Explainer, Explanation]:
    explainer = Explainer(file, providers="cpu", **options)  # type: ignore[arg-type]
    return explainer, explainer.explain(PICTURE, "all")


def by_index(found: Explanation) -> list[Prediction]:
    return sorted(found.classes, key=lambda entry: entry.index)


def shares(found: Explanation) -> np.ndarray:
    return np.array([entry.probability for entry in by_index(found)], dtype=float)


def logits(found: Explanation) -> np.ndarray:
    return np.array([entry.logit for entry in by_index(found)])


def check_sum(found: Explanation) -> None:
    """Contributions and bias add up to the explained quantity."""
    assert found.completeness_error < 1e-4
    total = found.segment_contributions.sum(axis=1) + found.bias
    np.testing.assert_allclose(total, [entry.logit for entry in found.classes], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name: str, tmp_path: Path) -> None:
    file = saved(network(SOFTMAX[name]), tmp_path)
    explainer, found = explained(file)
    np.testing.assert_allclose(shares(found), own_values(file, explainer).reshape(-1), atol=1e-6)
    np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0], rtol=1e-5)
    assert explainer.classifier.metadata.activation == "softmax"
    assert found.method["explained"] == "logit"
    check_sum(found)


@pytest.mark.parametrize("name", SIGMOID)
def test_sigmoid(name: str, tmp_path: Path) -> None:
    file = saved(network(SIGMOID[name]), tmp_path)
    explainer, found = explained(file)
    np.testing.assert_allclose(shares(found), own_values(file, explainer)[0], atol=1e-6)
    np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0], rtol=1e-5)
    assert explainer.classifier.metadata.activation == "sigmoid"
    check_sum(found)


@pytest.mark.parametrize(
    ("tail", "columns"),
    [
        ("s = Softmax (z) y = Gather <axis = 1> (s, i_2_0_3_1)", [2, 0, 3, 1]),
        ("s = Softmax (z) y = Gather <axis = 1> (s, i_3_1)", [3, 1]),
        ("s = Softmax (z) y = Gather <axis = -1> (s, i_m1_0)", [3, 0]),
        ("s = Softmax (z) y = Slice (s, i_1, i_3, i_1)", [1, 2]),
        ("s = Softmax (z) y = Slice (s, i_3, i_m9, i_1, i_m1)", [3, 2, 1, 0]),
        ("s = Softmax (z) a, y = Split <axis = 1> (s, i_1_3)", [1, 2, 3]),
        ("s = Softmax (z) g = Gather <axis = 1> (s, i_3_2_1) y = Slice (g, i_0, i_2, i_1)", [3, 2]),
        (
            "s = Sigmoid (z) a = Slice (s, i_0, i_1, i_1) b = Slice (s, i_2, i_4, i_1) y = Concat <axis = 1> (b, a)",
            [2, 3, 0],
        ),
    ],
)
def test_some_of_the_classes_in_another_order(tail: str, columns: list[int], tmp_path: Path) -> None:
    file = saved(network(tail), tmp_path)
    explainer, found = explained(file)
    assert explainer.classifier.n_classes == len(columns)
    np.testing.assert_allclose(shares(found), own_values(file, explainer)[0], atol=1e-6)
    np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0, columns], rtol=1e-5)
    check_sum(found)
    _, plain = explained(file, logits="z")
    maps = {entry.index: plain.cam[row] for row, entry in enumerate(plain.classes)}
    for row, entry in enumerate(found.classes):
        np.testing.assert_allclose(found.cam[row], maps[columns[entry.index]], atol=1e-5)


@pytest.mark.parametrize(
    ("tail", "signs"),
    [
        ("s = Sigmoid (z) n = Sub (c_1, s) y = Concat <axis = 1> (n, s)", [-1, 1]),
        ("s = Sigmoid (z) n = Sub (c_1, s) y = Concat <axis = -1> (s, n)", [1, -1]),
        ("s = Sigmoid (z) m = Neg (s) n = Add (c_1, m) y = Concat <axis = 1> (n, s)", [-1, 1]),
        ("e = Exp (z) a = Add (c_1, e) s = Reciprocal (a) n = Sub (c_1, s) y = Concat <axis = 1> (s, n)", [-1, 1]),
        (
            "q = Squeeze (z, i_1) s = Sigmoid (q) n = Sub (c_1, s) a = Unsqueeze (n, i_1) b = Unsqueeze (s, i_1) "
            "y = Concat <axis = 1> (a, b)",
            [-1, 1],
        ),
    ],
)
def test_one_sigmoid_as_a_pair(tail: str, signs: list[int], tmp_path: Path) -> None:
    file = saved(network(tail, classes=1), tmp_path)
    explainer, found = explained(file)
    np.testing.assert_allclose(shares(found), own_values(file, explainer)[0], atol=1e-6)
    np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0] * signs, rtol=1e-5)
    np.testing.assert_array_equal(found.cam[0], -found.cam[1])
    check_sum(found)


def test_one_sigmoid_with_two_names_is_a_pair(tmp_path: Path) -> None:
    file = saved(network("y = Sigmoid (z)", classes=1), tmp_path)
    explainer, found = explained(file, labels=["benign", "malignant"])
    (positive,) = own_values(file, explainer).reshape(-1)
    np.testing.assert_allclose(shares(found), [1 - positive, positive], atol=1e-6)
    assert [entry.label for entry in by_index(found)] == ["benign", "malignant"]
    np.testing.assert_array_equal(found.cam[0], -found.cam[1])
    check_sum(found)
    _, alone = explained(file, labels=["malignant"])
    assert shares(alone) == pytest.approx([positive])
    np.testing.assert_array_equal(alone.cam[0], found.cam[[entry.index for entry in found.classes].index(1)])


def test_one_raw_output(tmp_path: Path) -> None:
    """Of a logit, a sigmoid if told so; of an age, none."""
    file = saved(network("y = Identity (z)", classes=1), tmp_path)
    explainer, found = explained(file)
    (logit,) = own_values(file, explainer).reshape(-1)
    (entry,) = found.classes
    assert entry.probability is None
    assert entry.logit == pytest.approx(logit)
    assert found.method["explained"] == "output"
    assert "--activation sigmoid" in found.method["probability"]
    _, told = explained(file, activation="sigmoid")
    assert shares(told) == pytest.approx([1 / (1 + np.exp(-logit))])
    _, pair = explained(file, activation="sigmoid", labels=["no", "yes"])
    assert shares(pair) == pytest.approx([1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))])
    check_sum(pair)
    with pytest.raises(OptionError, match="positive class of one logit, add --activation sigmoid"):
        Explainer(file, providers="cpu", labels=["no", "yes"])


@pytest.mark.parametrize("outputs", ["y", "z; y"])
@pytest.mark.parametrize(
    "tail", ["y = Sigmoid (z)", "y = Softmax (z)", "y = LogSoftmax (z)", "s = Sigmoid (z) y = Sub (c_1, s)"]
)
def test_logits_by_name_have_the_probabilities_of_the_file(tail: str, outputs: str, tmp_path: Path) -> None:
    file = saved(network(tail, outputs), tmp_path)
    explainer, found = explained(file, logits="z")
    z = own_values(file, explainer, tensor="z")[0].astype(float)
    wanted = 1 / (1 + np.exp(-z)) if "Sigmoid" in tail else np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(shares(found), wanted, rtol=1e-5)
    assert "which the model itself applies to these logits for its output 'y'" in found.method["probability"]


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("t = Div (z, c_0p25) y = Softmax (t)", "a tensor further on (t)"),
        ("y = Softmax (z) q = Sigmoid (z)", "softmax and sigmoid"),
    ],
)
def test_logits_by_name_of_which_the_file_makes_other_probabilities(tail: str, words: str, tmp_path: Path) -> None:
    file = saved(network(tail, "y; q" if "q" in tail else "y"), tmp_path)
    _, found = explained(file, logits="z")
    assert all(entry.probability is None for entry in found.classes)
    assert words in found.method["probability"]
    _, told = explained(file, logits="z", activation="softmax")
    np.testing.assert_allclose(shares(told).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none", "auto", None])
def test_several_raw_outputs(activation: str | None, tmp_path: Path) -> None:
    file = saved(network("y = Identity (z)"), tmp_path)
    explainer, found = explained(file, activation=activation)
    z = own_values(file, explainer)[0].astype(float)
    softmax = np.exp(z) / np.exp(z).sum()
    wanted = {"sigmoid": 1 / (1 + np.exp(-z)), "none": np.full(4, np.nan)}.get(str(activation), softmax)
    np.testing.assert_allclose(shares(found), wanted, rtol=1e-5)
    assumed = activation in (None, "auto")
    assert found.method["probability"].startswith("assumed: softmax" if assumed else "as given")
    assert found.method["explained"] == ("output" if activation == "none" else "logit")


def test_what_the_model_applies_is_not_to_be_had_otherwise(tmp_path: Path) -> None:
    file = saved(network("y = Softmax (z)"), tmp_path)
    with pytest.raises(OptionError, match=r"'sigmoid' was given, but the model itself applies softmax.*--logits z"):
        Explainer(file, providers="cpu", activation="sigmoid")
    with pytest.raises(OptionError, match="Unknown activation 'tanh'"):
        Explainer(file, providers="cpu", activation="tanh")
    _, found = explained(file, logits="z", activation="sigmoid")
    np.testing.assert_allclose(shares(found), 1 / (1 + np.exp(-logits(found))), rtol=1e-5)


@pytest.mark.parametrize(
    "tail",
    [
        "a = Softmax (z) t = Mul (z, c_m0p5) b = Softmax (t) s = Add (a, b) y = Mul (s, c_0p5)",
        "a = Softmax (z) t = Mul (z, c_m0p5) b = Softmax (t) u = Mul (a, c_0p25) v = Mul (b, c_0p75) y = Add (u, v)",
    ],
)
def test_a_mean_of_softmaxes_is_explained_itself(tail: str, tmp_path: Path) -> None:
    file = saved(network(tail), tmp_path)
    explainer, found = explained(file)
    y = own_values(file, explainer)[0]
    np.testing.assert_allclose(shares(found), y, rtol=1e-5)
    np.testing.assert_allclose(logits(found), y, rtol=1e-5)
    assert found.method["explained"] == "output"
    assert "sum to 1" in found.method["probability"]
    assert found.completeness_error < 1e-3  # integrated gradients


@pytest.mark.parametrize(
    "tail",
    [
        "s = Sigmoid (z) y = MatMul (s, groups)",
        "s = Softmax (z) y = Gemm <alpha = 0.5> (s, groups)",
        "r = Unsqueeze (z, i_2_3) s = Sigmoid (r) c = Conv (s, kernel) y = Flatten (c)",
    ],
)
def test_weighted_means_of_probabilities_are_explained_themselves(tail: str, tmp_path: Path) -> None:
    model = network(tail)
    groups = np.array([[0.5, 0], [0.5, 0], [0, 0.3], [0, 0.7]], np.float32)
    for name, values in (("groups", groups), ("kernel", groups.T[:, :, None, None])):
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    file = saved(model, tmp_path)
    explainer, found = explained(file)
    np.testing.assert_allclose(shares(found), own_values(file, explainer)[0], rtol=1e-5)
    assert found.method["explained"] == "output"


def test_a_hidden_layer_of_sigmoids_leaves_logits(tmp_path: Path) -> None:
    file = saved(network("s = Sigmoid (z) y = Gemm (s, w_4x3, b_3)"), tmp_path)
    _, found = explained(file)
    assert found.method["probability"].startswith("assumed: softmax")
    assert shares(found).sum() == pytest.approx(1)


def test_values_that_are_probabilities_already(tmp_path: Path) -> None:
    """A hard sigmoid is no logit's sigmoid, but between 0 and 1."""
    file = saved(network("y = HardSigmoid (z)"), tmp_path)
    explainer, found = explained(file)
    np.testing.assert_allclose(shares(found), own_values(file, explainer)[0], rtol=1e-5)
    assert found.method["explained"] == "output"


def test_percentages(tmp_path: Path) -> None:
    file = saved(network("s = Softmax (z) y = Mul (s, c_100)"), tmp_path)
    explainer, found = explained(file)
    np.testing.assert_allclose(shares(found), own_values(file, explainer)[0] / 100, rtol=1e-5)
    np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0], rtol=1e-5)


def test_log_probabilities(tmp_path: Path) -> None:
    for tail in ("y = LogSoftmax (z)", "s = Softmax (z) y = Log (s)", "t = ReduceLogSumExp (z, i_1) y = Sub (z, t)"):
        file = saved(network(tail), tmp_path)
        explainer, found = explained(file)
        np.testing.assert_allclose(shares(found), np.exp(own_values(file, explainer)[0]), rtol=1e-5)
        np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0], rtol=1e-5)
        check_sum(found)


def test_a_sigmoid_that_is_not_understood_leaves_no_probability(tmp_path: Path) -> None:
    file = saved(network("s = Sigmoid (z) p = Mul (s, s) y = Sub (p, c_3)"), tmp_path)
    _, found = explained(file)
    assert all(entry.probability is None for entry in found.classes)
    assert "not understood" in found.method["probability"]


WINNERS = {
    "top k": (
        "s = Softmax (z) scores, places = TopK (s, i_2)",
        "float[N, K] scores; int64[N, K] places",
    ),
    "top k of logits": ("scores, places = TopK (z, i_2)", "float[N, K] scores; int64[N, K] places"),
    "arg max": ("label = ArgMax <axis = 1, keepdims = 0> (z)", "int64[N] label"),
    "arg max of probabilities": ("s = Softmax (z) label = ArgMax <axis = 1> (s)", "int64[N, L] label"),
    "label and probabilities": (
        "s = Softmax (z) label = ArgMax <axis = 1, keepdims = 0> (s)",
        "int64[N] label; float[N, M] s",
    ),
    "score": ("s = Softmax (z) best = ReduceMax <keepdims = 0> (s, i_1)", "float[N] best"),
}


@pytest.mark.parametrize("name", WINNERS)
def test_winners_alone(name: str, tmp_path: Path) -> None:
    """Position 0 is the winner's, not that of class 0."""
    file = saved(network(*WINNERS[name]), tmp_path)
    explainer, found = explained(file)
    z = own_values(file, explainer, tensor="z")[0].astype(float)
    np.testing.assert_allclose(logits(found), z, rtol=1e-5)
    np.testing.assert_allclose(shares(found), np.exp(z) / np.exp(z).sum(), rtol=1e-4)
    check_sum(found)


@pytest.mark.parametrize("kind", ["strings", "int64s"])
def test_zip_map(kind: str, tmp_path: Path) -> None:
    names: Any = {"strings": ["cat", "dog", "horse", "sheep"], "int64s": [7, 8, 9, 12]}[kind]
    written = ", ".join(f'"{name}"' if kind == "strings" else str(name) for name in names)
    tail = (
        "s = Softmax (z) i = ArgMax <axis = 1, keepdims = 0> (s) "
        f"loss = ai.onnx.ml.ZipMap <classlabels_{kind} = [{written}]> (s)"
    )
    key = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    file = saved(with_maps(network(tail, "int64[N] i"), "loss", key), tmp_path)
    explainer, found = explained(file)
    assert [entry.label for entry in by_index(found)] == [str(name) for name in names]
    np.testing.assert_allclose(shares(found), own_values(file, explainer, tensor="s")[0], rtol=1e-5)
    assert explainer.explain(PICTURE).classes[0].index == own_values(file, explainer, tensor="i")[0]
    check_sum(found)


def test_two_heads_are_listed(tmp_path: Path) -> None:
    tail = "age = Gemm <transB = 1> (net_q, w_1x6, b_1) s = Sigmoid (z)"
    file = saved(network(tail, "age; s"), tmp_path)
    with pytest.raises(OptionError) as caught:
        Explainer(file, providers="cpu")
    for words in ("'age' (?, 1), 1 class, no activation", "'s' (?, 4), 4 classes, sigmoid", "--logits NAME"):
        assert words in str(caught.value)
    _, found = explained(file, logits="age")
    assert found.classes[0].probability is None


def test_logits_may_be_any_tensor(tmp_path: Path) -> None:
    file = saved(network("s = Softmax (z) label = ArgMax <axis = 1, keepdims = 0> (s)", "int64[N] label"), tmp_path)
    explainer, found = explained(file, logits="z")
    np.testing.assert_allclose(logits(found), own_values(file, explainer, tensor="z")[0], rtol=1e-5)
    _, found = explained(file, logits="s")
    np.testing.assert_allclose(shares(found), own_values(file, explainer, tensor="s")[0], rtol=1e-5)
    with pytest.raises(OptionError, match="no output or tensor 'nowhere'; its outputs are label"):
        Explainer(file, providers="cpu", logits="nowhere")
    with pytest.raises(ModelError, match="output has the shape"):
        Explainer(file, providers="cpu", logits="f")


@pytest.mark.parametrize(
    "tail", ["g = Gather (z, i_0) y = Softmax (g)", "g = Slice (z, i_0, i_1, i_0) y = Softmax (g)"]
)
def test_one_row_for_all_images_is_not_taken_for_theirs(tail: str, tmp_path: Path) -> None:
    file = saved(network(tail), tmp_path)
    explainer = Explainer(file, providers="cpu")
    pictures = [PICTURE, PICTURE // 2, PICTURE[::-1].copy()]
    for picture, found in zip(pictures, explainer.explain_batch(pictures, "all"), strict=True):
        np.testing.assert_allclose(shares(found), shares(explainer.explain(picture, "all")), rtol=1e-5)
    opened: Any = explainer.classifier
    given = opened.input_of(PICTURE)
    with pytest.raises(ModelError, match=r"fed 3 images, but the values behind 'y' have shape \(1, 4\)"):
        opened.forward(np.concatenate([given] * 3))


def test_classes_in_place_of_images_are_refused(tmp_path: Path) -> None:
    file = saved(network("s = Softmax (z) y = Transpose <perm = [1, 0]> (s)"), tmp_path)
    with pytest.raises(ModelError, match="output has the shape"):
        Explainer(file, providers="cpu")


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": (SOFTMAX["softmax"].replace("Softmax", "Identity"), {}),
    "raw, sigmoids": ("y = Identity (z)", {"activation": "sigmoid"}),
    "raw, none": ("y = Identity (z)", {"activation": "none"}),
    "softmax": (SOFTMAX["softmax"], {}),
    "clip": (SOFTMAX["clip"], {}),
    "by hand": (SOFTMAX["by hand"], {}),
    "log": ("y = LogSoftmax (z)", {}),
    "some": ("s = Softmax (z) y = Gather <axis = 1> (s, i_3_1)", {}),
    "pair": ("q = Slice (z, i_0, i_1, i_1) s = Sigmoid (q) n = Sub (c_1, s) y = Concat <axis = 1> (n, s)", {}),
    "two names": ("q = Slice (z, i_0, i_1, i_1) y = Sigmoid (q)", {"labels": ("no", "yes")}),
    "two names, raw": ("y = Slice (z, i_0, i_1, i_1)", {"labels": ("no", "yes"), "activation": "sigmoid"}),
    "one value": ("y = Slice (z, i_0, i_1, i_1)", {}),
    "mean": ("a = Softmax (z) t = Mul (z, c_m0p5) b = Softmax (t) s = Add (a, b) y = Mul (s, c_0p5)", {}),
}


@pytest.mark.parametrize("fused", [False, True], ids=["exported", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_the_same(kind: str, fused: bool, tmp_path: Path) -> None:
    """What is explained, its names and probabilities go into the file."""
    tail, options = KINDS[kind]
    file, target = saved(network(tail), tmp_path), tmp_path / "target.onnx"
    explainer, wanted = explained(file, **options)
    activation, labels = options.get("activation"), options.get("labels")
    if fused:
        fuse(file, target, labels=labels, activation=activation)
    else:
        source = from_onnx(file)
        export_model(dataclasses.replace(source, labels=labels or source.labels), target, activation=activation)
    _, found = explained(target)
    assert [entry.label for entry in by_index(found)] == [entry.label for entry in by_index(wanted)]
    np.testing.assert_allclose(shares(found), shares(wanted), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logits(found), logits(wanted), rtol=1e-4, atol=1e-5)
    order = [[entry.index for entry in one.classes] for one in (found, wanted)]
    rows = [np.argsort(one) for one in order]
    np.testing.assert_allclose(found.cam[rows[0]], wanted.cam[rows[1]], atol=1e-3)
    for name in ("explained", "probability"):
        assert found.method[name] == wanted.method[name]
    assert explainer.classifier.n_classes == len(found.classes)


def test_a_fused_model_gives_the_probabilities_itself(tmp_path: Path) -> None:
    for place, (kind, (tail, options)) in enumerate(KINDS.items()):
        file, target = saved(network(tail), tmp_path), tmp_path / f"{place}.onnx"
        fuse(file, target, labels=options.get("labels"), activation=options.get("activation"))
        explainer, wanted = explained(file, **options)
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        ids = np.array([[entry.index for entry in wanted.classes]])
        seen, _ = explainer.preprocessing.crop(PICTURE)
        (given,) = session.run(["class_probabilities"], {"image": seen[None], "classes": ids})
        expected = [np.nan if entry.probability is None else entry.probability for entry in wanted.classes]
        np.testing.assert_allclose(given[0], expected, rtol=1e-4, atol=1e-6, err_msg=kind)


def test_a_softmax_that_was_assumed_at_export_may_be_contradicted(tmp_path: Path) -> None:
    source, target = saved(network("y = Identity (z)"), tmp_path), tmp_path / "target.onnx"
    export_model(from_onnx(source), target)
    _, found = explained(target)
    _, wanted = explained(source)
    np.testing.assert_allclose(shares(found), shares(wanted), rtol=1e-6)
    _, told = explained(target, activation="sigmoid")
    np.testing.assert_allclose(shares(told), 1 / (1 + np.exp(-logits(told))), rtol=1e-5)


def test_an_exported_file_has_answered(tmp_path: Path) -> None:
    source, target = saved(network("y = Softmax (z)"), tmp_path), tmp_path / "target.onnx"
    export_model(from_onnx(source), target)
    with pytest.raises(OptionError, match="fixes its own activation"):
        Explainer(target, providers="cpu", activation="sigmoid")


def test_captions_say_what_is_explained(tmp_path: Path) -> None:
    _, found = explained(saved(network("y = Identity (z)", classes=1), tmp_path))
    assert re.fullmatch(r"class 0 \(0\) [+-]\d+\.\d\d", str(found.classes[0]))
    assert found.to_dict()["classes"][0]["probability"] is None
    assert found.panel().size[0] > 0
    assert json.loads(json.dumps(found.to_dict()))["predictions"][0]["probability"] is None


def test_no_class_is_left(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the number of classes must be positive"):
        Explainer(saved(network("s = Softmax (z) y = Slice (s, i_9, i_12, i_1)"), tmp_path), providers="cpu")


@pytest.mark.parametrize(
    ("problem", "how"),
    [("multi_label_classification", "sigmoid"), ("single_label_classification", "softmax"), ("regression", "none")],
)
def test_the_problem_type_beside_a_model(problem: str, how: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "problem_type": problem}))
    _, found = explained(saved(network("y = Identity (z)"), tmp_path))
    z = logits(found)
    wanted = {"sigmoid": 1 / (1 + np.exp(-z)), "softmax": np.exp(z) / np.exp(z).sum(), "none": np.full(4, np.nan)}[how]
    np.testing.assert_allclose(shares(found), wanted, rtol=1e-5)
    assert found.method["probability"] == f"{how}, by the problem_type in config.json: {problem}"
    _, told = explained(saved(network("y = Identity (z)"), tmp_path), activation="sigmoid")
    np.testing.assert_allclose(shares(told), 1 / (1 + np.exp(-z)), rtol=1e-5)
    _, own = explained(saved(network("y = Softmax (z)"), tmp_path))
    np.testing.assert_allclose(shares(own), np.exp(z) / np.exp(z).sum(), rtol=1e-5)


def giving(*values: np.ndarray) -> Any:
    return lambda _: values


def test_logits_that_do_not_belong_to_the_probabilities_are_an_error(tmp_path: Path) -> None:
    """Whatever a pattern may be taken for, values have the last word."""
    explainer = Explainer(saved(network("y = Softmax (z)"), tmp_path), providers="cpu")
    metadata = explainer.classifier.metadata
    logits_ = np.array([[1.0, 2.0, 3.0, 0.0]], np.float32)
    for activation in ("softmax", "sigmoid", "log_softmax"):
        end = ClassOutput("z", 4, activation, probabilities="y")
        right = in_numpy(logits_, activation.removeprefix("log_"))
        assert check_activation(metadata, end, giving(logits_, right), [logits_]) is metadata
        with pytest.raises(ModelError, match=f"read as {activation} of 'z', but for class [0-3] the output 'y' gives"):
            check_activation(metadata, end, giving(logits_, right[:, ::-1]), [logits_])
