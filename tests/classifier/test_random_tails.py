"""Whatever lies behind a softmax or sigmoid, a probability is what the file itself says, or none."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tails import PICTURE, network, own_values, saved

from secam_onnx import Explainer

ACTIVATIONS = {
    "softmax": "{y} = Softmax <axis = 1> ({x})",
    "softmax by hand": (
        "{y}m = ReduceMax <keepdims = 1> ({x}, i_1) {y}d = Sub ({x}, {y}m) {y}e = Exp ({y}d) "
        "{y}t = ReduceSum ({y}e, i_1) {y} = Div ({y}e, {y}t)"
    ),
    "log softmax": "{y}l = LogSoftmax <axis = 1> ({x}) {y} = Exp ({y}l)",
    "sigmoid": "{y} = Sigmoid ({x})",
    "sigmoid by hand": "{y}n = Neg ({x}) {y}e = Exp ({y}n) {y}a = Add (c_1, {y}e) {y} = Div (c_1, {y}a)",
    "hard sigmoid": "{y} = HardSigmoid ({x})",
}
SAME = {
    "identity": "{y} = Identity ({x})",
    "double": "{y}d = Cast <to = 11> ({x}) {y} = Cast <to = 1> ({y}d)",
    "clip": "{y} = Clip ({x}, c_0p0000001, c_0p9999999)",
    "half clip": "{y} = Clip ({x}, c_0p25, c_0p75)",
    "once": "{y} = Mul ({x}, c_1)",
    "and nothing": "{y} = Add ({x}, c_0)",
    "there and back": "{y}r = Reshape ({x}, i_0_m1_1_1) {y} = Flatten ({y}r)",
    "turned": "{y}u = Unsqueeze ({x}, i_1) {y}t = Transpose <perm = [0, 2, 1]> ({y}u) {y} = Squeeze ({y}t, i_2)",
    "one minus": "{y} = Sub (c_1, {x})",
    "square": "{y} = Mul ({x}, {x})",
    "half": "{y} = Mul ({x}, c_0p5)",
    "mean with itself mirrored": (
        "{y}s = Slice ({x}, i_m1, i_m99, i_1, i_m1) {y}a = Add ({x}, {y}s) {y} = Mul ({y}a, c_0p5)"
    ),
    "pair": "{y}n = Sub (c_1, {x}) {y} = Concat <axis = 1> ({y}n, {x})",
    "last ones": "{y} = Slice ({x}, i_m2, i_99, i_1)",
    "the last": "{y} = Slice ({x}, i_m1, i_99, i_1)",
    "backwards": "{y} = Slice ({x}, i_m1, i_m99, i_1, i_m1)",
    "picked": "{y} = Gather <axis = 1> ({x}, i_m1_0)",
    "again": "{y} = Softmax <axis = 1> ({x})",
}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.lists(st.sampled_from(sorted(SAME)), max_size=4),
    st.integers(0, 3),
)
def test_random_tails(classes: int, activation: str, following: list[str], seed: int) -> None:
    body, x = "", "z"
    for place, template in enumerate((ACTIVATIONS[activation], *(SAME[name] for name in following))):
        y = "y" if place == len(following) else f"t{place}"
        body, x = f"{body} {template.format(x=x, y=y)}", y
    with tempfile.TemporaryDirectory() as folder:
        file = saved(network(body, classes=classes, seed=seed), Path(folder))
        explainer = Explainer(file, providers="cpu")
        found = explainer.explain(PICTURE, "all")
        said = own_values(file, explainer).reshape(-1)
    classes_ = sorted(found.classes, key=lambda entry: entry.index)
    assert len(classes_) == len(said)
    shares = [entry.probability for entry in classes_]
    if shares != [None] * len(said):
        # A factor between the softmax and the output is no other probability.
        halves = following.count("half") if found.method["explained"] == "logit" else 0
        factors = [0.5**power for power in range(halves + 1)]
        assert any(np.allclose(np.array(shares, float) * factor, said, atol=1e-5) for factor in factors)
    if found.method["explained"] == "output":
        np.testing.assert_allclose([entry.logit for entry in classes_], said, atol=1e-5)
    elif found.method["attribution"].startswith("gradient"):
        assert found.completeness_error < 1e-4
