"""Every control of the page, in a browser; expected values are those of `Explainer` and Pillow."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pages import (
    assert_same_numbers,
    choose,
    encoded,
    give,
    notice,
    numbers,
    picture,
    place,
    readout,
    running,
    saved,
    shows,
    text,
)
from PIL import Image
from tiny_models import classifier
from token_networks import transformer

from secam_onnx import Explainer, Selection
from secam_onnx.explanation.overlays import KINDS
from secam_onnx.export import export_model, open_source
from secam_onnx.fusion import Fusion
from secam_onnx.page import MODEL, PageServer, model_for_browsers, page_files
from secam_onnx.photograph.images import MAX_ASPECT, MAX_PIXELS, MIN_SIDE, as_rgb

expect = pytest.importorskip("playwright.sync_api", reason="needs the package playwright").expect
TRANSFER = """([name, content]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  if (name) transfer.items.add(new File([bytes], name));
  return transfer;
}"""


@pytest.fixture(scope="module")
def expected(explainer: Explainer, photo: Path) -> Any:
    return explainer.explain(photo, classes="top-5")


def test_numbers_are_those_of_the_explainer(explained: Any, expected: Any, tmp_path: Path) -> None:
    found = numbers(explained, tmp_path)
    assert found["image"] == {"name": "chelsea.png", "height": 300, "width": 451}
    assert_same_numbers(found, expected)
    buttons = explained.locator("#predictions button").all()
    for button, entry in zip(buttons, expected.predictions, strict=True):
        assert button.text_content().startswith(entry.label)
        assert float(re.search(r"([\d.]+) %", button.text_content())[1]) == pytest.approx(
            100 * entry.probability, abs=0.5
        )
    assert text(explained, "figcaption").startswith(f"logit {expected.classes[0].logit:.2f} = ")


def test_superpixels_are_those_of_the_explainer(explained: Any, expected: Any) -> None:
    """Label by label, wherever the pointer goes."""
    labels = expected.geometry.to_image(expected.segments, fill=-1)
    for y in np.linspace(0.12, 0.88, 7):
        for x in np.linspace(0.25, 0.75, 7):
            explained.mouse.move(*place(explained, x, y))
            around = labels[int(y * 300) - 1 : int(y * 300) + 2, int(x * 451) - 1 : int(x * 451) + 2]
            assert text(explained, ".readout") in [readout(expected, label) for label in np.unique(around)]
    explained.mouse.move(*place(explained, 0.05, 0.5))
    assert text(explained, ".readout") == "The model did not see this part."
    explained.mouse.move(0, 0)
    assert "logit" not in text(explained, ".readout")


def test_the_first_explanation_is_quick(open_page: Any, photo: Path) -> None:
    page = open_page()
    start = time.perf_counter()
    give(page, photo)
    seconds = time.perf_counter() - start
    print(f"first explanation after {seconds:.2f} s")
    assert seconds < 6  # 0.9 s on two idle cores; other processes may keep this one waiting


def test_saved_pictures_are_those_of_the_explainer(explained: Any, expected: Any, tmp_path: Path) -> None:
    for kind in KINDS:
        explained.check(f"input[value={kind}]", force=True)
        path = saved(explained, ".save", tmp_path)
        assert path.name == f"chelsea-tiger_cat-{kind}.png"
        off = np.abs(picture(path) - np.asarray(expected.overlay(kind=kind)))
        assert off.max() <= 2, kind  # float32 there, float64 here


def test_pictures_are_switched(explained: Any) -> None:
    """With the arrow keys, too; the slider goes, and the colours' legend comes."""
    seen = set()
    explained.focus("input[value=superpixels]")
    for kind in KINDS:
        assert explained.is_checked(f"input[value={kind}]")
        assert explained.is_visible(".keep") == (kind == "superpixels")
        assert explained.is_visible(".legend") == (kind != "superpixels")
        seen.add(explained.evaluate("document.querySelector('.picture').toDataURL()"))
        explained.keyboard.press("ArrowRight")
    assert len(seen) == len(KINDS)


