"""Every error that a user can cause through the Python API is a SecamError that says what was expected."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import json
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from tiny_models import classifier

from secam_onnx import (
    Explainer,
    Explanation,
    Fusion,
    Preprocessing,
    PreprocessingSettings,
    SecamError,
    Segmenter,
    Selection,
    fuse,
)
from secam_onnx.errors import ImageError, ModelError, OptionError

ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "0": lambda: 0,
    "-1": lambda: -1,
    "10**30": lambda: 10**30,
    "1.5": lambda: 1.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "1j": lambda: 1j,
    "''": lambda: "",
    "'x'": lambda: "x",
    "null": lambda: "\0",
    "long": lambda: "x" * 3000,
    "bytes": lambda: b"x",
    "bytearray": lambda: bytearray(b"x"),
    "[]": list,
    "[None]": lambda: [None],
    "['x']": lambda: ["x"],
    "[1, 2, 3]": lambda: [1, 2, 3],
    "(1, 2)": lambda: (1, 2),
    "(0, 0)": lambda: (0, 0),
    "('a', 'b')": lambda: ("a", "b"),
    "{}": dict,
    "{'a': 1}": lambda: {"a": 1},
    "{1, 2}": lambda: {1, 2},
    "object": object,
    "a class": lambda: int,
    "a function": lambda: lambda: 0,
    "float32": lambda: np.float32(1),
    "int64": lambda: np.int64(2),
    "zeros(3)": lambda: np.zeros(3),
    "zeros(0, 4)": lambda: np.zeros((0, 4)),
    "0-d array": lambda: np.array("x"),
    "array of bools": lambda: np.array([True, False]),
    "a path": lambda: Path("nowhere"),
    "a Segmenter": Segmenter,
    "a Selection": Selection,
    "an iterator": lambda: iter([1]),
    "a text file": lambda: io.StringIO("x"),
    "a binary file": lambda: io.BytesIO(b"x"),
    "...": lambda: ...,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arguments") / "model.onnx"
    onnx.save(classifier(), path)
    return path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tiny(model: Path) -> Explainer:
    return Explainer(model)


def walk(function: Callable[..., Any], known: dict[str, Any] | None = None, names: tuple[str, ...] = ()) -> None:
    """Call it with every odd value for every parameter: it works, or raises what it may."""
    names = names or tuple(name for name in inspect.signature(function).parameters if name != "self")
    for name in names:
        for kind, make in ODD.items():
            try:
                found = function(**{**(known or {}), name: make()})
                if isinstance(found, Generator):
                    next(found, None)
                    found.close()
            except SecamError:
                pass
            except Exception as error:
                raise AssertionError(f"{function} raises {type(error).__name__} where {name} is {kind}") from error


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (Segmenter, {}),
        (Selection, {}),
        (PreprocessingSettings, {}),
        (Preprocessing, {"size": (32, 32)}),
        (Fusion, {}),
    ],
)
def test_settings(kind: type[Any], known: dict[str, Any]) -> None:
    walk(kind, known)


@pytest.mark.filterwarnings("ignore")
def test_opening(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names = tuple(name for name in inspect.signature(Explainer).parameters if name != "model")
    walk(Explainer, {"model": model}, names)
    walk(Explainer, {"threads": 1}, ("model",))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["explain", "explain_batch", "explain_stream", "check_classes"])
def test_explaining(name: str, tiny: Explainer, picture: np.ndarray) -> None:
    function = getattr(tiny, name)
    known: dict[str, dict[str, Any]] = {"explain": {"image": picture}, "check_classes": {}}
    walk(function, known.get(name, {"images": [picture]}))
    if name == "explain_batch":
        walk(lambda image: function([image]), names=("image",))


@pytest.mark.parametrize("name", ["keep", "mask", "overlay", "panel", "save"])
def test_results(
    name: str, tiny: Explainer, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tiny.explain(picture, "top-2")
    walk(getattr(result, name), {"folder": tmp_path / "out"} if name == "save" else {})


@pytest.mark.filterwarnings("ignore")
def test_fusing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Those that are not exports in their own right, of which each takes a while.
    names = ("model", "path", "fusion", "labels", "token_grid", "overwrite", "preprocessing")
    for name in names:
        for make in ODD.values():
            value = make()
            if value is None or value is False or value is True:
                continue
            with contextlib.suppress(SecamError):
                fuse(**{"model": model, "path": tmp_path / "fused.onnx", "overwrite": True, name: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Segmenter(n_segments="9"), "Segmenter: n_segments is '9'; a whole number was expected"),  # type: ignore[arg-type]
        (lambda: Selection(coverage="half"), "Selection: coverage is 'half'; a number or None"),  # type: ignore[arg-type]
        (lambda: Explainer(threads=2.5), "threads is 2.5; a whole number or None was expected"),  # type: ignore[arg-type]
        (lambda: Explainer(threads=0), "threads is 0; 1 or more"),
        (lambda: Explainer(segmenter="slic"), "segmenter is 'slic'; Segmenter or None was expected"),  # type: ignore[arg-type]
        (lambda: Explainer(5), "model is 5; text or a path or None was expected"),  # type: ignore[arg-type]
        (lambda: Fusion(top_k=None), "Fusion: top_k is None; a whole number was expected"),  # type: ignore[arg-type]
    ],
)
def test_messages(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        call()


def test_one_image_where_several_are_expected(tiny: Explainer, photo: Path) -> None:
    for one in (photo, str(photo), photo.read_bytes(), io.BytesIO()):
        with pytest.raises(OptionError, match="images is a single image; give a list"):
            tiny.explain_batch(one)  # type: ignore[arg-type]


def test_a_path_that_no_file_can_have() -> None:
    for path in ("\0", "x" * 3000):
        with pytest.raises(ModelError):
            Explainer(path)


def test_numbers_of_numpy_are_numbers(tiny: Explainer, picture: np.ndarray, model: Path, tmp_path: Path) -> None:
    segmenter = Segmenter("grid", np.int64(9), np.float32(2.5))  # type: ignore[arg-type]
    assert json.dumps(dataclasses.asdict(segmenter)) == '{"method": "grid", "n_segments": 9, "compactness": 2.5}'
    preprocessing = Preprocessing(
        size=(np.int32(32), 32),
        mean=np.array([1, 2, 3.5]),
        std=[2, 2, 2],  # type: ignore[arg-type]
    )
    assert preprocessing == Preprocessing(size=(32, 32), mean=(1, 2, 3.5), std=(2, 2, 2))
    assert hash(preprocessing) == hash(Preprocessing(size=(32, 32), mean=(1, 2, 3.5), std=(2, 2, 2)))
    explainer = Explainer(model, segmenter=segmenter, preprocessing=preprocessing, selection=Selection(np.int64(2)))  # type: ignore[arg-type]
    result = explainer.explain(picture, np.array([np.int64(3), 1]))
    assert [entry.index for entry in result.classes] == [3, 1]
    assert json.loads((result.save(tmp_path / "out") / "explanation.json").read_text())["classes"][0]["index"] == 3
    assert result.mask(np.int64(1)).shape == picture.shape[:2]
    assert [entry.index for entry in tiny.explain(picture, np.uint8(4)).classes] == [4]
    assert [entry.index for entry in tiny.explain(picture, (number for number in (2, 5))).classes] == [2, 5]


def test_bytes_and_open_files_are_photographs(tiny: Explainer, photo: Path) -> None:
    expected, data = tiny.explain(photo), photo.read_bytes()
    stored = io.BytesIO(data)
    stored.seek(100)  # as after a look at what it is
    with photo.open("rb") as file, photo.open("rb", buffering=0) as raw:
        images: list[Any] = [data, bytearray(data), memoryview(data), stored, stored, file, raw, Pipe(data)]
        for image in images:
            np.testing.assert_array_equal(tiny.explain(image).segment_contributions, expected.segment_contributions)
        for result in tiny.explain_stream(iter([data, file, photo])):
            assert isinstance(result, Explanation)
            np.testing.assert_allclose(
                result.segment_contributions, expected.segment_contributions, rtol=1e-4, atol=1e-5
            )
    pillow = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(tiny.explain(pillow).segment_contributions, expected.segment_contributions)


class Pipe(io.RawIOBase):
    """What can be read once, as a response from the web."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        found, self._data = self._data, b""
        return found


