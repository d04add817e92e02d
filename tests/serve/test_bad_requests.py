"""Bad input over HTTP: a reason in `error`, with a status that blames the client, and never 500."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from serving import b64, instances

from secam_onnx.default_model import default_model

pytest.importorskip("kserve")
import httpx

JSON = {"content-type": "application/json"}
EXPLAIN, PREDICT, INFER = "/v1/models/tiny:explain", "/v1/models/tiny:predict", "/v2/models/tiny/infer"


@pytest.fixture
def refused(server):
    """Post something that is refused; the reason."""

    def post(path: str, body: object, words: str | tuple[str, ...] = (), status: int = 400, **headers: str) -> str:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = server.post(path, body, headers=given)
        assert reply.status_code == status, reply.text[:500]
        assert reply.headers["content-type"] == "application/json"
        assert list(reply.json()) == ["error"]
        reason = reply.json()["error"]
        assert 10 < len(reason) < 1200, reason
        for word in (words,) if isinstance(words, str) else words:
            assert word in reason, reason
        return reason

    return post


def infer(shape=(1,), data=None, name="encoded_image", datatype="BYTES", **more: object) -> dict:
    tensor = {"name": name, "shape": list(shape), "datatype": datatype}
    tensor |= {} if data is None else {"data": data}
    return {"inputs": [tensor | more.pop("tensor", {})], **more}


def pixels(shape=(1, 8, 8, 3), value: object = 7, **more: object) -> dict:
    return infer(shape, [value] * int(np.prod(shape)), "image", "UINT8", **more)


DEEP = b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}"
DEEPER = DEEP.replace(b"[", b"[" * 30).replace(b"]", b"]" * 30)
BODIES = {
    "nothing": (b"", ()),
    "cut off": (b'{"instances": [', "Unrecognized"),
    "no text": (b"\xff\xfe\x00", "Unrecognized"),
    "NaN": (b'{"instances": NaN}', "Unrecognized"),
    "two objects": (b"{}{}", "Unrecognized"),
    "null": (b"null", "JSON object"),
    "number": (b"17", "JSON object"),
    "text": (b'"instances"', "JSON object"),
    "list": (b"[]", "JSON object"),
    "empty object": (b"{}", "JSON object"),
    "instances null": ({"instances": None}, "JSON object"),
    "instances object": ({"instances": {"image": {}}}, "JSON object"),
    "unknown entry": ({"instances": [], "model": "x"}, "'model'"),
    "empty batch": ({"instances": []}, ("0 photographs", "1 to 4")),
    "too many": (instances(*[b"x"] * 5), ("5 photographs", "1 to 4")),
    "instance null": ({"instances": [None]}, ("instances[0] is null", "b64")),
    "instance number": ({"instances": [10**300]}, ("instances[0]", "b64")),
    "instance text": ({"instances": ["abc"]}, ("instances[0] is 'abc'", "b64")),
    "image text": ({"instances": [{"image": "abc"}]}, "b64"),
    "b64 number": ({"instances": [{"image": {"b64": 7}}]}, "b64"),
    "b64 and more": ({"instances": [{"image": {"b64": "", "kind": "x"}}]}, "b64"),
    "no base64": ({"instances": [{"image": {"b64": "a?b"}}]}, ("not valid base64", "'a?b'")),
    "no ASCII": ({"instances": [{"image": {"b64": "äöü"}}]}, "not valid base64"),
    "padding": ({"instances": [{"image": {"b64": "abcde"}}]}, "not valid base64"),
    "empty image": ({"instances": [{"image": {"b64": ""}}]}, "is empty"),
    "second": (lambda good: {"instances": [*good["instances"], {"image": {"b64": "!"}}]}, "instances[1]"),
    "parameters list": (lambda good: {**good, "parameters": []}, "'parameters' is []"),
    "deep": (DEEP, "instances[0]"),
    "deeper": (DEEPER, ()),
    "deep instance": (b'{"instances": [' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]}", "instances[0]"),
    "deep parameter": (lambda good: json.dumps({**good, "parameters": {"classes": 0}}).replace(
        '"classes": 0', '"classes": ' + "[" * 900 + "]" * 900).encode(), "'classes' is"),
    "huge integer": (
        lambda good: json.dumps(good)[:-1].encode() + b', "parameters": {"top_k": ' + b"9" * 6000 + b"}}", ()
    ),
    "lone surrogate": (b'{"instances": [{"image": {"b64": "\\ud800"}}]}', ()),
}  # fmt: skip


@pytest.mark.parametrize("path", [EXPLAIN, PREDICT])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_version_1(refused, photographs, path, name):
    body, words = BODIES[name]
    if callable(body):
        body = body(instances(photographs[1]))
    if path == PREDICT and name == "deep parameter":
        words = "'classes'"
    refused(path, body if isinstance(body, bytes) else json.dumps(body).encode(), words, **JSON)


WHOLE = "whole number from 1 to"
PARAMETERS = {
    "unknown": ({"topk": 3}, ("'topk'", "top_k")),
    "unknown class": ({"classes": "clas 5"}, "'clas 5'"),
    "index -1": ({"classes": -1}, ("-1 is out of range", "0 to 6")),
    "index 7": ({"classes": [0, 7]}, ("7 is out of range", "0 to 6")),
    "index 1e300": ({"classes": 10**300}, ()),
    "float class": ({"classes": 1.0}, "names, indices"),
    "bool class": ({"classes": [True]}, "names, indices"),
    "null class": ({"classes": None}, "null"),
    "object class": ({"classes": {"a": 1}}, "names, indices"),
    "nested classes": ({"classes": [[1]]}, "names, indices"),
    "no classes": ({"classes": []}, "empty"),
    "empty text": ({"classes": " "}, "empty"),
    "bad list": ({"classes": "[1,"}, "not a valid JSON list"),
    "null in a list": ({"classes": "[null]"}, "names, indices"),
    "top-0": ({"classes": "top-0"}, "top-1 to top-7"),
    "top-8": ({"classes": "top-8"}, "top-1 to top-7"),
    "many": ({"classes": [0] * 1001}, "1001"),
    "long": ({"classes": "x" * 3_000_000}, "3000000 characters"),
    "outputs": ({"outputs": ["cam", "map"]}, ("'map'", "segments")),
    "outputs number": ({"outputs": 7}, "list of names"),
    "outputs null": ({"outputs": None}, "list of names"),
    **{
        f"{name} {value!r}": ({name: value}, (f"'{name}' is", WHOLE))
        for name in ("top_k", "n_segments")
        for value in (0, -1, 10**9, "3", True, 3.0, None, [3], {}, 10**15)
    },
    "top_k 8": ({"top_k": 8}, "1 to 7"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_of_version_1(refused, photographs, name):
    parameters, words = PARAMETERS[name]
    refused(EXPLAIN, {**instances(photographs[1]), "parameters": parameters}, words)
    if "top_k" in parameters:
        refused(PREDICT, {**instances(photographs[1]), "parameters": parameters}, words)


def test_near_matches(refused, photographs):
    reason = refused("/v1/models/lite:explain", instances(photographs[1], classes="tigr cat"), "'tigr cat'")
    assert "'tiger cat' (282)" in reason


def test_too_many_maps_and_pictures(refused, start, photographs):
    four = instances(*[photographs[1]] * 4, top_k=17, outputs=["panel"])
    refused("/v1/models/lite:explain", four, ("68 maps", "limit of 64"))
    five = start("--max-images", "5").post(
        f"/v1/models/{default_model().stem}:explain", instances(*[photographs[1]] * 5, classes="all")
    )
    assert five.status_code == 400
    assert "5000 maps, over the limit of 4000" in five.json()["error"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?", ()),
        ("?top_k", "do not have the form"),
        ("?top_k=3&", "do not have the form"),
        ("?top_k=three", "'top_k' is 'three'"),
        ("?top_k=0", WHOLE),
        ("?top_k=-1", WHOLE),
        ("?n_segments=1e9", "'n_segments' is '1e9'"),
        ("?n_segments=9999999999", "'n_segments' is '9999999999'"),
        ("?n_segments=%D9%A3", "'n_segments'"),
        ("?n_segments=3.0", "'n_segments' is '3.0'"),
        ("?n_segments=", "'n_segments' is ''"),
        ("?top_k=1&top_k=2", "2 times"),
        ("?class=", "''"),
        ("?class=0&classes=1", "Both"),
        ("?class=%ff", "Unknown class"),
        ("?outputs=", "Unknown output ''"),
        ("?outputs=cam,map", "'map'"),
        ("?colour=red", "'colour'"),
        ("?" + "&".join(f"class={index}" for index in range(60)), "fields"),
    ],
)
def test_a_parameter_in_the_address(refused, server, photographs, query, words):
    headers = {"content_type": "image/png"}
    if query == "?":
        assert server.post(EXPLAIN + query, photographs[1], headers={"content-type": "image/png"}).status_code == 200
        return
    refused(EXPLAIN + query, photographs[1], words, **headers)
    if "outputs" in query:
        refused(EXPLAIN + query, photographs[1], words, **headers, accept="image/png")


KINDS = {
    EXPLAIN: ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"),
    INFER: ("text/plain", "application/x-www-form-urlencoded", "image/png", "nonsense"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "kind"), [(path, kind) for path, kinds in KINDS.items() for kind in kinds])
def test_another_content_type(refused, path, kind):
    refused(path, b"{}", (kind.partition(";")[0], "application/json"), 415, content_type=kind)


def test_json_that_says_it_is_an_image_and_the_other_way_round(refused, photographs):
    refused(EXPLAIN, json.dumps(instances(photographs[1])).encode(), "not an image", content_type="image/png")
    refused(EXPLAIN, photographs[1], "Unrecognized", **JSON)
    refused(EXPLAIN, b"no image", "not an image")  # nor JSON: taken for a file


def test_json_in_other_words(server, photographs):
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json", ""):
        reply = server.post(EXPLAIN, json.dumps(instances(photographs[1])).encode(), headers={"content-type": kind})
        assert reply.status_code == 200, reply.text


VALID = b64(b"GIF, said the text file")
TENSORS = {
    "no inputs": ({}, "inputs"),
    "inputs null": ({"inputs": None}, "inputs"),
    "inputs object": ({"inputs": {}}, "inputs"),
    "input number": ({"inputs": [7]}, "inputs"),
    "empty inputs": ({"inputs": []}, "0 inputs"),
    "two inputs": ({"inputs": infer(data=[VALID])["inputs"] * 2}, ("2 inputs", "'encoded_image'")),
    "both inputs": ({"inputs": infer(data=[VALID])["inputs"] + pixels()["inputs"]}, "2 inputs"),
    "other input": (infer(data=[VALID], name="x"), "Unknown input 'x'"),
    "no data": (infer(), "inputs.0.data"),
    "no shape": ({"inputs": [{"name": "image", "datatype": "UINT8", "data": []}]}, "inputs.0.shape"),
    "shape number": (infer(data=[VALID], tensor={"shape": 1}), "inputs.0.shape"),
    "shape float": (infer(data=[VALID], tensor={"shape": [1.0]}), "inputs.0.shape"),
    "shape bool": (infer(data=[VALID], tensor={"shape": [True]}), "inputs.0.shape"),
    "shape text": (infer(data=[VALID], tensor={"shape": ["1"]}), "inputs.0.shape"),
    "shape negative": (infer((-1,), [VALID]), "shape [-1]"),
    "shape empty": (infer((), [VALID]), "shape []"),
    "shape (1, 2)": (infer((1, 2), [VALID] * 2), "shape [1, 2]"),
    "shape 2, one value": (infer((2,), [VALID]), ("2 values", "1 came")),
    "shape 1, two values": (infer((1,), [VALID] * 2), ("1 values", "2 came")),
    "empty batch": (infer((0,), []), "0 photographs"),
    "too many": (infer((5,), [VALID] * 5), "5 photographs"),
    "shape 1e15": (infer((10**15,), [VALID]), "photographs"),
    "shape 1e300": (json.dumps(infer((10**300,), [])).encode(), ()),
    "dtype": (infer(data=[VALID], datatype="FP32"), ("'FP32'", "BYTES")),
    "dtype unknown": (infer(data=[VALID], datatype="PICTURE"), "'PICTURE'"),
    "dtype number": (infer(data=[VALID], tensor={"datatype": 7}), "datatype"),
    "number for bytes": (infer(data=[7]), "encoded_image[0] is 7"),
    "null for bytes": (infer(data=[None]), "encoded_image[0] is null"),
    "no base64": (infer(data=["!"]), "encoded_image[0] is not valid base64"),
    "no image": (infer(data=[VALID]), "encoded_image[0] is not an image"),
    "nested bytes": (infer(data=[[VALID, VALID]]), "nested"),
    "NCHW": (pixels((1, 3, 8, 9)), ("(N, H, W, 3)", "Channels come last")),
    "HWC": (pixels((8, 8, 3)), "(N, H, W, 3)"),
    "RGBA": (pixels((1, 8, 8, 4)), "(N, H, W, 3)"),
    "no rows": (pixels((1, 0, 8, 3)), "shape [1, 0, 8, 3]"),
    "float pixels": (pixels(value=0.5), "whole numbers"),
    "bool pixels": (pixels(value=True), "whole numbers"),
    "256": (pixels(value=256), "0 to 255"),
    "-1": (pixels(value=-1), "0 to 255"),
    "1e15": (pixels(value=10**15), "0 to 255"),
    "text pixels": (pixels(value="7"), "whole numbers"),
    "null pixels": (pixels(value=None), "whole numbers"),
    "FP32 pixels": (infer((1, 8, 8, 3), [0.5] * 192, "image", "FP32"), ("'FP32'", "UINT8")),
    "one pixel less": (infer((1, 8, 8, 3), [7] * 191, "image", "UINT8"), ("192 values", "191 came")),
    "ragged": (infer((1, 2, 2, 3), [[[[1, 2, 3], [4, 5]], [[6, 7, 8], [9, 1, 2], [3]]]], "image", "UINT8"), "nested"),
    "half nested": (infer((1, 1, 2, 3), [[1, 2, 3], 4, 5, 6], "image", "UINT8"), "nested"),
    "data text": (infer(tensor={"data": "abc"}), "data"),
    "small": (pixels((1, 2, 2, 3)), "2 x 2"),
    "strip": (pixels((1, 4, 500, 3)), "500 x 4"),
    "too many pixels": (infer((1, 1001, 1000, 3), [7], "image", "UINT8"), ("1000 x 1001", "1,000,000")),
    "shared memory": (infer(data=[], tensor={"parameters": {"shared_memory_region": "x"}}), "shared memory"),
    "unknown output": (pixels(outputs=[{"name": "logits"}]), ("'logits'", "class_logits")),
    "outputs text": (pixels(outputs=["class_logits"]), "outputs.0"),
    "output number": (pixels(outputs=[{"name": 7}]), "outputs.0.name"),
    "output parameter": (pixels(outputs=[{"name": "bias", "parameters": {"classification": 3}}]), "'classification'"),
    "binary_data text": (pixels(outputs=[{"name": "bias", "parameters": {"binary_data": "no"}}]), "'binary_data'"),
    "binary_data_output text": (pixels(parameters={"binary_data_output": "no"}), "'binary_data_output'"),
    "outputs parameter": (pixels(parameters={"outputs": "cam"}), "list of outputs"),
    "unknown parameter": (pixels(parameters={"topk": 3}), "'topk'"),
    "list parameter": (pixels(parameters={"classes": [1]}), "parameters.classes"),
    "null parameter": (pixels(parameters={"top_k": None}), "parameters.top_k"),
    "top_k float": (pixels(parameters={"top_k": 1.0}), WHOLE),
    "top_k 0": (pixels(parameters={"top_k": 0}), WHOLE),
    "n_segments text": (pixels(parameters={"n_segments": "9"}), WHOLE),
    "n_segments 1e9": (pixels(parameters={"n_segments": 10**9}), WHOLE),
    "unknown class": (pixels(parameters={"classes": "clas 5"}), "'clas 5'"),
    "id number": (pixels(id=7), "id"),
    "size without bytes": (infer(tensor={"parameters": {"binary_data_size": 5}}), "0 bytes are left"),
    "size negative": (infer(tensor={"parameters": {"binary_data_size": -5}}), "binary_data_size"),
    "size text": (infer(tensor={"parameters": {"binary_data_size": "5"}}), "binary_data_size"),
    "size bool": (infer(tensor={"parameters": {"binary_data_size": True}}), "binary_data_size"),
    "data and size": (infer(data=[VALID], tensor={"parameters": {"binary_data_size": 0}}), "both"),
    "deep": (DEEP.replace(b"instances", b"inputs"), "inputs"),
    "deeper": (DEEPER.replace(b"instances", b"inputs"), ()),
    "deep data": (json.dumps(infer(data=[0])).replace("[0]", "[" * 900 + "]" * 900).encode(), ()),
    "no JSON": (b"{", "not valid JSON"),
    "NaN": (b'{"inputs": [{"data": [NaN]}]}', "not valid JSON"),
    "nothing": (b"", ()),
    "null": (b"null", "inference request"),
    "list": (b"[]", "inference request"),
    "text": (b'"inputs"', "inference request"),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
def test_a_request_of_version_2(refused, name):
    body, words = TENSORS[name]
    refused(INFER, body if isinstance(body, bytes) else json.dumps(body).encode(), words, **JSON)


LONG = {
    "inputs": {"inputs": [{}] * 101},
    "outputs": infer(data=[], outputs=[{}] * 101),
    "shape": infer(("",) * 101, []),
    "parameters": infer(data=[], parameters={str(place): [] for place in range(101)}),
    "parameters of a tensor": infer(data=[], tensor={"parameters": {str(place): [] for place in range(101)}}),
}


@pytest.mark.parametrize("name", LONG)
def test_lists_without_end_are_counted_and_not_looked_through(refused, name):
    refused(INFER, LONG[name], (name.partition(" ")[0], "101 entries; at most 100"))


def test_versions_of_models(refused, server):
    for path in ("/v2/models/tiny/versions/1/infer", "/v2/models/tiny/versions/1/infer?x=1"):
        for body in (pixels(), b"{"):  # which is not read
            refused(path, body, "no versions", 404)
    for path in ("/v2/models/tiny/versions/1", "/v2/models/tiny/versions/1/ready", "/v2/models/tiny?model_version=1"):
        reply = server.get(path)
        assert (reply.status_code, list(reply.json())) == (404, ["error"]), path


def binary(tail: bytes, size: object = None, shape=(1,), name="encoded_image", datatype="BYTES") -> tuple[bytes, bytes]:
    parameters = {"binary_data_size": len(tail) if size is None else size}
    tensor = infer(shape, name=name, datatype=datatype, tensor={"parameters": parameters})
    return json.dumps(tensor).encode(), tail


def element(data: bytes, length: int | None = None) -> bytes:
    return (len(data) if length is None else length).to_bytes(4, "little") + data


BINARY = {
    "less than is said": (*binary(element(b"abc"), 100), None, "binary_data_size of 100"),
    "more than is said": (*binary(element(b"abc"), 3), None, "4 bytes follow"),
    "header too long": (*binary(element(b"abc")), "100000", "inference-header-content-length"),
    "header short": (*binary(element(b"abc")), "10", "not valid JSON"),
    "header 0": (*binary(element(b"abc")), "0", "not valid JSON"),
    "header negative": (*binary(element(b"abc")), "-1", "'-1'"),
    "header text": (*binary(element(b"abc")), "ten", "'ten'"),
    "header huge": (*binary(element(b"abc")), "9" * 5000, "inference-header-content-length"),
    "header float": (*binary(element(b"abc")), "10.0", "'10.0'"),
    "no header": (*binary(element(b"abc")), "", "not valid JSON"),
    "half a length": (*binary(b"\1\0"), None, "ends 3 bytes after"),
    "length too long": (*binary(element(b"abc", 4)), None, "ends 1 bytes after"),
    "length 4 GB": (*binary(element(b"abc", 2**32 - 1)), None, "after the data"),
    "two for one": (*binary(element(b"abc") * 2), None, "more came"),
    "one for two": (*binary(element(b"abc"), shape=(2,)), None, "1 came"),
    "none": (*binary(b""), None, "0 came"),
    "a million empty ones": (*binary(bytes(3_900_000)), None, "more came"),
    "empty image": (*binary(element(b"")), None, "is empty"),
    "pixels short": (*binary(bytes(191), shape=(1, 8, 8, 3), name="image", datatype="UINT8"), None, "191 came"),
    "pixels long": (*binary(bytes(193), shape=(1, 8, 8, 3), name="image", datatype="UINT8"), None, "193 came"),
    "pixels huge": (*binary(bytes(3), shape=(1, 2**62, 2**62, 3), name="image", datatype="UINT8"), None, "limit"),
}


@pytest.mark.parametrize("name", BINARY)
def test_tensors_in_bytes(refused, name):
    head, tail, length, words = BINARY[name]
    header = {} if length == "" else {"inference_header_content_length": str(len(head)) if length is None else length}
    refused(INFER, head + tail, words, content_type="application/octet-stream", **header)


def test_no_path_and_no_address_is_opened(refused, server, tmp_path: Path, photographs):
    """The file and the page hold an image that could be explained; neither is asked for."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(photographs[1])
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(photographs[1])

        def log_message(self, *_: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{web.server_address[1]}/secret.png"
        for place in (str(secret), secret.as_uri(), address):
            for instance in (
                place, {"image": place}, {"image": {"b64": place}}, {"image": {"b64": b64(place.encode())}},
                *({"image": {name: place}} for name in ("url", "uri", "path", "file")), {"url": place}, {"path": place},
                {"image": {"b64": f"data:image/png;base64,{place}"}}, {"image_url": {"url": place}},
            ):  # fmt: skip
                refused(EXPLAIN, {"instances": [instance]})
            refused(EXPLAIN, place.encode(), "not an image", content_type="image/png")
            refused(f"{EXPLAIN}?url={place}", photographs[1], "'url'", content_type="image/png")
            refused(INFER, infer(data=[place]))
            refused(INFER, infer(data=[b64(place.encode())]), "not an image")
            refused(INFER, infer(data=[], tensor={"parameters": {"shared_memory_region": place}}))
            head, tail = binary(element(place.encode()))
            refused(INFER, head + tail, "not an image", inference_header_content_length=str(len(head)))
    finally:
        web.shutdown()
        thread.join()
        web.server_close()
    assert asked == []
    assert "URLs and paths are not opened" in refused(EXPLAIN, {"instances": [{"image": {"url": "http://x/"}}]})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/v1/models/tiny", 405),
        ("GET", EXPLAIN, 404),
        ("PUT", EXPLAIN, 405),
        ("DELETE", "/v2/models/tiny", 405),
        ("OPTIONS", EXPLAIN, 405),
        ("OPTIONS", "/v2", 405),
        ("HEAD", "/v2/models/tiny", 405),
        ("PATCH", INFER, 405),
        ("POST", "/v1/models/none:explain", 404),
        ("POST", "/v1/models/tiny:exterminate", 405),
        ("POST", "/v1/models/:explain", 405),
        ("POST", "/v1/models/tiny%3Aexplain:explain", 404),
        ("POST", "/v1/models/..%2Ftiny:explain", 404),
        ("POST", "/v1/models/%FF%00:explain", 404),
        ("POST", "/v1/models/ti%0Any:explain", 404),
        ("GET", "/v1/models/%F0%9F%90%88", 404),
        ("GET", "/v2/models/" + "x" * 5000, 404),
        ("POST", "/v2/repository/index", 404),
        ("GET", "/v2/models/tiny/config", 404),
        ("GET", "/v2/models/tiny/stats", 404),
        ("POST", "/v2/models/tiny/generate", 404),
        ("POST", "/openai/v1/completions", 404),
        ("GET", "/docs", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_addresses_and_methods(server, photographs, method, path, status):
    body = json.dumps(instances(photographs[1])) if method == "POST" else None
    reply = httpx.request(method, server.url + path, content=body, headers=JSON)
    assert reply.status_code == status, reply.text
    if method != "HEAD":
        assert list(reply.json()) == ["error"]
    if status == 405:
        assert reply.headers["allow"]


def test_names_in_other_words(server, photographs):
    for name in ("tiny-2.b", "tiny%2D2%2Eb", "%74iny"):
        reply = server.post(f"/v1/models/{name}:explain", instances(photographs[1]))
        assert reply.status_code == 200, reply.text
        assert server.post(f"/v1/models/{name}%3Aexplain", instances(photographs[1])).status_code == 200


def test_a_body_that_is_too_large(refused):
    refused(EXPLAIN, bytes(4 * 2**20 + 1), "4,194,304", 413, content_type="image/png")
    refused(INFER, bytes(4 * 2**20 + 1), "4,194,304", 413)


def test_the_server_never_failed(server):
    """Last: nothing of the above is a failure in its log."""
    assert server.failures() == []