def test_the_slider_keeps_the_highest(explained: Any, expected: Any, tmp_path: Path) -> None:
    slider = explained.locator(".keep input")
    assert slider.input_value() == str(expected.keep().sum())
    assert text(explained, ".carried").startswith(f"{expected.keep().sum()} of 49 superpixels carry 5")
    slider.fill("3")
    assert text(explained, ".carried").startswith("3 of 49 superpixels carry ")
    selection = Selection(top_segments=3)
    found = numbers(explained, tmp_path)
    assert found["selection"] == dataclasses.replace(expected, selection=selection).to_dict()["selection"]
    kept = [part["kept"] for part in found["classes"][0]["superpixels"]]
    assert kept == expected.keep(selection=selection).tolist()
    off = np.abs(picture(saved(explained, ".save", tmp_path)) - np.asarray(expected.overlay(selection=selection)))
    assert off.max() <= 2
    slider.focus()
    explained.keyboard.press("ArrowRight")
    assert text(explained, ".carried").startswith("4 of 49 superpixels")
    slider.fill("0")
    assert text(explained, ".carried").startswith("0 of 49 superpixels carry 0 %")


def test_the_keyboard_goes_from_one_superpixel_to_the_next(explained: Any, expected: Any) -> None:
    order = np.argsort(-expected.segment_scores[0], kind="stable")
    explained.focus(".pointer")
    for key, label in (("Home", order[0]), ("End", order[-1]), ("Escape", None), ("ArrowLeft", order[0])):
        explained.keyboard.press(key)
        assert (text(explained, ".readout") == readout(expected, label)) if label is not None else True
    seen = {text(explained, ".readout")}
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        explained.keyboard.press(key)
        assert text(explained, ".readout") in [readout(expected, label) for label in range(49)]
        seen.add(text(explained, ".readout"))
    assert len(seen) >= 3
    for _ in range(20):  # the border is reached, and no error
        explained.keyboard.press("ArrowRight")
    column = np.flatnonzero([text(explained, ".readout") == readout(expected, label) for label in range(49)])
    assert (expected.segments[:, -1] == column[0]).any()


def test_fingers_read_superpixels(open_page: Any, photo: Path) -> None:
    page = open_page(has_touch=True)
    give(page, photo)
    page.touchscreen.tap(*place(page, 0.5, 0.5))
    assert " of the logit (" in text(page, ".readout")


def test_any_class_is_explained(explained: Any, explainer: Explainer, photo: Path, tmp_path: Path) -> None:
    """By its name, its index, or a part of its name."""
    for typed, label in (("goldfish", "goldfish"), ("0", "tench"), ("GoldFish", "goldfish"), ("great wh", None)):
        choose(explained, typed)
        shows(explained, label or "great white shark")
    expect(explained.locator("#classes option")).to_have_count(1000)
    found = numbers(explained, tmp_path)
    assert_same_numbers(found, explainer.explain(photo, classes="great white shark"))
    explained.locator("#predictions button").nth(1).click()
    shows(explained, "Egyptian cat")
    assert explained.locator("#predictions [aria-pressed=true]").text_content().startswith("Egyptian cat")


def test_unknown_classes_are_refused_in_words(explained: Any) -> None:
    choose(explained, "no such thing")
    assert "No class is called" in notice(explained)
    choose(explained, "cat")
    assert "could be" in notice(explained)
    assert "tiger cat" in notice(explained)
    choose(explained, "1000")
    assert "1000" in notice(explained)
    shows(explained, "tiger cat")
    choose(explained, "goldfish")
    expect(explained.locator("#notice")).to_be_hidden()