def test_files_that_hold_no_photograph(tiny: Explainer, tmp_path: Path) -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    text = tmp_path / "notes.txt"
    text.write_text("some text")
    with text.open() as opened, text.open("rb") as binary, (tmp_path / "new").open("wb") as writing:
        for image, message in (
            (closed, "the image cannot be read"),
            (opened, r"notes\.txt is open in text mode; open it in binary mode"),
            (binary, r"notes\.txt is not an image"),
            (writing, r"new cannot be read"),
            (b"", "the image is empty"),
            (b"some text", "the image is not an image"),
        ):
            with pytest.raises(ImageError, match=message):
                tiny.explain(image)


def test_an_explainer_says_what_it_is(model: Path) -> None:
    text = repr(Explainer(model, preprocessing="keras-tf", providers="cpu"))
    for part in ("model.onnx", "7 classes", "gap + fc", "gradient x activation", "32 x 32", "127.5", "on CPU"):
        assert part in text


def test_a_notebook_shows_all_classes_that_were_asked_for(tiny: Explainer, picture: np.ndarray) -> None:
    result = tiny.explain(picture, [4, 1, 6])
    shown = result._repr_html_()
    assert shown is not None
    assert shown.count("<img") == 3
    assert [shown.find(f'alt="class {index}"') for index in (4, 1, 6)] == sorted(
        shown.find(f'alt="class {index}"') for index in (4, 1, 6)
    )
    labels = tuple("<b>&" if index == 4 else str(index) for index in range(7))
    named = dataclasses.replace(result, classes=(dataclasses.replace(result.classes[0], label="<b>&"),), labels=labels)
    assert 'alt="&lt;b&gt;&amp;"' in str(named._repr_html_())
    kept = next(tiny.explain_stream([picture], keep_images=False))
    assert isinstance(kept, Explanation)
    assert kept._repr_html_() is None
    assert threading.active_count() < 50
