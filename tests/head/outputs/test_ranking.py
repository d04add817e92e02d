"""Winners have the names that the file itself gives them; what is no class is not called one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tails import PICTURE, network, own_values, saved

from secam_onnx import Explainer
from secam_onnx.errors import HeadError, OptionError

ARG_MAX = "n = ArgMax <axis = 1, keepdims = 0> (z) "
ENCODER = "ai.onnx.ml.LabelEncoder"
TABLES = {
    "keys in another order": (
        f'y = {ENCODER} <keys_int64s = [1, 2, 0, 3], values_strings = ["one", "two", "zero", "three"]> (n)',
        "string[N] y",
    ),
    "two in a row": (
        f"m = {ENCODER} <keys_int64s = [0, 1, 2, 3], values_int64s = [3, 2, 1, 0]> (n) "
        f'y = {ENCODER} <keys_int64s = [0, 1, 2, 3], values_strings = ["a", "b", "c", "d"]> (m)',
        "string[N] y",
    ),
    "ids": ("y = Gather (i_30_20_10_0, n)", "int64[N] y"),
    "ids by a feature extractor": (
        "r = Reshape (n, i_m1) y = ai.onnx.ml.ArrayFeatureExtractor (i_30_20_10_0, r)",
        "int64[L, N] y",
    ),
    "ids, then names": (
        f"m = Gather (i_30_20_10_0, n) y = {ENCODER} <keys_int64s = [0, 10, 20, 30], "
        'values_strings = ["a", "b", "c", "d"]> (m)',
        "string[N] y",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_winner_has_the_name_that_the_file_gives(name: str, tmp_path: Path) -> None:
    tail, outputs = TABLES[name]
    for winner in range(4):
        lift = "_".join("99" if index == winner else "0" for index in range(4))
        lifted = f"s = Cast <to = 1> (i_{lift}) t = Add (z, s) n = ArgMax <axis = 1, keepdims = 0> (t) {tail}"
        file = saved(network(lifted, outputs), tmp_path)
        explainer = Explainer(file, providers="cpu")
        (said,) = own_values(file, explainer).reshape(-1)
        (entry,) = explainer.explain(PICTURE).classes
        assert (entry.index, entry.label) == (winner, str(said))


def test_names_by_number_do_not_go_to_other_classes(tmp_path: Path) -> None:
    """Neither those that are given, nor those beside the file."""
    file = saved(network(ARG_MAX + "y = Gather (i_3_2_1_0, n)", "int64[N] y"), tmp_path)
    with pytest.raises(OptionError, match=r"numbers its classes 3, 2, 1, 0.*--logits z"):
        Explainer(file, providers="cpu", labels=["a", "b", "c", "d"])
    assert Explainer(file, providers="cpu", labels=["a", "b", "c", "d"], logits="z").labels == ("a", "b", "c", "d")
    (tmp_path / "config.json").write_text('{"id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}}')
    assert Explainer(file, providers="cpu").labels == ("3", "2", "1", "0")


def test_a_linear_classifier_names_its_classes(tmp_path: Path) -> None:
    numbers = ", ".join(str(0.5 * (index % 5) - 1) for index in range(12))
    tail = (
        "label, s = ai.onnx.ml.LinearClassifier <classlabels_ints = [7, 8, 9], intercepts = [0.0, 0.1, 0.2], "
        f'coefficients = [{numbers}], post_transform = "SOFTMAX"> (z)'
    )
    for outputs in ("float[N, M] s; int64[N] label", "int64[N] label"):
        file = saved(network(tail, outputs), tmp_path)
        explainer = Explainer(file, providers="cpu")
        assert explainer.labels == ("7", "8", "9")
        (said,) = own_values(file, explainer, tensor="label")
        assert explainer.explain(PICTURE).classes[0].label == str(said)


def test_a_class_that_is_in_no_table_has_no_name(tmp_path: Path) -> None:
    tail = ARG_MAX + f'y = {ENCODER} <keys_int64s = [2, 0], values_strings = ["two", "zero"]> (n)'
    explainer = Explainer(saved(network(tail, "string[N] y"), tmp_path), providers="cpu")
    assert explainer.labels == ("zero", "class 1", "two", "class 3")


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("v, y = TopK <largest = 0> (z, i_1)", "int64[N, K] y"),
        ("y = ArgMin <axis = 1, keepdims = 1> (z)", "int64[N, K] y"),
        ("d = Identity (z) y = ArgMin <axis = 1> (z)", "d; int64[N, K] y"),
        ("v = Softmax (z) y = ReduceMin <keepdims = 1> (v, i_1)", "float[N, K] y"),
    ],
)
def test_where_the_smallest_wins_the_file_is_refused(tail: str, outputs: str, tmp_path: Path) -> None:
    file = saved(network(tail, outputs), tmp_path)
    with pytest.raises(HeadError, match="takes the smallest of"):
        Explainer(file, providers="cpu")


@pytest.mark.parametrize(
    "tail",
    [
        "v, i = TopK (z, i_4) y = Softmax (v)",
        "v, i = TopK (z, i_2) t = Mul (v, c_2) y = Sigmoid (t)",
        "v, i = TopK (z, i_4) y = Mul (v, c_2)",
    ],
)
def test_places_of_a_ranking_are_no_classes(tail: str, tmp_path: Path) -> None:
    file = saved(network(tail), tmp_path)
    with pytest.raises(HeadError, match="sorted by TopK 'v', so their places are not classes; --logits z"):
        Explainer(file, providers="cpu")
    found = Explainer(file, providers="cpu", logits="z").explain(PICTURE, "all")
    assert len(found.classes) == 4
