"""A class by what a user typed: indices, names, names that are numbers, the highest ones, all."""

import json
import re
import time

import numpy as np
import pytest

from secam_onnx.errors import ClassError, OptionError
from secam_onnx.labels.queries import as_queries, class_name, find_class, resolve_classes

LABELS = ("tench", "goldfish", "great white shark", "crane", "Straße", "crane", "tiger cat", "Egyptian cat")


def test_class_name():
    assert class_name(LABELS, 2) == "great white shark"
    assert class_name(None, 2) == "class 2"


@pytest.mark.parametrize(
    ("query", "index"),
    [(0, 0), (7, 7), ("3", 3), (" +3 ", 3), (np.int64(5), 5), ("GOLDFISH", 1), (" Tiger Cat", 6), ("STRASSE", 4)],
)
def test_find_class(query, index):
    assert find_class(query, LABELS, 8) == index


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (8, "Class 8 is out of range; this model has 8 classes, 0 to 7"),
        (-1, "Class -1 is out of range"),
        ("-3", "Class -3 is out of range"),
        ("9" * 5000, "out of range"),
        ("crane", "2 classes have the name 'crane'; ask for one by its index: index:3, index:5"),
        ("goldfisch", r"Unknown class 'goldfisch'. Near matches: 'goldfish' \(1\)"),
        ("cat", r"'tiger cat' \(6\), 'Egyptian cat' \(7\)"),
        ("xylophone", "Unknown class 'xylophone'. `secam-onnx inspect MODEL --labels` lists them"),
        ("1.5", "Unknown class '1.5'"),
        ("", "Unknown class ''"),
    ],
)
def test_classes_that_are_not_found(query, message):
    with pytest.raises(ClassError, match=message):
        find_class(query, LABELS, 8)


def test_a_model_of_one_class():
    with pytest.raises(ClassError, match=r"this model has 1 class, 0\.$"):
        find_class(1, None, 1)


def test_a_model_without_labels_takes_indices():
    assert find_class("4", None, 8) == 4
    with pytest.raises(ClassError, match="this model file has no class names; give an index"):
        find_class("tench", None, 8)


def test_no_more_than_five_near_matches():
    names = [f"{colour} cat" for colour in "abcdefghijkl"]
    with pytest.raises(ClassError) as caught:
        find_class("cat", names, len(names))
    assert 1 <= len(re.findall(r"\(\d+\)", str(caught.value))) <= 5


LOGITS = np.array([0.5, -2.0, 9.0, 3.0, 3.0, 8.0, -7.0, 0.0])


@pytest.mark.parametrize(
    ("queries", "chosen"),
    [
        (["top-1"], [2]),
        (["TOP3"], [2, 5, 3]),
        (["top-4"], [2, 5, 3, 4]),
        (["top-8"], [2, 5, 3, 4, 0, 7, 1, 6]),
        (["all"], list(range(8))),
        (["goldfish", "top-2", 0], [1, 2, 5, 0]),
        ([5, "top-3", "tench", "5", "Tench"], [5, 2, 3, 0]),
        (["top-2", "all"], [2, 5, 0, 1, 3, 4, 6, 7]),
        ([], []),
    ],
)
def test_resolve_classes(queries, chosen):
    assert resolve_classes(queries, LOGITS, LABELS) == chosen


@pytest.mark.parametrize("query", ["top-0", "top-9", "top99"])
def test_top_k_outside_the_classes(query):
    with pytest.raises(ClassError, match=f"'{query}': this model has 8 classes; ask for top-1 to top-8"):
        resolve_classes([query], LOGITS)


def test_indices_are_plain_integers():
    chosen = resolve_classes(["top-2", np.int64(3), "all"], LOGITS)
    assert json.loads(json.dumps(chosen)) == [2, 5, 3, 0, 1, 4, 6, 7]


ANGLES = ("0", "90", "180", "270")
MIXED = ("2", "0", "1", "3")


