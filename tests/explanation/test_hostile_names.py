"""What a notebook, a file and a picture show of class names that a stranger chose."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image
from terminal import HOSTILE, left_raw

from secam_onnx import Explainer
from secam_onnx.explanation import Explanation, Prediction

NAMES = {
    "controls": HOSTILE,
    "markup": "\"><script>alert(1)</script><img src=x onerror='alert(1)'>&lt;",
    "long": "x" * 100_000,
    "marks": "a" + "\u0301\u0316" * 50_000,  # to sort them takes the square of their number
    "compatibility": "\ufdfa" * 100_000,  # each becomes 18 letters
    "scripts": "猫 قطة חתול क्\u200dष 👨\u200d👩\u200d👧",
    "right to left": "\u202e" * 300,
}


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory, chelsea: np.ndarray) -> Explanation:
    file = tmp_path_factory.mktemp("model") / "m.onnx"
    file.write_bytes(tiny_models.classifier().SerializeToString())
    return Explainer(file, providers="cpu", preprocessing="unit", activation="softmax").explain(chelsea)


@pytest.fixture(params=NAMES)
def explanation(request: pytest.FixtureRequest, ordinary: Explanation) -> Explanation:
    """With the same hostile name for all classes, and in all notes on the method."""
    name = NAMES[request.param]

    def called(entry: Prediction) -> Prediction:
        return dataclasses.replace(entry, label=name)

    method = {**ordinary.method, "explained": name, "head": name, "model": name}
    return dataclasses.replace(
        ordinary,
        classes=tuple(map(called, ordinary.classes)),
        predictions=tuple(map(called, ordinary.predictions)),
        method=method,
    )


class _Parser(HTMLParser):
    """The elements of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_notebook_shows_pictures_and_nothing_else(explanation: Explanation) -> None:
    html = explanation._repr_html_()
    assert html is not None
    parser = _Parser()
    parser.feed(html)
    assert [tag for tag, _ in parser.found] == ["p", "img"]
    attributes = parser.found[1][1]
    assert set(attributes) == {"src", "alt"}
    assert len(attributes["alt"] or "") <= 200
    assert left_raw((attributes["alt"] or "").encode()) == []
    with Image.open(io.BytesIO(base64.b64decode((attributes["src"] or "").partition(",")[2]))) as picture:
        assert picture.format == "PNG"


def test_text_is_short_and_may_be_shown(explanation: Explanation) -> None:
    for text in (repr(explanation), str(explanation.classes[0]), repr(explanation.panel())):
        assert len(text) < 1000
        assert left_raw(text.encode()) == []
        assert "\n" not in text


def test_the_panel_is_as_large_as_any_other(explanation: Explanation, ordinary: Explanation) -> None:
    width, height = ordinary.panel().size
    panel = explanation.panel()
    assert panel.height == height
    assert width <= panel.width <= 2 * width, "the words below the title may be longer"


def test_no_letter_of_a_panel_is_a_box(explanation: Explanation) -> None:
    """Pillow draws one for characters that its font does not have, and breaks lines."""
    from secam_onnx.explanation.panel import drawable

    drawn = drawable(explanation.classes[0].label)
    assert drawn.isascii()
    assert drawn.isprintable()
    assert len(drawn) <= 200


def test_data_keep_the_true_name(explanation: Explanation, tmp_path: Path) -> None:
    written = (explanation.save(tmp_path / "out", pictures=1) / "explanation.json").read_bytes()
    assert json.loads(written)["classes"][0]["label"] == explanation.classes[0].label
    text = written.decode()
    assert [
        char for char in text if not char.isprintable() and char != "\n" and unicodedata.category(char) != "Zs"
    ] == []
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".json", ".npz", ".png"}
    assert all(file.name.isascii() and len(file.name) < 80 for file in (tmp_path / "out").iterdir())