def test_a_model_of_three_classes_two_of_one_name(open_page: Any, photo: Path, tmp_path: Path) -> None:
    plain, labels = tmp_path / "plain.onnx", ["crane", "lynx", "crane"]
    onnx.save(classifier(classes=3), plain)
    source = dataclasses.replace(open_source(str(plain)), labels=labels)
    export_model(source, tmp_path / "named.onnx", fusion=Fusion(top_k=2))
    fused = model_for_browsers(tmp_path / "named.onnx", tmp_path)
    with running(PageServer({**page_files(), MODEL: fused}, 0)) as address:
        page = open_page(address)
        give(page, photo)
        assert page.locator("#predictions button").count() == 3
        choose(page, "crane (2)")
        shows(page, "crane (2)")
        found = numbers(page, tmp_path)
    assert found["classes"][0]["index"] == 2
    assert_same_numbers(found, Explainer(plain, labels=labels).explain(photo, classes=2))


def test_a_value_is_no_probability(open_page: Any, photo: Path, tmp_path: Path) -> None:
    """One raw output: the page shows it, and draws no bar."""
    plain = tmp_path / "plain.onnx"
    onnx.save(classifier(classes=1), plain)
    (entry,) = Explainer(plain, providers="cpu").explain(photo).classes
    with running(PageServer({**page_files(), MODEL: model_for_browsers(plain, tmp_path)}, 0)) as address:
        page = open_page(address)
        give(page, photo)
        value = f"{entry.logit:+.2f}".replace("-", "\N{MINUS SIGN}")
        assert text(page, "#predictions button span:nth-child(2)") == value
        assert not page.locator("#predictions progress").is_visible()
        assert page.locator("figcaption").first.inner_text().startswith("output ")
        found = numbers(page, tmp_path)
    assert found["predictions"][0]["probability"] is None
    assert found["method"]["explained"] == "output"


def test_a_transformer(open_page: Any, photo: Path, tmp_path: Path) -> None:
    """It says from which blocks a map is, and how much belongs to no place."""
    plain = tmp_path / "plain.onnx"
    onnx.save(transformer(1, 0, positions_first=True), plain)
    wanted = Explainer(plain, providers="cpu").explain(photo)
    with running(PageServer({**page_files(), MODEL: model_for_browsers(plain, tmp_path)}, 0)) as address:
        page = open_page(address)
        give(page, photo)
        told = page.locator("figcaption").first.inner_text()
        found = numbers(page, tmp_path)
    assert f"{wanted.no_place()}. Map: {wanted.method['attribution']}." in told
    assert found["classes"][0]["bias_share"] == pytest.approx(wanted.bias_share[0], rel=1e-3)
    for name in ("attribution", "attention_blocks"):
        assert found["method"][name] == wanted.method[name]


def test_two_classes_are_compared(
    explained: Any, expected: Any, explainer: Explainer, photo: Path, tmp_path: Path
) -> None:
    explained.check("#compare")
    expect(explained.locator("figure")).to_have_count(2)
    shows(explained, "Egyptian cat", 1)
    explained.mouse.move(*place(explained, 0.5, 0.6))
    label = expected.geometry.to_image(expected.segments, fill=-1)[180, 225]
    for row in range(2):
        assert explained.locator(".readout").nth(row).text_content() == readout(expected, label, row)
    choose(explained, "goldfish", 1)
    shows(explained, "goldfish", 1)
    explained.check("input[value=heatmap]", force=True)
    legends = explained.locator(".legend").all_text_contents()
    assert legends[0] == legends[1]  # one scale, that of the stronger map
    found = numbers(explained, tmp_path)
    assert [entry["label"] for entry in found["classes"]] == ["tiger cat", "goldfish"]
    both = explainer.explain(photo, classes=["tiger cat", "goldfish"])
    assert f"for +{np.abs(both.cam).max():.2f}" in legends[0]
    assert_same_numbers(found, both)
    explained.check("input[value=superpixels]", force=True)
    explained.locator(".keep input").nth(1).fill("3")
    assert numbers(explained, tmp_path)["selection"] == {"top_segments_per_class": [None, 3]}
    explained.uncheck("#compare")
    expect(explained.locator("figure")).to_have_count(1)


