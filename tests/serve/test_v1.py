from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from loops import in_loop
from serving import b64, check_json, check_picture, instances

from secam_onnx.superpixels import decode_label_map

pytest.importorskip("kserve")
from kserve import InferenceRESTClient
from kserve.inference_client import RESTConfig

UNTIMED = {"timings_ms"}


def numbers(explanation) -> dict:
    """As JSON, without what differs from run to run."""
    entry = explanation if isinstance(explanation, dict) else json.loads(json.dumps(explanation.to_dict()))
    return {name: value for name, value in entry.items() if name not in UNTIMED}


@pytest.mark.parametrize(
    ("parameters", "classes"),
    [
        ({}, "top-1"),
        ({"classes": "tiger cat"}, "tiger cat"),
        ({"classes": 281}, 281),
        ({"top_k": 3}, "top-3"),
        ({"classes": ["tabby", 285, "top-2"]}, ["tabby", 285, "top-2"]),
        ({"classes": "tabby, 285, TOP-2"}, ["tabby", 285, "top-2"]),
        ({"classes": '["tabby", 285]', "top_k": 2}, ["tabby", 285, "top-2"]),
    ],
)
def test_explain_gives_what_the_package_gives(server, photographs, explained, parameters, classes):
    reply = server.post("/v1/models/lite:explain", instances(*photographs, **parameters))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    found = reply.json()["explanations"]
    assert len(found) == len(photographs)
    for entry, data in zip(found, photographs, strict=True):
        check_json(numbers(entry), numbers(explained("lite", data, classes)))
        for of_class in entry["classes"]:
            total = sum(superpixel["contribution"] for superpixel in of_class["superpixels"])
            assert total + of_class["bias"] + of_class["gap"] == pytest.approx(of_class["logit"], abs=1e-4)
            assert abs(of_class["gap"]) < 1e-3


def test_all_classes(server, photographs, explained):
    (entry,) = server.post("/v1/models/tiny:explain", instances(photographs[0], classes="all")).json()["explanations"]
    assert [of_class["index"] for of_class in entry["classes"]] == list(range(7))
    check_json(numbers(entry), numbers(explained("tiny", photographs[0], "all")))


def test_segments(server, photographs, explained):
    (entry,) = server.post("/v1/models/lite:explain", instances(photographs[0], n_segments=9)).json()["explanations"]
    expected = explained("lite", photographs[0], segments=9)
    assert len(entry["classes"][0]["superpixels"]) == expected.segment_scores.shape[1] < 20
    check_json(numbers(entry), numbers(expected))


def test_parameters_in_the_address_of_json(server, photographs):
    reply = server.post("/v1/models/tiny:explain?class=2&class=3&top_k=1", instances(photographs[0], n_segments=9))
    assert [of_class["index"] for of_class in reply.json()["explanations"][0]["classes"]] == [2, 3, 5]
    twice = server.post("/v1/models/tiny:explain?n_segments=9", instances(photographs[0], n_segments=9))
    assert (twice.status_code, "'n_segments' is both" in twice.json()["error"]) == (400, True)


def test_extras(server, photographs, explained):
    outputs = ["cam", "segments", "overlay", "heatmap", "panel"]
    body = instances(*photographs[:2], top_k=2, outputs=outputs)
    reply = server.post("/v1/models/lite:explain", body).json()
    for entry, data in zip(reply["explanations"], photographs, strict=False):
        expected = explained("lite", data, "top-2")
        label_map = decode_label_map(base64.b64decode(entry.pop("segments")["b64"]))
        np.testing.assert_array_equal(label_map, expected.segments)
        for row, of_class in enumerate(entry["classes"]):
            np.testing.assert_allclose(of_class.pop("cam"), expected.cam[row], rtol=1e-3, atol=1e-4)
            check_picture(base64.b64decode(of_class.pop("overlay")["b64"]), expected.overlay(of_class["index"]))
            heatmap = expected.overlay(of_class["index"], kind="heatmap")
            assert_alike(base64.b64decode(of_class.pop("heatmap")["b64"]), heatmap)
            assert base64.b64decode(of_class.pop("panel")["b64"]).startswith(b"\x89PNG")
        check_json(numbers(entry), numbers(expected))


