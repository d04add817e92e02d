"""The page against real servers, in a browser: what differs from the page that runs the model itself."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("kserve")

from pages import (
    OpenPage,
    assert_same_numbers,
    choose,
    encoded,
    give,
    notice,
    numbers,
    picture,
    place,
    readout,
    saved,
    shows,
    text,
)
from PIL import Image
from servers import WHITE, Running, busy_model, png, running
from tiny_models import classifier

from secam_onnx import Explainer
from secam_onnx.default_model import default_model
from secam_onnx.explanation.overlays import KINDS
from secam_onnx.export import export_model, open_source
from secam_onnx.fusion import Fusion

LABELS = ["crane", "lynx", "crane"]
SAME = 1e-5  # relative; the same code ran on the same bytes
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fused model of three classes, two of one name."""
    folder = tmp_path_factory.mktemp("tiny")
    onnx.save(classifier(classes=3), folder / "plain.onnx")
    source = dataclasses.replace(open_source(str(folder / "plain.onnx")), labels=LABELS)
    export_model(source, folder / "tiny.onnx", fusion=Fusion(top_k=2))
    return folder / "tiny.onnx"


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Running]:
    with running("--model", f"imagenet={default_model()}", "--model", f"birds={tiny}") as found:
        yield found


@pytest.fixture(scope="module")
def busy(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose first model is busy with a white picture until somebody gives up."""
    model = busy_model(tmp_path_factory.mktemp("busy"), 1e15)
    limits = ("--queue-length", "1", "--max-images", "1", "--max-body-mb", "0.25", "--max-pixels", "200000")
    with running("--model", f"busy={model}", "--model", f"birds={tiny}", *limits, "--timeout", "300") as found:
        yield found


@pytest.fixture(scope="module")
def expected(explainer: Explainer, photo: Path) -> Any:
    return explainer.explain(photo, classes="top-5")


@pytest.fixture
def explained(visit: OpenPage, server: Running, photo: Path) -> Any:
    """The page with the cat."""
    page = visit(address(server))
    give(page, photo)
    return page


def address(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}/"


def pick(page: Any, model: str) -> None:
    page.select_option("#picker select", label=model)


def picked(page: Any) -> str:
    return page.locator("#picker select option:checked").text_content()


def file(content: bytes, name: str = "made.png") -> dict[str, Any]:
    return {"name": name, "mimeType": "image/*", "buffer": content}


def test_numbers_are_the_servers(explained: Any, expected: Any, tmp_path: Path) -> None:
    found = numbers(explained, tmp_path)
    assert found["image"] == {"name": "chelsea.png", "height": 300, "width": 451}
    assert_same_numbers(found, expected, SAME)
    known = expected.to_dict()["method"]
    apart = {"providers", "fidelity"}  # a fused file is not compared on the page
    assert {name: value for name, value in found["method"].items() if name not in apart} == {
        name: value for name, value in known.items() if name not in apart
    }
    for button, entry in zip(explained.locator("#predictions button").all(), expected.predictions, strict=True):
        assert button.text_content().startswith(entry.label)
    assert text(explained, "figcaption").startswith(f"logit {expected.classes[0].logit:.2f} = ")


def test_superpixels_and_pictures_are_the_servers(explained: Any, expected: Any, tmp_path: Path) -> None:
    labels = expected.geometry.to_image(expected.segments, fill=-1)
    for y, x in np.random.default_rng(0).uniform(0.25, 0.75, (8, 2)):
        explained.mouse.move(*place(explained, x, y))
        around = labels[int(y * 300) - 1 : int(y * 300) + 2, int(x * 451) - 1 : int(x * 451) + 2]
        assert text(explained, ".readout") in [readout(expected, label) for label in np.unique(around)]
    for kind in KINDS:
        explained.check(f"input[value={kind}]", force=True)
        off = np.abs(picture(saved(explained, ".save", tmp_path)) - np.asarray(expected.overlay(kind=kind)))
        assert off.max() <= 2, kind


def test_any_class_is_asked_for(explained: Any, explainer: Explainer, photo: Path, tmp_path: Path) -> None:
    explained.check("#compare")
    shows(explained, "Egyptian cat", 1)
    choose(explained, "great wh")
    shows(explained, "great white shark")
    choose(explained, "0", 1)
    shows(explained, "tench", 1)
    assert_same_numbers(
        numbers(explained, tmp_path), explainer.explain(photo, classes=["great white shark", "tench"]), SAME
    )


def test_the_page_says_where_photographs_go(visit: OpenPage, server: Running) -> None:
    said = text(visit(address(server)), "#intake .hint")
    assert "is sent to this server, which keeps no copy" in said
    assert "in your browser" not in said


def test_the_file_goes_as_it_is(visit: OpenPage, server: Running, photo: Path) -> None:
    """And not as pixels, or in base64."""
    page = visit(address(server))
    with page.expect_response("**/infer") as answer:
        give(page, photo)
    id_ = answer.value.headers["x-request-id"]
    server.wait(lambda: id_ in [line.get("request_id") for line in server.lines])
    (line,) = (line for line in server.lines if line.get("request_id") == id_)
    assert line["path"] == "/v2/models/imagenet/infer"
    assert 0 < line["bytes"] - photo.stat().st_size < 2000


def test_another_model_explains_the_same_photograph(
    explained: Any, expected: Any, tiny: Path, photo: Path, tmp_path: Path
) -> None:
    assert explained.locator("#picker option").all_text_contents() == ["imagenet", "birds"]
    assert text(explained, "#model") == "1,000 classes"
    explained.check("#compare")
    pick(explained, "birds")
    known = Explainer(tiny, providers="cpu").explain(photo, classes="top-2")
    for turn in range(2):
        index = known.classes[turn].index
        shows(explained, {0: "crane (0)", 1: "lynx", 2: "crane (2)"}[index], turn)
    assert_same_numbers(numbers(explained, tmp_path), known, SAME)
    assert text(explained, "#model") == "3 classes"
    assert explained.locator("#classes option").count() == 3
    assert explained.locator("#predictions button").count() == 3
    pick(explained, "imagenet")
    shows(explained, "tiger cat")
    assert_same_numbers(numbers(explained, tmp_path), expected, SAME)


def test_a_model_is_picked_before_the_photograph(visit: OpenPage, server: Running, photo: Path, tmp_path: Path) -> None:
    page = visit(address(server))
    pick(page, "birds")
    assert text(page, "#model") == "3 classes"
    give(page, photo)
    assert numbers(page, tmp_path)["method"]["model"] == "tiny.onnx"


def test_one_model_needs_no_picker(visit: OpenPage, tiny: Path, photo: Path) -> None:
    with running("--model", str(tiny)) as server:
        page = visit(address(server))
        assert page.is_hidden("#picker")
        assert text(page, "#model") == "tiny, 3 classes"
        give(page, photo)
        assert page.is_visible("#result")


@pytest.mark.parametrize(("name", "orientation", "quarters"), [("it.jpg", 6, 1), ("it.webp", 6, 1), ("it.webp", 3, 2)])
def test_photographs_are_turned_upright(
    visit: OpenPage,
    server: Running,
    chelsea: np.ndarray,
    explainer: Explainer,
    tmp_path: Path,
    name: str,
    orientation: int,
    quarters: int,
) -> None:
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(chelsea, quarters)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph = encoded(lying, name, quality=95, exif=exif)
    page = visit(address(server))
    give(page, photograph)
    known = explainer.explain(Image.open(io.BytesIO(photograph["buffer"])))
    assert known.geometry.image_size == (300, 451)
    assert_same_numbers(numbers(page, tmp_path), known, SAME)
    off = np.abs(picture(saved(page, ".save", tmp_path)) - np.asarray(known.overlay()))
    assert np.percentile(off, 99.9) <= 8  # JPEG is decoded by another program


def test_the_camera_takes_photographs(visit: OpenPage, server: Running, tmp_path: Path) -> None:
    page = visit(address(server), permissions=["camera"])
    page.click("#shoot")
    page.click("#snap")
    page.wait_for_selector("body[aria-busy=false]")
    assert numbers(page, tmp_path)["image"]["name"] == "camera"


def test_bad_files_are_refused_in_words(visit: OpenPage, server: Running, photo: Path, tmp_path: Path) -> None:
    """By the browser, or by the server where that reads less; and what was there stays."""
    page = visit(address(server), refused=True)
    give(page, photo)
    give(page, file(b"no picture"))
    assert "is not a picture that this browser can read" in notice(page)
    icon = io.BytesIO()
    Image.open(photo).resize((64, 64)).save(icon, "ICO")
    give(page, file(icon.getvalue(), "icon.ico"))
    assert notice(page).startswith("The server says: encoded_image[0]")
    pick(page, "birds")  # of the cat, not of these files
    page.wait_for_selector("#model:has-text('3 classes')")
    assert numbers(page, tmp_path)["image"]["name"] == "chelsea.png"


def test_sizes_are_refused_in_words(visit: OpenPage, busy: Running) -> None:
    page = visit(address(busy), refused=True)
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    give(page, encoded(Image.fromarray(noise)))
    assert re.fullmatch(
        r"made.png makes a request of 48\d,\d{3} bytes; the server accepts at most 262,144. "
        r"Make the photograph smaller.",
        notice(page),
    )
    assert not [url for url in sent if url.endswith("/infer")]
    give(page, encoded(Image.new("RGB", (500, 401), "red")))
    assert "has 200,500 pixels (500 x 401), over the limit of 200,000; make it smaller." in notice(page)


def test_a_busy_server_is_said(visit: OpenPage, busy: Running) -> None:
    """Until it is free again; what was there stays."""
    page = visit(address(busy), refused=True)
    give(page, file(png()))
    before = page.input_value(".class")
    white = json.dumps({"instances": [{"image": {"b64": base64.b64encode(png(WHITE)).decode()}}]}).encode()
    head = f"POST /v1/models/busy:explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(white)}\r\n\r\n".encode()
    with busy.connect() as other:
        other.sendall(head + white)
        busy.wait(lambda: busy.figure("secam_pending_images") == 1)
        give(page, file(png()))
        assert "1 photographs are waiting already, and the limit is 1; try again in" in notice(page)
        assert page.input_value(".class") == before
    busy.wait(lambda: busy.figure("secam_pending_images") == 0)
    give(page, file(png()))
    assert page.is_hidden("#notice")


def test_a_photograph_that_is_not_wanted_any_more_is_not_worked_on(visit: OpenPage, busy: Running) -> None:
    page = visit(address(busy), refused=True)
    page.set_input_files("#file", file(png(WHITE)))
    busy.wait(lambda: busy.figure("secam_pending_images") == 1)
    pick(page, "birds")
    page.wait_for_selector("body[aria-busy=false]")
    assert page.is_hidden("#notice")
    assert picked(page) == "birds"
    busy.wait(lambda: busy.figure("secam_pending_images") == 0)
    busy.wait(lambda: 499 in [line.get("status") for line in busy.lines])


def test_an_answer_that_takes_too_long_is_said(visit: OpenPage, tiny: Path, tmp_path: Path) -> None:
    model = busy_model(tmp_path, 1e15)
    with running("--model", f"birds={tiny}", "--model", f"busy={model}", "--timeout", "3") as server:
        page = visit(address(server), refused=True)
        give(page, file(png(WHITE)))
        pick(page, "busy")
        assert notice(page).startswith("The server says: No answer within 3 s: the server is busy")
        assert picked(page) == "birds"
        assert numbers(page, tmp_path)["method"]["model"] == "tiny.onnx"


def test_a_server_that_is_gone_is_said(visit: OpenPage, photo: Path) -> None:
    with running() as server:
        page = visit(address(server), refused=True)
        give(page, photo)
        server.process.kill()
        server.process.wait()
        for act in (lambda: choose(page, "goldfish"), lambda: give(page, photo)):
            act()
            assert notice(page) == "The server cannot be reached; it may have been stopped. Try again."
            assert page.input_value(".class") == "tiger cat"
            page.locator("#predictions button").nth(0).click()
            page.wait_for_selector("#notice", state="hidden")


def test_what_stands_in_between_may_refuse_too(visit: OpenPage, server: Running, photo: Path) -> None:
    """Or never answer, or drop what it does not know."""

    def hasty(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), "timeout_s": 4})

    def refuse(route: Any) -> None:
        route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    def drop(route: Any) -> None:
        answer = route.fetch()
        headers = {name: value for name, value in answer.headers.items() if not name.startswith("inference-")}
        route.fulfill(status=200, headers=headers, body=answer.body())

    page = visit(address(server), wait=False, refused=True)
    page.route("**/models.json", hasty)
    page.reload()
    give(page, photo)
    for act, said in (
        (refuse, "The server answered 502 (Bad Gateway)."),
        (drop, "The answer has no binary tensors"),
        (lambda route: None, "The server did not answer within 4 s."),
    ):
        page.route("**/infer", act)
        for do in (lambda: give(page, photo), lambda: choose(page, "goldfish")):
            do()
            assert notice(page).startswith(said)
            assert page.input_value(".class") == "tiger cat"
            page.locator("#predictions button").nth(0).click()
            page.wait_for_selector("#notice", state="hidden")
        page.unroute("**/infer")
    choose(page, "goldfish")
    shows(page, "goldfish")


def test_models_that_are_not_ready_are_waited_for(visit: OpenPage, server: Running, photo: Path) -> None:
    page = visit(address(server), wait=False)
    looks = []

    def early(route: Any) -> None:
        looks.append(page.locator("#progress").is_visible())
        known = route.fetch().json()
        if len(looks) < 3:
            known["models"][1] = {"name": "birds", "ready": False}
        route.fulfill(json=known)

    page.route("**/models.json", early)
    page.reload()
    give(page, photo)
    assert looks == [True, True, True]
    shows(page, "tiger cat")


def test_a_server_without_ready_models_says_so(tmp_path: Path) -> None:
    """Its first picture takes for ever."""
    with running("--model", str(busy_model(tmp_path, 1e15, of_dark=True)), wait=False) as server:
        status, _, body = server.call("GET", "/models.json")
        assert status == 200
        assert json.loads(body)["models"] == [{"name": "model", "ready": False}]
        assert server.call("GET", "/", headers=HTML)[0] == 200


@pytest.fixture(scope="module")
def locked(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("geheimer schlüssel\n", encoding="utf-8")
    with running("--model", str(tiny), "--api-key-file", str(keys)) as found:
        yield found


def send_key(page: Any, key: str) -> None:
    page.fill("#key input", key)
    page.keyboard.press("Enter")


def test_a_key_is_asked_for(visit: OpenPage, locked: Running, photo: Path) -> None:
    """And kept nowhere."""
    page = visit(address(locked), wait=False, refused=True)
    page.wait_for_selector("#key", state="visible")
    page.set_input_files("#file", photo)  # waits for it
    send_key(page, "another one")
    page.wait_for_selector("#key output:has-text('does not know this key')")
    send_key(page, "geheimer schlüssel")
    page.wait_for_selector("body[aria-busy=false]")
    assert page.is_hidden("#key")
    assert page.is_visible("#result")
    assert page.input_value("#key input") == ""
    choose(page, "lynx")
    shows(page, "lynx")
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    assert json.loads(kept) == [{}, {}, "", address(locked)]
    assert not [line for line in locked.lines if "schl" in json.dumps(line, ensure_ascii=False)]
    page.reload()
    page.wait_for_selector("#key", state="visible")


def test_a_key_that_is_changed_is_asked_for_once(visit: OpenPage, locked: Running, photo: Path, tmp_path: Path) -> None:
    page = visit(address(locked), wait=False, refused=True)
    send_key(page, "geheimer schlüssel")
    give(page, photo)
    page.route("**/infer", lambda route: route.fulfill(status=401, json={"error": "A key is needed."}))
    for name in ("one.png", "two.png"):
        with page.expect_response("**/infer"):
            page.set_input_files("#file", file(photo.read_bytes(), name))
    page.wait_for_selector("#key", state="visible")
    page.unroute("**/infer")
    send_key(page, "geheimer schlüssel")
    page.wait_for_selector("body[aria-busy=false]")
    assert page.is_hidden("#key")
    assert page.is_hidden("#notice")
    assert numbers(page, tmp_path)["image"]["name"] == "two.png"


def test_phones_need_no_scrolling_sideways(visit: OpenPage, server: Running, locked: Running, photo: Path) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
    wide = "document.documentElement.scrollWidth"
    page = visit(address(server), **phone)
    assert page.evaluate(wide) <= 360
    give(page, photo)
    assert page.evaluate(wide) <= 360
    page = visit(address(locked), wait=False, refused=True, **phone)
    page.wait_for_selector("#key", state="visible")
    assert page.evaluate(wide) <= 360


def test_every_control_has_a_name_and_is_reached_by_keyboard(explained: Any) -> None:
    reached = []
    for _ in range(30):
        explained.keyboard.press("Tab")
        reached.append(
            explained.evaluate("(({ id, className, tagName }) => id || className || tagName)(document.activeElement)")
        )
    assert {"SELECT", "pick", "shoot", "compare", "numbers", "class", "pointer", "save"} <= set(reached)
    for control in explained.locator("button:visible, input:visible, select:visible, canvas.pointer").all():
        assert control.evaluate("e => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent").strip()


def test_below_a_folder_of_a_proxy(visit: OpenPage, server: Running, photo: Path) -> None:
    page = visit("about:blank", wait=False)
    page.route(
        "**/deep/**", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("deep/", "")))
    )
    page.goto(f"{address(server)}deep/")
    give(page, photo)
    shows(page, "tiger cat")


def test_a_model_of_very_many_classes(visit: OpenPage, photo: Path, tmp_path: Path) -> None:
    """Their names are not all sent: those that are explained are, and every class is found by its index."""
    onnx.save(classifier(classes=60_000), tmp_path / "many.onnx")
    with running("--model", str(tmp_path / "many.onnx")) as server:
        status, _, body = server.call("GET", "/models.json")
        assert (status, len(body) < 10_000) == (200, True)
        (model,) = json.loads(body)["models"]
        assert (model["n_classes"], model["labels"]) == (60_000, None)
        page = visit(address(server))
        assert "60,000 classes" in text(page, "#model")
        give(page, photo)
        first = text(page, "#predictions button span")
        assert re.fullmatch(r"class \d+", first)
        assert page.input_value(".class") == f"{first} ({first.removeprefix('class ')})"
        choose(page, "41000")
        shows(page, "class 41000 (41000)")
        choose(page, "60000")
        assert notice(page) == "No class is called “60000”."