def test_photographs_are_dropped(open_page: Any, photo: Path, tmp_path: Path, expected: Any) -> None:
    page = open_page()
    dropped = page.evaluate_handle(TRANSFER, ["cat.png", base64.b64encode(photo.read_bytes()).decode()])
    page.dispatch_event("main", "dragenter", {"dataTransfer": dropped})
    expect(page.locator("body")).to_have_class("dragging")
    page.dispatch_event("main", "drop", {"dataTransfer": dropped})
    page.wait_for_selector("body[aria-busy=false]")
    assert numbers(page, tmp_path)["image"]["name"] == "cat.png"
    page.dispatch_event("main", "drop", {"dataTransfer": page.evaluate_handle(TRANSFER, ["", ""])})
    assert "drop a photograph" in notice(page)


def test_photographs_are_pasted(open_page: Any, photo: Path, tmp_path: Path, expected: Any) -> None:
    page = open_page()
    for name, content in (("", ""), ("pasted.png", base64.b64encode(photo.read_bytes()).decode())):
        page.evaluate(
            "(clipboardData) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData }))",
            page.evaluate_handle(TRANSFER, [name, content]),
        )
        if not name:
            assert "clipboard holds no picture" in notice(page)
    page.wait_for_selector("body[aria-busy=false]")
    assert_same_numbers(numbers(page, tmp_path), expected)


def test_the_camera_takes_photographs(open_page: Any, tmp_path: Path) -> None:
    page = open_page(permissions=["camera"])
    page.click("#shoot")
    page.click("#leave")
    expect(page.locator("#camera")).to_be_hidden()
    page.click("#shoot")
    page.wait_for_selector("video")
    expect(page.locator("#snap")).to_be_enabled()
    page.click("#snap")
    page.wait_for_selector("body[aria-busy=false]")
    found = numbers(page, tmp_path)["image"]
    assert found["name"] == "camera"
    assert found["width"] > 100


def test_a_camera_that_is_refused_is_said(open_page: Any) -> None:
    page = open_page()
    page.evaluate("void (navigator.mediaDevices.getUserMedia = async () => { throw new Error('Permission denied'); })")
    page.click("#shoot")
    assert notice(page) == "The camera cannot be used (Permission denied). Choose a file."


def test_broken_files_are_refused_in_words(explained: Any, photo: Path) -> None:
    """And what was there stays."""
    unreadable = "is not a picture that this browser can read"
    cut = photo.read_bytes()[:50_000]
    for content, said in (
        (b"no picture", unreadable),
        (b"", unreadable),
        (cut, "cannot be decoded here: it may be cut"),
    ):
        give(explained, {"name": "broken.png", "mimeType": "image/png", "buffer": content})
        assert notice(explained).startswith("broken.png ")
        assert said in notice(explained)
        assert explained.is_visible("#result")
    explained.locator("#predictions button").nth(1).click()
    shows(explained, "Egyptian cat")


def test_pictures_of_other_sizes_are_refused_in_words(open_page: Any) -> None:
    page = open_page()
    by = "\N{MULTIPLICATION SIGN}"
    for size, said in (
        ((12000, 9000), f"108,000,000 pixels (12000 {by} 9000), over the limit of 100,000,000"),
        ((3, 30), f"3 {by} 30 pixels; at least 4"),
        ((1000, 10), "at most 50 : 1"),
    ):
        give(page, encoded(Image.new("L", size), compress_level=1))
        assert said in notice(page)


def test_limits_are_those_of_the_package(open_page: Any) -> None:
    page = open_page(wait=False)
    limits = page.evaluate("import('./photograph.js').then((m) => [m.MAX_PIXELS, m.MIN_SIDE, m.MAX_ASPECT])")
    assert limits == [MAX_PIXELS, MIN_SIDE, MAX_ASPECT]


def test_a_huge_photograph(open_page: Any, chelsea: np.ndarray, explainer: Explainer, tmp_path: Path) -> None:
    """Explained and saved at its full size."""
    huge = Image.fromarray(chelsea).resize((8000, 5320), Image.Resampling.NEAREST)
    page = open_page()
    start = time.perf_counter()
    give(page, encoded(huge, compress_level=1))
    print(f"{huge.width} x {huge.height}: {time.perf_counter() - start:.1f} s")
    assert_same_numbers(numbers(page, tmp_path), explainer.explain(huge))
    with Image.open(saved(page, ".save", tmp_path)) as image:
        assert image.size == huge.size


