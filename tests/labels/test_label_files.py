"""Label files as frameworks and people write them: read as they are meant, or refused by the name of what they are."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secam_onnx.errors import OptionError
from secam_onnx.labels.given import given_labels
from secam_onnx.labels.label_files import parse_names, read_labels
from secam_onnx.labels.objects import miscounted
from secam_onnx.labels.queries import find_class
from secam_onnx.photograph.sidecars.stated_labels import stated_labels

Store = Callable[[str, str | bytes], Path]


@pytest.fixture
def stored(tmp_path: Path) -> Store:
    def store(name: str, data: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return store


@pytest.mark.parametrize(
    ("name", "text"),
    [
        # One name a line.
        ("a.txt", "tench\ngreat white shark\nStraße"),
        ("a.txt", "\ufefftench\r\n great white shark \r\nStraße\r\n\r\n"),
        ("a.txt", "tench\ngreat white shark\nStraße\n\n \n".encode("utf-16")),
        ("coco.names", "tench\rgreat white shark\rStraße\r"),
        ("labels", "tench\ngreat white shark\nStraße"),
        # Numbered, as Teachable Machine does, and in other ways.
        ("labels.txt", "0 tench\n1 great white shark\n2 Straße\n"),
        ("labels.txt", "2: Straße\n0: tench\n1: great white shark\n"),
        ("labels.txt", "0,tench\n1,great white shark\n2,Straße\n"),
        ("labels.txt", "0\ttench\r\n1\tgreat white shark\r\n2\tStraße\r\n"),
        ("labels.txt", "0. tench\n1. great white shark\n2. Straße\n"),
        ("labels.txt", "tench: 0\nStraße: 2\ngreat white shark: 1\n"),
        ("labels.txt", "tench - 0\nStraße - 2\ngreat white shark - 1\n"),
        ("labels.txt", "0 - tench\n1 - great white shark\n2 - Straße\n"),
        ("labels.txt", "0 : tench\n1 : great white shark\n2 : Straße\n"),
        ("labels.txt", "000 tench\n001 great white shark\n002 Straße\n"),
        ("labels.txt", "tench 0\nStraße 2\ngreat white shark 1\n"),
        ("labels.txt", "tench,0\nStraße,2\ngreat white shark,1\n"),
        ("synset_words.txt", "n01440764 tench\nn01484850 great white shark\nn00000000 Straße\n"),
        ("synsets.txt", "n01484850 1 great white shark\nn01440764 0 tench\nn00000000 2 Straße\n"),
        # JSON.
        ("a.json", '["tench", "great white shark", "Straße"]'),
        ("a.txt", '["tench", "great white shark", "Straße"]\n'),
        ("A.JSON", '{"2": "Straße", "0": "tench", "1": "great white shark"}'),
        ("a.json", '["tench ", " great white shark", "Straße\\n"]'),
        ("imagenet_class_index.json", '{"0": ["n1", "tench"], "1": ["n", "great white shark"], "2": ["", "Straße"]}'),
        ("class_indices.json", '{"great white shark": 1, "tench": 0, "Straße": 2}'),
        ("class_indices.json", '{"great white shark": "1", "tench": "0", "Straße": "2"}'),
        ("metadata.json", '{"tfjsVersion": "1", "labels": ["tench", "great white shark", "Straße"], "imageSize": 2}'),
        ("config.json", '{"id2label": {"0": "tench", "1": "great white shark", "2": "Straße"}, "label2id": {"x": 0}}'),
        ("config.json", '{"label2id": {"tench": 0, "great white shark": 1, "Straße": 2}}'),
        ("config.json", '{"architecture": "resnet18", "label_names": ["tench", "great white shark", "Straße"]}'),
        (
            "config.json",
            '{"pretrained_cfg": {"mean": [0]}, "label_names": ["n1", "great white shark", "n3"],'
            ' "label_descriptions": {"n1": "tench", "n3": "Straße"}}',
        ),
        ("a.json", '{"names": {"0": "tench", "1": "great white shark", "2": "Straße"}}'),
        # Python.
        ("imagenet1000_clsidx_to_labels.txt", "{0: 'tench',\n 1: 'great white shark',\n 2: \"Straße\"}"),
        ("a.txt", "['tench', 'great white shark', 'Straße',]"),
        ("a.json", "{'tench': 0, 'Straße': 2, 'great white shark': 1}"),
        # CSV.
        ("a.csv", "tench\ngreat white shark\nStraße\n"),
        ("a.csv", "label\r\ntench\r\ngreat white shark\r\nStraße\r\n\r\n"),
        ("a.csv", "2,Straße\n0,tench\n1,great white shark"),
        ("a.CSV", "\ufeffindex,label\n0,tench\n2,Straße\n1,great white shark\n"),
        ("a.csv", 'id;name\n0;tench\n1;"great white shark"\n2;Straße'),
        ("a.csv", "name\tid\ntench\t0\nStraße\t2\ngreat white shark\t1"),
        ("a.tsv", "0\ttench\n2\tStraße\n1\tgreat white shark"),
        ("a.csv", '"0","tench"\n"1", great white shark \n"2","Straße"\n0,tench'),
        # YAML.
        ("data.yaml", "nc: 3\nnames:\n  0: tench\n  1: great white shark\n  2: Straße\n"),
        ("data.yml", "# a data set\nnames: ['tench', 'great white shark', 'Straße']  # three\nnc: 3\n"),
        ("data.yaml", "names: [tench, great white shark,\n  \"Straße\"]\ndownload: |\n  import os\n  x = {'a': [1]}\n"),
        ("data.yaml", "names: # classes\n- tench\n- 'great white shark'\n- Straße\n# end\nval: images\n"),
        ("data.yaml", "names:\n\n  - tench # a fish\n  - great white shark\n\n  - \"Stra\\u00dfe\"\n\ntest:\n"),
        ("data.yaml", 'names: {0: tench, 1: "great white shark", 2: Straße}\n'),
        ("data.yaml", 'names: {"0":"tench","1":"great white shark","2":"Straße"}\n'),
        ("data.yaml", "names:\n  tench: 0\n  great white shark: 1\n  Straße: 2\n"),
        ("list.yaml", "---\n- tench\n- great white shark\n- Straße\n"),
        ("dict.yaml", "0: tench\n1: great white shark\n2: Straße\n"),
        ("data.txt", "path: ../coco\nnames:\n  0: tench\n  1: great white shark\n  2: Straße\n"),
    ],
)  # fmt: skip
def test_three_names_in_every_form(stored: Store, name: str, text: str | bytes) -> None:
    assert read_labels(stored(name, text)) == ("tench", "great white shark", "Straße")


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        # Names that are numbers.
        ("a.txt", "0\n90\n180\n270", ("0", "90", "180", "270")),
        ("a.txt", "0 0\n1 90\n2 180\n3 270", ("0", "90", "180", "270")),
        ("a.txt", "2\n0\n1\n3", ("2", "0", "1", "3")),
        ("a.json", "[0, 90, 180, 270]", ("0", "90", "180", "270")),
        ("a.json", '{"0": 0, "90": 1, "180": 2, "270": 3}', ("0", "90", "180", "270")),
        ("a.json", '{"0": "0", "1": "90", "2": "180"}', ("0", "90", "180")),
        ("a.json", '{"0": "2", "1": "0", "2": "1"}', ("2", "0", "1")),
        ("a.json", '{"0": 2, "1": 0, "2": 1}', ("1", "2", "0")),  # an index is a number, and JSON's keys are text
        ("a.txt", "{0: '2', 1: '0', 2: '1'}", ("2", "0", "1")),
        ("a.csv", "90,1\n0,0\n180,2", ("0", "90", "180")),
        ("a.csv", "0,90\n1,0\n", ("90", "0")),
        ("a.yaml", "names:\n  0: 2\n  1: 0\n  2: 1", ("2", "0", "1")),
        # Names that begin or end with numbers.
        ("a.txt", "1 euro\n2 euro\n50 cents", ("1 euro", "2 euro", "50 cents")),
        ("a.txt", "0 fingers\n1 finger\n2 fingers\n3 fingers", ("0 fingers", "1 finger", "2 fingers", "3 fingers")),
        ("a.txt", "type 0\ntype 1\ntype 2", ("type 0", "type 1", "type 2")),
        ("a.txt", "20 km/h\n30 km/h\nstop", ("20 km/h", "30 km/h", "stop")),
        ("a.txt", "0.5 mg\n1.5 mg\n2 mg", ("0.5 mg", "1.5 mg", "2 mg")),
        ("a.txt", "0 - 2\n3 - 9\n10 - 19", ("0 - 2", "3 - 9", "10 - 19")),
        ("a.txt", "0 to 2 years\n3 to 9 years", ("0 to 2 years", "3 to 9 years")),
        ("a.txt", "Boeing 737\nAirbus 320", ("Boeing 737", "Airbus 320")),
        ("a.txt", "7 up", ("7 up",)),
        ("a.json", '["0 cat", "2 dog"]', ("0 cat", "2 dog")),
        # Names with the signs of other forms.
        ("a.txt", "tench, Tinca tinca\ncrow, Corvus", ("tench, Tinca tinca", "crow, Corvus")),
        ("a.txt", "n01440764 tench, Tinca tinca\nn01443537 crow, Corvus", ("tench, Tinca tinca", "crow, Corvus")),
        ("a.txt", "n01440764\nn01443537", ("n01440764", "n01443537")),
        ("a.txt", "[\n{\n'\n#", ("[", "{", "'", "#")),  # characters that are read from pictures
        ("a.txt", "items\nfrom: to", ("items", "from: to")),
        ("a.txt", "cat\ncat\ndog", ("cat", "cat", "dog")),
        ("a.yaml", "names:\n- it's # new\n- a#b\n- 'don''t # x'\n- \"x: y\"", ("it's", "a#b", "don't # x", "x: y")),
        ("a.yaml", "names: [yes, no, 'a, b']", ("yes", "no", "a, b")),
    ],
)  # fmt: skip
def test_names_that_look_like_something_else(stored: Store, name: str, text: str, names: tuple[str, ...]) -> None:
    assert read_labels(stored(name, text)) == names


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "", "every class needs a name"),
        ("a.txt", "tench\n\ncrane\n", "every class needs a name, but line 2 is empty"),
        ("a.txt", "tench\n" + 2000 * "x", "line 2 has 2,000 characters"),
        ("a.txt", "1 tench\n2 crane\n3 crow", "its lines are numbered from 1, and classes count from 0"),
        ("a.txt", "0 cat\n2 dog", "its lines are numbered, and number 1 is missing"),
        ("a.txt", "7: cat\n1: dog\n0: Dog house", "number 2 is missing: .* write a list in JSON"),
        ("synsets.txt", "n01484850 3 shark\nn01440764 0 tench", "number 1 is missing"),
        ("map_clsloc.txt", "n02119789 1 kit_fox\nn02100735 2 English_setter", "its lines are numbered from 1"),
        ("a.txt", b"\xff\xfet\x00e", "not UTF-8 text|truncated"),
        ("a.txt", b"caf\xe9\ntee", "not UTF-8 text: byte 3 is 0xe9"),
        ("a.txt", b"t\x00e\x00", "it is not text"),
        ("a.txt", "{0: 'tench', 1: }", "neither JSON nor a list or dict in Python's syntax"),
        ("a.txt", "{0: 'tench', 1: open('x')}", "neither JSON nor a list or dict in Python's syntax"),
        ("a.txt", "{'tench', 'crane'}", "it is of type set, where a list of names was expected"),
        ("a.txt", "{0: 'tench', 2: 'crane'}", "the index 1 is missing"),
        ("a.txt", "{0: 1, 1: 0}", "its keys and its values could both be the indices"),
        ("a.txt", "[" * 100_000 + "]", "nested 100,000 deep"),
        ("a.txt", r"['a', '\ud800']", "class 1 has half of a surrogate pair"),
        ("a.txt", "[" * 100 + "'a'" + "]" * 100, "nested 100 deep"),
        ("a.json", "[" + "[]," * 1_000_000 + "[]]", "more than 1,000,000 entries"),
        ("a.txt", "[" + "[]," * 300_000 + "'a']", "more than 200,000 entries"),
        ("a.txt", "[" + "''" * 500_000 + "]", "more than 200,000 entries"),
        ("a.txt", "[" + "-" * 100_000 + "1, 'a']", "neither JSON"),
        ("a.txt", "[" + "1+" * 100_000 + "1, 'a']", "neither JSON"),
        ("a.json", '["' + r"\"" * 500_000, "neither JSON"),
        ("a.json", '["a", "a' + "b" * 1000 + '"]', "class 1 has a name of 1,001 characters"),
        ("a.json", r'["a", "\ud800"]', "half of a surrogate pair"),
        ("a.json", '{"0": "a", "0": "b"}', "the key '0' occurs twice"),
        ("a.json", '{"0": ' + "9" * 5000 + "}", "neither its keys nor its values|class 0 has"),
        ("a.txt", "a\n" * 1_000_001, "more than 1,000,000 names"),
        ("a.csv", "a,b\n" * 1_000_002, "more than 1,000,000 rows or cells"),
        ("a.csv", "a," * 1_000_002, "more than 1,000,000 rows or cells"),
        ("a.csv", "9" * 5000 + ",a\n1,b", "is not an index"),
        ("a.yaml", "names:\n  a" + " " * 60_000 + "b\n", "an entry of 60,002 characters"),
        ("a.yaml", "names:\n" + "  - a\n" * 400_000, "characters; at most 2,000,000 are read of YAML"),
        ("a.txt", "[" + "1, " * 1_000_000 + "]", "more than 1,000,000 entries"),
        ("a.txt", "item {\n  id: 1\n  name: 'cat'\n}", "a label map of TensorFlow"),
        ("a.txt", "<!DOCTYPE html>\n<html>", "HTML or XML"),
        ("a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5", "Git LFS; `git lfs pull`"),
        ("names.py", "names = ['tench']", "names are not read from .py files"),
        ("a.txt", "import os\nnames = []", "it is a program"),
        ("a.json", "tench\ncrane", "cannot be used as class names"),
        ("a.json", '{"0": "tench", "2": "crane"}', "the index 1 is missing"),
        ("a.json", '{"1": "tench", "2": "crane"}', "the index 0 is missing"),
        ("a.json", '{"0": "a", "00": "b"}', "the index 1 is missing"),
        ("a.json", '{"0": "tench", "1": 5}', "class 1 has 5"),
        ("a.json", '{"0": 5.5}', "class 0 has 5.5"),
        ("a.json", '["tench", null]', "every class needs a name, but class 1 has null"),
        ("a.json", "[true, false]", "every class needs a name"),
        ("a.json", '[[0, "tench"], [1, "crane"]]', "every class needs a name"),
        ("a.json", '[{"id": 0, "name": "tench"}]', "every class needs a name, but class 0 has .*id"),
        ("a.json", '{"n01440764": "tench", "n01443537": "goldfish"}', "the first keys are 'n01440764', 'n01443537'"),
        ("a.json", '{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}', "generic names only"),
        ("tokenizer.json", '{"version": "1.0", "model": {}}', "the first keys are 'version', 'model'"),
        ("a.json", "[]", "every class needs a name"),
        ("a.json", "{}", "every class needs a name, but there are none"),
        ("a.json", '"tench"', "it is of type str, where a list"),
        ("a.json", "5", "it is of type int, where"),
        ("a.json", "[" * 100_000, "cannot be used as class names"),
        ("a.csv", "", "its rows have no columns; one or two were expected"),
        ("a.csv", "0,tench\n\n1,crane", "its rows have 0 or 2 columns; one or two"),
        ("a.csv", "0,tench,fish\n1,crane,bird", "its rows have 3 columns"),
        ("a.csv", "tench, Tinca tinca\ngoldfish, Carassius", "'Carassius' is not an index; names with a comma"),
        ("a.csv", "0,tench\n2,crane", "the index 1 is missing"),
        ("a.csv", "1,tench\n2,crane", "the index 0 is missing"),
        ("a.csv", "0,tench\n0,crane", "the index 0 occurs twice"),
        ("a.csv", "0,tench\n1,", "every class needs a name"),
        ("a.csv", "index,label", "every class needs a name, but there are none"),
        ("a.csv", f"0,tench\n{'9' * 5000},crane", "cannot be used as class names"),
        ("a.csv", '0,"' + "a" * 200_000, "cannot be used as class names"),
        ("a.csv", b"0,caf\xe9", "cannot be used as class names"),
        ("a.yaml", "nc: 3\npath: x", "this form of YAML is not read|neither its keys nor"),
        ("a.yaml", "names: coco.names", "its names are 'coco.names'"),
        ("a.yaml", "names:\nnc: 3", "it has no names"),
        ("a.yaml", "names:\n  0: cat\n    1: dog", "continues the line before"),
        ("a.yaml", "names:\n  0: cat\n  0: dog", "'0' occurs twice"),
        ("a.yaml", "names:\n  0: cat\n  2: dog", "the index 1 is missing"),
        ("a.yaml", "names: *anchor", "its names are"),
        ("a.yaml", "names:\n  - &a cat\n  - *a", "this form of YAML is not read"),
        ("a.yaml", "names:\n  - cat\n  - - dog", "this form of YAML is not read|every class"),
        ("a.yaml", "names: [cat, [dog]]", "a list or mapping inside another"),
        ("a.yaml", "names: [cat, dog", "never closed"),
        ("a.yaml", "names: |\n  cat\n  dog", "its names are '|'"),
        ("a.txt", "PK\x03\x04 and so on", "a zip archive"),
        ("names.npy", b"\x93NUMPY\x01\x00", "a NumPy array"),
    ],
)  # fmt: skip
def test_bad_files(stored: Store, name: str, data: str | bytes, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_labels(stored(name, data))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("names", [["tench", "crane"], {0: "tench", 1: "crane"}])
def test_pickles_are_refused_and_never_opened(stored: Store, protocol: int, names: object) -> None:
    with pytest.raises(OptionError, match="a pickle, which can run any program"):
        read_labels(stored("labels.pkl", pickle.dumps(names, protocol)))


def test_missing_file_folder_and_a_file_that_is_too_large(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "it is a folder")):
        with pytest.raises(OptionError, match=f"Cannot read labels from {re.escape(str(path))}: .*{reason}"):
            read_labels(path)
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(OptionError, match="it has 1,073,741,824 bytes"):
        read_labels(large)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path, kind in ((tmp_path / "pipe.txt", "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(OptionError, match=f"it is {kind}, and a file was expected"):
            read_labels(path)


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=6
)


@given(NAMES)
def test_what_json_and_python_write_is_read_back(names: list[str]) -> None:
    assert parse_names(json.dumps(names)) == tuple(names)
    assert parse_names(repr(names)) == tuple(names)
    assert parse_names(repr(dict(enumerate(names)))) == tuple(names)
    assert parse_names(json.dumps({"id2label": dict(enumerate(names))})) == tuple(names) or len(names) == names.count(
        "LABEL_0"
    )


@given(st.text(max_size=60))
def test_any_text_is_names_or_a_reason(text: str) -> None:
    with contextlib.suppress(ValueError):
        names = parse_names(text)
        assert names
        assert all(name == name.strip() and name for name in names)


def test_an_object_of_labels_and_the_file_beside_a_model_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"id2label": {"1": "dog", "0": "cat"}}))
    assert stated_labels({}, tmp_path / "model.onnx", 2)[0] == read_labels(file) == ("cat", "dog")


def test_labels_as_somebody_gives_them_in_python(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cat\ndog\n")
    wanted = ("cat", "dog")
    given: list[object] = [file, str(file), ["cat", "dog"], wanted, {1: "dog", 0: "cat"}, {"dog": 1, "cat": 0}]
    given += [np.array(["cat", "dog"]), (name for name in wanted), dict.fromkeys(wanted).keys()]
    for labels in given:
        assert given_labels(labels) == wanted, labels
    for wrong in (5, None, b"cat", [None], {0: "cat", 2: "dog"}, [], np.float32(3), object()):
        with pytest.raises(OptionError, match="labels does not hold class names"):
            given_labels(wrong)
    with pytest.raises(OptionError, match="a set, which has no order"):
        given_labels({"cat", "dog"})


@pytest.mark.parametrize(
    ("labels", "n_classes", "message"),
    [
        (["background", "cat", "dog"], 2, "3 labels for 2 classes; .* The first one, 'background', is not a class"),
        (["cat", "dog"], 3, "2 labels for 3 classes; .* one more class at the front, 'background'"),
        (["# animals", "cat", "dog"], 2, "3 labels for 2 classes; .* begins with # counts as a name: leave it out"),
        (["cat", "dog"], 7, r"2 labels for 7 classes; give one name for each class, in order of the index\.$"),
        (["cat"], 3, "There is 1 label for 3 classes"),
        (["cat", "dog", "cow"], 1, "There are 3 labels for 1 class;"),
    ],
)
def test_a_line_too_much_or_too_little(labels: list[str], n_classes: int, message: str) -> None:
    assert re.search(message, miscounted(labels, n_classes))


def test_keras_class_index_and_underscores(tmp_path: Path) -> None:
    file = tmp_path / "imagenet_class_index.json"
    file.write_text('{"0": ["n01440764", "tench"], "1": ["n02123159", "tiger_cat"]}')
    labels = read_labels(file)
    assert labels == ("tench", "tiger_cat")
    assert find_class("tiger cat", labels, 2) == 1
    assert find_class("Tiger_Cat", ("tench", "tiger cat"), 2) == 1
