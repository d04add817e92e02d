"""The page's modules by themselves, in the browser, beside Pillow and onnx."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image, ImageOps

from secam_onnx.classifier.metadata import KEY, AttentionRecord
from secam_onnx.errors import ClassError
from secam_onnx.explanation.no_place import no_place
from secam_onnx.labels.queries import find_class
from secam_onnx.photograph.preprocessing import Preprocessing
from secam_onnx.photograph.preprocessing_settings import INTERPOLATIONS
from secam_onnx.shown_text import shown, shown_name
from secam_onnx.superpixels.selection import Selection

RESIZE = """async ([pixels, from, to, window, filter]) => {
  const { resize } = await import("./resize.js");
  const rgba = Uint8ClampedArray.from(pixels);
  const rows = (top, count) => rgba.subarray(top * from[1] * 4, (top + count) * from[1] * 4);
  return Array.from(resize(rows, from, to, window, filter));
}"""
SEEN = """async ([pixels, size, preprocessing]) => {
  const { seen, geometryOf } = await import("./geometry.js");
  const rgba = Uint8ClampedArray.from(pixels);
  const rows = (top, count) => rgba.subarray(top * size[1] * 4, (top + count) * size[1] * 4);
  return [Array.from(seen(rows, size, preprocessing)), geometryOf(size, preprocessing)];
}"""
METADATA = """async (bytes) => {
  const { readMetadata } = await import("./metadata.js");
  try { return readMetadata(Uint8Array.from(bytes)); } catch (error) { return error.message; }
}"""
OPENED = """async (content) => {
  const { openPhotograph, rowsOf } = await import("./photograph.js");
  const { bitmap, size } = await openPhotograph(new Blob([Uint8Array.from(content)]), "it");
  return [size, Array.from(rowsOf(bitmap)(0, bitmap.height))];
}"""
KEPT = """async (entries) => {
  const { kept } = await import("./explanation.js");
  return entries.map(([segment_scores, segment_contributions]) => kept({ segment_scores, segment_contributions }));
}"""


CLASSES = """async ([labels, typed]) => {
  const { classesMeant, shownNames } = await import("./classes.js");
  const names = shownNames(labels);
  return [names, typed.map((text) => classesMeant(text, labels, names))];
}"""


ATTENTION = """async ([records, numbers]) => {
  const { attributionThrough, noPlace } = await import("./attention.js");
  return [records.map(attributionThrough), numbers.map(([bias, logit]) => noPlace({ bias, logit }))];
}"""


SHOWN = """async (texts) => {
  const { shown } = await import("./shown_text.js");
  return texts.map((text) => [shown(text), shown(text, 60)]);
}"""


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page of this origin, without the application."""
    opened = browser.new_page()
    opened.goto(f"{address}vendor/vendored.json")
    opened.evaluate("document.head.innerHTML = `<base href='/'>`")
    yield opened
    opened.close()