def test_photographs_are_turned_upright(
    open_page: Any, chelsea: np.ndarray, tmp_path: Path, explainer: Explainer
) -> None:
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(chelsea)))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show it
    photograph = encoded(lying, "turned.jpg", quality=95, exif=exif)
    page = open_page()
    give(page, photograph)
    found = numbers(page, tmp_path)
    assert (found["image"]["width"], found["image"]["height"]) == (451, 300)
    known = explainer.explain(Image.open(io.BytesIO(photograph["buffer"]))).predictions
    for mine, theirs in zip(found["predictions"], known, strict=True):
        assert mine["index"] == theirs.index
        assert mine["logit"] == pytest.approx(theirs.logit, abs=0.05)  # JPEG is decoded by another program
    with Image.open(saved(page, ".save", tmp_path)) as image:
        assert image.size == (451, 300)


def test_transparency_lies_over_white(
    open_page: Any, chelsea: np.ndarray, tmp_path: Path, explainer: Explainer
) -> None:
    alpha = np.zeros((300, 451, 1), dtype=np.uint8)
    alpha[60:240, 100:350] = 255
    clear = Image.fromarray(np.concatenate([chelsea, alpha], axis=2))
    page = open_page()
    give(page, encoded(clear, "clear.png"))
    assert_same_numbers(numbers(page, tmp_path), explainer.explain(as_rgb(clear)))


def test_static_files_on_any_server(
    open_page: Any, plain_address: str, photo: Path, tmp_path: Path, expected: Any
) -> None:
    """Below a folder, without the headers that give it threads."""
    page = open_page(plain_address)
    assert page.evaluate("crossOriginIsolated") is False
    give(page, photo)
    assert_same_numbers(numbers(page, tmp_path), expected)


def test_our_server_gives_it_threads(open_page: Any) -> None:
    assert open_page(wait=False).evaluate("crossOriginIsolated") is True


def test_the_model_is_said_to_be_loading(browser: Any, address: str, photo: Path, tmp_path: Path) -> None:
    """A photograph that comes earlier waits for it."""
    context = browser.new_context()
    page = context.new_page()
    page.route("**/model.onnx", lambda route: (time.sleep(2), route.continue_()))
    page.goto(address)
    assert page.locator("#progress").is_visible()
    assert text(page, "#model").startswith("Loading the model")
    page.set_input_files("#file", photo)
    assert page.get_attribute("body", "aria-busy") == "true"
    page.wait_for_selector("body[aria-busy=false]")
    assert page.locator("#progress").is_hidden()
    assert page.input_value(".class") == "tiger cat"
    context.close()


def test_a_model_that_is_missing_or_broken_is_said(browser: Any, address: str) -> None:
    context = browser.new_context()
    for status, said in ((404, "404"), (200, "not an ONNX model")):
        page = context.new_page()
        page.route("**/model.onnx", lambda route, _, status=status: route.fulfill(status=status, body="no model"))
        page.goto(address)
        assert said in notice(page)
    context.close()


def test_phones_need_no_scrolling_sideways(open_page: Any, photo: Path) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True, is_mobile=True)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 360
    give(page, photo)
    page.check("#compare")
    for kind in KINDS:
        page.check(f"input[value={kind}]", force=True)
        assert page.evaluate(wide) <= 360


def test_every_control_has_a_name_and_is_reached_by_keyboard(explained: Any) -> None:
    explained.check("#compare")
    reached = []
    for _ in range(40):
        explained.keyboard.press("Tab")
        reached.append(explained.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"pick", "shoot", "compare", "numbers", "class", "pointer", "save"} <= set(reached)
    for control in explained.locator("button:visible, input:visible, canvas.pointer").all():
        assert control.evaluate("e => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent").strip()
