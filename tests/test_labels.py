import json
import re

import numpy as np
import pytest

from secam_onnx.errors import ClassError, OptionError
from secam_onnx.labels import class_name, find_class, read_labels, resolve_classes

LABELS = ("tench", "goldfish", "great white shark", "crane", "Straße", "crane", "tiger cat", "Egyptian cat")


@pytest.fixture
def stored(tmp_path):
    def store(name: str, data: str | bytes):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return store


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "tench\ngreat white shark\nStraße"),
        ("a.txt", "\ufefftench\r\n great white shark \r\nStraße\r\n\r\n"),
        ("a.json", '["tench", "great white shark", "Straße"]'),
        ("A.JSON", '{"2": "Straße", "0": "tench", "1": "great white shark"}'),
        ("a.json", '["tench ", " great white shark", "Straße\\n"]'),
        ("a.csv", "tench\ngreat white shark\nStraße\n"),
        ("a.csv", "label\r\ntench\r\ngreat white shark\r\nStraße\r\n\r\n"),
        ("a.csv", "2,Straße\n0,tench\n1,great white shark"),
        ("a.CSV", "\ufeffindex,label\n0,tench\n2,Straße\n1,great white shark\n"),
        ("a.csv", 'id;name\n0;tench\n1;"great white shark"\n2;Straße'),
        ("a.csv", "name\tid\ntench\t0\nStraße\t2\ngreat white shark\t1"),
        ("a.csv", '"0","tench"\n"1", great white shark \n"2","Straße"\n0,tench'),
    ],
)
def test_read_labels(stored, name, text):
    assert read_labels(stored(name, text)) == ("tench", "great white shark", "Straße")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "", "every class needs a name"),
        ("a.txt", "tench\n\ncrane\n", "every class needs a name"),
        ("a.txt", b"\xff\xfet\x00e\x00", "holds no labels"),
        ("a.json", "tench\ncrane", "holds no labels"),
        ("a.json", '{"0": "tench", "2": "crane"}', "key '1' is missing"),
        ("a.json", '{"1": "tench", "2": "crane"}', "key '0' is missing"),
        ("a.json", '{"0": 5}', "every class needs a name"),
        ("a.json", '["tench", null]', "every class needs a name"),
        ("a.json", "[]", "every class needs a name"),
        ("a.json", "{}", "every class needs a name"),
        ("a.json", '"tench"', "names?"),
        ("a.json", "5", "names?"),
        ("a.json", "[" * 100_000, "holds no labels"),
        ("a.csv", "", "its rows have no columns where one or two were expected"),
        ("a.csv", "0,tench\n\n1,crane", "its rows have 0 or 2 columns where one or two"),
        ("a.csv", "0,tench,fish\n1,crane,bird", "its rows have 3 columns"),
        ("a.csv", "tench, Tinca tinca\ngoldfish, Carassius", "'Carassius' is no index; names with a comma need quotes"),
        ("a.csv", "0,tench\n2,crane", "key '1' is missing"),
        ("a.csv", "1,tench\n2,crane", "key '0' is missing"),
        ("a.csv", "0,tench\n0,crane", "the index 0 stands there twice"),
        ("a.csv", "0,tench\n1,", "every class needs a name"),
        ("a.csv", "index,label", "every class needs a name"),
        ("a.csv", f"0,tench\n{'9' * 5000},crane", "holds no labels"),
        ("a.csv", '0,"' + "a" * 200_000, "holds no labels"),
        ("a.csv", b"0,caf\xe9", "holds no labels"),
    ],
)
def test_bad_files(stored, name, data, message):
    with pytest.raises(OptionError, match=message):
        read_labels(stored(name, data))


def test_missing_file_and_folder(tmp_path):
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "directory")):
        with pytest.raises(OptionError, match=f"Cannot read labels from {re.escape(str(path))}: .*{reason}"):
            read_labels(path)


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
        ("crane", "2 classes are called 'crane'; give one of the indices 3, 5"),
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


def test_keras_class_index_and_underscores(tmp_path):
    file = tmp_path / "imagenet_class_index.json"
    file.write_text('{"0": ["n01440764", "tench"], "1": ["n02123159", "tiger_cat"]}')
    labels = read_labels(file)
    assert labels == ("tench", "tiger_cat")
    assert find_class("tiger cat", labels, 2) == 1
    assert find_class("Tiger_Cat", ("tench", "tiger cat"), 2) == 1