def random_picture(height: int, width: int) -> np.ndarray:
    """Noise, with alpha, and extreme values besides."""
    generator = np.random.default_rng(height * width)
    pixels = generator.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[: height // 3] = np.where(pixels[: height // 3] > 127, 255, 0)
    return pixels


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("size", "wanted"),
    [((97, 131), (40, 61)), ((33, 20), (77, 50)), ((64, 64), (64, 31)), ((50, 301), (9, 301)), ((7, 9), (7, 9))],
)
def test_resize_is_pillows(page: Any, interpolation: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """To the bit, rows first."""
    pixels, (rows, columns) = random_picture(*size), wanted
    filter_ = Image.Resampling[interpolation.upper()]
    narrow = Image.fromarray(pixels[..., :3]).resize((columns, size[0]), filter_)  # newer versions may take turns
    expected = np.asarray(narrow.resize((columns, rows), filter_))
    window = {"top": rows // 5, "left": columns // 7, "rows": rows // 2, "columns": columns // 2}
    found = page.evaluate(RESIZE, [pixels.ravel().tolist(), size, wanted, window, interpolation])
    found = np.array(found).reshape(rows // 2, columns // 2, 3)
    inside = expected[rows // 5 :, columns // 7 :][: rows // 2, : columns // 2]
    np.testing.assert_array_equal(found, inside)


@pytest.mark.parametrize("settings", [
    {"resize_to": 36}, {"resize_to": 37, "crop_rounding": "down"}, {"resize_to": 33, "interpolation": "bicubic"},
    {"resize_to": (41, 64), "interpolation": "box"}, {"resize_to": None, "interpolation": "nearest"},
    {"resize_to": "letterbox", "pad_color": (114.0,)},
    {"resize_to": "letterbox", "pad_color": (9.0, 20.0, 255.0), "crop_rounding": "down"},
])  # fmt: skip
@pytest.mark.parametrize("size", [(60, 90), (91, 60), (20, 25)])
def test_the_models_input_is_that_of_the_package(page: Any, size: tuple[int, int], settings: dict[str, Any]) -> None:
    pixels, preprocessing = random_picture(*size), Preprocessing((32, 30), **settings)
    expected, geometry = preprocessing.crop(pixels[..., :3])
    found, where = page.evaluate(SEEN, [pixels.ravel().tolist(), size, preprocessing.to_dict()])
    off = np.abs(np.array(found).reshape(expected.shape) - expected.astype(int))
    assert off.max() <= (
        1 if isinstance(preprocessing.resize_to, tuple) else 0
    )  # newer versions may begin with columns
    for name, values in geometry.to_dict().items():
        assert where[name] == pytest.approx(values)


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pictures_are_turned_as_by_pillow(page: Any, kind: str, orientation: int | None) -> None:
    """To the bit; WebP's are passed over by Chromium itself."""
    exif = Image.Exif()
    exif[0x010E] = "what comes before the orientation"
    if orientation:
        exif[0x0112] = orientation
    stored = io.BytesIO()
    Image.fromarray(random_picture(20, 31)[..., :3]).save(stored, kind, lossless=True, exif=exif)
    with Image.open(stored) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    size, pixels = page.evaluate(OPENED, list(stored.getvalue()))
    assert tuple(size) == expected.shape[:2]
    np.testing.assert_array_equal(np.array(pixels).reshape(*size, 4)[..., :3], expected)


def test_metadata_is_read_from_the_file(page: Any, fused: Path) -> None:
    model = onnx.load(fused)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert KEY in entries
    # The last bytes hold it, behind the graph; that is given an empty one here, since the way into the page is slow.
    model.graph.Clear()
    model.metadata_props.add(key="named twice", value="käse")
    small = model.SerializeToString()
    assert page.evaluate(METADATA, list(small)) == {**entries, "named twice": "käse"}
    assert "cut off" in page.evaluate(METADATA, list(small[:-3]))
    assert "not an ONNX model" in page.evaluate(METADATA, list(b"\xff" * 40))
    assert page.evaluate(METADATA, []) == {}


def test_superpixels_are_kept_as_by_the_package(page: Any) -> None:
    generator = np.random.default_rng(3)
    entries = [(generator.normal(shift, 1, 20).round(2), generator.normal(shift, 1, 20)) for shift in (-9, -1, 0, 2)]
    found = page.evaluate(KEPT, [[scores.tolist(), parts.tolist()] for scores, parts in entries])
    assert found == [Selection().keep(scores, parts).tolist() for scores, parts in entries]


@pytest.mark.parametrize(
    ("labels", "shown", "meant"),
    [
        (["0", "90", "180"], ["0", "90", "180"], {"90": [1], "0": [0], "2": [2], "index:1": [1], "8": [2], "9": [1]}),
        (
            ["2", "0", "x"],
            ["2 (0)", "0 (1)", "x"],
            {"2": [0, 2], "0": [1, 0], "2 (0)": [0], "name: 2": [0], "index:2": [2], "1": [1], "X": [2], "name:x": [2]},
        ),
        (["crane", "ox", "crane"], ["crane (0)", "ox", "crane (2)"], {"crane": [0, 2], "crane (2)": [2], "o": [1]}),
        (["cat", "tiger cat"], ["cat", "tiger cat"], {"cat": [0], "ca": [0, 1], "none": [], "index:2": [], "2": []}),
    ],
)  # fmt: skip
def test_classes_are_meant_by_name_or_index(
    page: Any, labels: list[str], shown: list[str], meant: dict[str, list[int]]
) -> None:
    assert page.evaluate(CLASSES, [labels, [*meant]]) == [shown, [*meant.values()]]


def test_text_is_shown_as_by_the_package(page: Any) -> None:
    letters = "a7é語ش\u0301\u0316\u200c\u200d\ufe0f\U000e0100👩\x1b\n\x9b\u202e\u2066\u2028\u3164\ue000\U000e0041\xa0"
    generator = np.random.default_rng(5)
    texts = ["".join(generator.choice([*letters], size)) for size in [*range(40), 70, 250, 100_000]]
    assert page.evaluate(SHOWN, texts) == [[shown_name(text), shown(text, 60)] for text in texts]


def test_names_are_shown_and_found_by_what_is_shown(page: Any) -> None:
    labels = ["cat\x1b[2J", "\u202egod", "cat\\x1b[2J"]
    names = [r"cat\x1b[2J (0)", r"\u202egod", r"cat\x1b[2J (2)"]
    assert page.evaluate(CLASSES, [labels, [*names, "god"]]) == [names, [[0], [1], [2], [1]]]


def test_a_text_that_means_one_class_means_the_same_one_to_the_package(page: Any) -> None:
    generator = np.random.default_rng(7)
    for _ in range(40):
        labels = [str(number) for number in generator.integers(0, 8, 5)]
        texts = [f"{kind}{number}" for kind in ("", "name:", "index:") for number in range(9)]
        _, found = page.evaluate(CLASSES, [labels, texts])
        for text, classes in zip(texts, found, strict=True):
            # Of text that is neither name nor index the page also takes parts of names.
            if text.isdecimal() and text not in labels and int(text) >= len(labels):
                continue
            try:
                wanted = [find_class(text, labels, len(labels))]
            except ClassError:
                assert len(classes) != 1, (labels, text)
            else:
                assert classes == wanted, (labels, text)


def test_what_is_told_of_attention_is_what_the_package_tells(page: Any) -> None:
    records = [
        AttentionRecord(passed, total, plain=plain, rounds=rounds)
        for passed, total in (((1,), 1), ((1,), 2), ((4,), 12), ((6,), 6), ((2, 3, 5), 12), ((1, 2), 2))
        for plain in (True, False)
        for rounds in (True, False)
    ]
    numbers = [(1.25, 4.0), (-3.0, 2.0), (0.0, 0.0), (5.0, 0.0), (5.0, -0.25), (-2.0, -3.0), (0.0, 1.0)]
    said, shares = page.evaluate(ATTENTION, [[dataclasses.asdict(record) for record in records], numbers])
    assert said == [f"gradient x activation {record}" for record in records]
    assert shares == [no_place(*pair) for pair in numbers]