def assert_alike(data: bytes, expected) -> None:
    """Colours of numbers that are rounded otherwise may be one step off."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).max() <= 1


def test_predict(server, photographs, explained):
    reply = server.post("/v1/models/lite:predict", instances(*photographs))
    expected = [[vars(entry) for entry in explained("lite", data).predictions] for data in photographs]
    check_json(reply.json(), {"predictions": expected})
    (seven,) = server.post("/v1/models/tiny:predict", instances(photographs[0], top_k=7)).json()["predictions"]
    assert sorted(entry["index"] for entry in seven) == list(range(7))
    assert sum(entry["probability"] for entry in seven) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("place", range(3))
def test_an_image_file_as_it_is(server, photographs, explained, place):
    headers = {"content-type": ("image/jpeg", "image/png", "image/webp")[place]}
    path = "/v1/models/lite:explain?class=tabby&class=tiger%20cat&top_k=1&n_segments=20"
    (entry,) = server.post(path, photographs[place], headers=headers).json()["explanations"]
    expected = explained("lite", photographs[place], ["tabby", "tiger cat", "top-1"], segments=20)
    check_json(numbers(entry), numbers(expected))
    (best,) = server.post("/v1/models/lite:predict?top_k=1", photographs[place], headers=headers).json()["predictions"]
    assert best[0]["index"] == expected.predictions[0].index


@pytest.mark.parametrize(
    ("query", "draw"),
    [
        ("", lambda explanation: explanation.panel()),
        ("?outputs=overlay", lambda explanation: explanation.overlay()),
        ("?outputs=cam,heatmap", lambda explanation: explanation.overlay(kind="heatmap")),
    ],
)
def test_a_picture_where_one_is_accepted(server, photographs, explained, query, draw):
    headers = {"content-type": "image/jpeg", "accept": "image/png"}
    reply = server.post(f"/v1/models/lite:explain{query}", photographs[0], headers=headers)
    assert reply.headers["content-type"] == "image/png"
    assert_alike(reply.content, draw(explained("lite", photographs[0])))


def test_curl(server, tmp_path: Path, photographs, explained):
    (tmp_path / "cat.jpg").write_bytes(photographs[0])
    address = f"{server.url}/v1/models/lite:explain"
    picture = ("-H", "Accept: image/png", "-o", "panel.png")
    for more in ((), picture):
        command = ["curl", "-sf", "--data-binary", "@cat.jpg", "-H", "Content-Type: image/jpeg", *more, address]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=120)
        if not more:
            (entry,) = json.loads(done.stdout)["explanations"]
            check_json(numbers(entry), numbers(explained("lite", photographs[0])))
    assert_alike((tmp_path / "panel.png").read_bytes(), explained("lite", photographs[0]).panel())


def test_kserves_client(server, photographs, explained):
    async def ask():
        client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=120))
        try:
            body = instances(*photographs[:2], classes=["tabby"])
            return (
                await client.infer(server.url, instances(photographs[0]), model_name="lite"),
                await client.explain(server.url, "lite", body),
                await client.is_model_ready(server.url, "lite"),
            )
        finally:
            await client.close()

    predicted, reply, ready = in_loop(ask())
    assert ready
    assert predicted["predictions"][0][0]["label"] == "tiger cat"
    for entry, data in zip(reply["explanations"], photographs, strict=False):
        check_json(numbers(entry), numbers(explained("lite", data, "tabby")))


def test_lists_and_health(server):
    assert server.get("/v1/models").json() == {"models": ["lite", "tiny", "tiny-2.b"]}
    assert server.get("/v1/models/tiny-2.b").json() == {"name": "tiny-2.b", "ready": True}
    missing = server.get("/v1/models/none")
    assert (missing.status_code, list(missing.json())) == (404, ["error"])


def test_an_event_is_answered_with_an_event(server, photographs):
    headers = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "test", "ce-type": "picture"}
    headers["content-type"] = "application/json"
    reply = server.post("/v1/models/tiny:predict", instances(photographs[0]), headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["ce-specversion"] == "1.0"
    assert len(reply.json()["predictions"]) == 1
    event = {
        "specversion": "1.0",
        "id": "7",
        "source": "test",
        "type": "picture",
        "time": "2026-01-01T00:00:00Z",
        "data": instances(photographs[0]),
    }
    reply = server.post("/v1/models/tiny:predict", event, headers={"content-type": "application/cloudevents+json"})
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["data"]["predictions"]) == 1
    for name in ("explain", "predict"):
        bad = server.post(f"/v1/models/tiny:{name}", b"\xff", headers=headers)
        assert (bad.status_code, list(bad.json())) == (400, ["error"])


def test_request_ids_go_back(server, photographs):
    path, headers = "/v1/models/tiny:explain", {"x-request-id": "my-own.7"}
    reply = server.post(path, instances(photographs[0]), headers=headers)
    assert reply.headers["x-request-id"] == "my-own.7"
    assert reply.headers.get_list("x-request-id") == ["my-own.7"]
    bad = server.post(path, {"instances": []}, headers=headers)
    assert bad.headers["x-request-id"] == "my-own.7"
    assert len(server.post(path, instances(photographs[0])).headers["x-request-id"]) == 32


def test_an_explainer_in_front_of_a_predictor(server, start, tiny_file, photographs, explained):
    """As KServe starts one: predictions are the predictor's (of seven classes), explanations those of its own model."""
    front = start("--model_name", "tiny", "--predictor_host", server.url.removeprefix("http://"), "--timeout", "60")
    direct = server.post("/v1/models/tiny:predict", instances(*photographs, top_k=2))
    assert front.post("/v1/models/tiny:predict", instances(*photographs, top_k=2)).json() == direct.json()
    there = front.post("/v1/models/tiny:predict?top_k=2", instances(*photographs))
    assert there.json() == direct.json()
    raw = front.post("/v1/models/tiny:predict?top_k=2", photographs[1], headers={"content-type": "image/png"})
    check_json(raw.json()["predictions"], direct.json()["predictions"][1:2])
    (entry,) = front.post("/v1/models/tiny:explain", instances(photographs[0])).json()["explanations"]
    check_json(numbers(entry), numbers(explained("lite", photographs[0])))
    refused = front.post("/v1/models/tiny:predict", {"instances": [{"image": {"b64": b64(b"text")}}]})
    assert refused.status_code == 400
    assert "not an image" in refused.json()["error"]


def test_a_predictor_that_is_not_there(start, photographs, free_port):
    front = start("--model_name", "tiny", "--predictor_host", f"127.0.0.1:{free_port}")
    reply = front.post("/v1/models/tiny:predict", instances(photographs[0]))
    assert (reply.status_code, list(reply.json())) == (502, ["error"])
    assert f"127.0.0.1:{free_port}" in reply.json()["error"]