@pytest.mark.parametrize(
    ("labels", "query", "index"),
    [
        (ANGLES, "90", 1),  # no class has the index 90
        (ANGLES, "0", 0),  # both readings are the same class
        (ANGLES, "2", 2),  # no class is called 2
        (ANGLES, "name:180", 2),
        (ANGLES, "index:3", 3),
        (ANGLES, " Index: 3 ", 3),
        (MIXED, 2, 2),  # a number is an index
        (MIXED, np.int64(2), 2),
        (MIXED, np.uint8(2), 2),
        (MIXED, "3", 3),
        (MIXED, "name:2", 0),
        (MIXED, "NAME: 2", 0),
        (MIXED, "index:2", 2),
        (MIXED, "index:+2", 2),
        (("-3", "-1", "4"), "-3", 0),
        (("007", "cat"), "7", 0),
        (("00", "01", "02"), "01", 1),
        (("7", "007"), "007", 1),
        (("cat", "all", "top-1"), "name:all", 1),
        (("cat", "all", "top-1"), "name:top-1", 2),
        (("index: finger", "cat"), "index: finger", 0),
        (("name:cat", "cat"), "name:cat", 1),
        (("name:cat", "cat"), "name:name:cat", 0),
        (("cat, big", "cat"), "cat, big", 0),
        (("cat", "1"), "name:1", 1),
    ],
)
def test_names_that_are_numbers_or_words_of_ours(labels, query, index):
    assert find_class(query, labels, len(labels)) == index
    assert resolve_classes([query], np.zeros(len(labels)), labels) == [index]


@pytest.mark.parametrize(
    ("labels", "query", "message"),
    [
        (MIXED, "2", "'2' is the index of '1' and the name of class 0; ask for 'index:2' or 'name:2'"),
        (MIXED, " 1 ", "'1' is the index of '0' and the name of class 2; ask for 'index:1' or 'name:1'"),
        (("01", "00"), "1", "'1' is the index of '00' and the name of class 0"),
        (("2", "2", "x"), "2", "2 classes have the name '2'; ask for one by its index: index:0, index:1"),
        (("2", "2", "x"), "name:2", "2 classes have the name '2'; ask for one by its index: index:0, index:1"),
        (ANGLES, "91", "Class 91 is out of range; this model has 4 classes, 0 to 3, and none has that name"),
        (ANGLES, 90, r"Class 90 is out of range; this model has 4 classes, 0 to 3\.$"),
        (ANGLES, "index:90", r"Class index:90 is out of range; this model has 4 classes, 0 to 3\.$"),
        (ANGLES, "name:2", "Unknown class '2'"),
        (None, "name:2", "no class names; give an index"),
        (("cat", "dog"), "name:", "Unknown class ''"),
    ],
)
def test_both_readings_are_told(labels, query, message):
    with pytest.raises(ClassError, match=message):
        find_class(query, labels, len(labels or ANGLES))


def test_all_and_top_k_keep_their_meaning_where_classes_are_called_so():
    labels = ("all", "top-1", "cat")
    assert resolve_classes(["all"], np.array([0.0, 1.0, 2.0]), labels) == [0, 1, 2]
    assert resolve_classes(["top-1"], np.array([0.0, 1.0, 2.0]), labels) == [2]


@pytest.mark.parametrize(
    ("classes", "queries"),
    [
        (3, [3]),
        (np.int64(3), [3]),
        (np.array(3), [3]),
        (np.array([3, 1]), [3, 1]),
        ("cat", ["cat"]),
        (np.str_("cat"), ["cat"]),
        (["cat", np.int8(1)], ["cat", 1]),
        ((name for name in ("cat", "dog")), ["cat", "dog"]),
        (range(2), [0, 1]),
        ({"cat": 1}.keys(), ["cat"]),
    ],
)
def test_one_class_or_several_in_any_form(classes, queries):
    assert as_queries(classes) == queries


@pytest.mark.parametrize("wrong", [None, True, np.bool_(True), 1.0, np.float32(1), b"cat", object(), [None], [1, True]])
def test_what_is_no_class(wrong):
    with pytest.raises(OptionError, match=r"A class is .*; give an index, a name, 'top-1' or 'all'"):
        as_queries(wrong)


def test_no_class_at_all():
    with pytest.raises(OptionError, match="No class was asked for"):
        as_queries([])


@pytest.mark.parametrize("length", [40, 100_000])
def test_near_matches_among_many_long_names_are_found_soon(length: int) -> None:
    """A client of the server may ask for any name; to compare it with all of these would take minutes."""
    labels = [f"{number:05d} {'abcdefgh' * (length // 8)}" for number in range(2_000_000 // max(length, 100))]
    labels[7] = "tiger cat"
    start = time.process_time()
    with pytest.raises(ClassError, match=r"Near matches: 'tiger cat' \(7\)"):
        find_class("tigger cat", labels, len(labels))
    with pytest.raises(ClassError):
        find_class("hgfedcba" * (length // 8), labels, len(labels))
    assert time.process_time() - start < 3
