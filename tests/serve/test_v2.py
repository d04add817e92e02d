from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from loops import in_loop
from serving import b64, check_tensors

pytest.importorskip("kserve")
pytest.importorskip("tritonclient")
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from tritonclient.utils import InferenceServerException

from secam_onnx.serve.request.parameters import OUTPUTS, PICTURES

PLAIN = [name for name in OUTPUTS if name not in PICTURES]


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=120) as opened:
        yield opened


def files(*images: bytes, binary: bool = True) -> list[triton.InferInput]:
    given = triton.InferInput("encoded_image", [len(images)], "BYTES")
    values = [image if binary else b64(image) for image in images]  # JSON has no bytes
    given.set_data_from_numpy(np.array(values, dtype=object), binary_data=binary)
    return [given]


def pixels(*pictures: np.ndarray, binary: bool = True) -> list[triton.InferInput]:
    batch = np.stack(pictures)
    given = triton.InferInput("image", list(batch.shape), "UINT8")
    given.set_data_from_numpy(batch, binary_data=binary)
    return [given]


def arrays(result: triton.InferResult) -> dict[str, np.ndarray]:
    return {output["name"]: result.as_numpy(output["name"]) for output in result.get_response()["outputs"]}


def wanted(*names: str, binary: bool = True) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize(
    ("parameters", "classes"),
    [
        ({}, "top-1"),
        ({"classes": '["tabby", 285, "top-2"]', "n_segments": 20}, ["tabby", 285, "top-2"]),
        ({"classes": "tabby,285", "top_k": 2, "n_segments": 20}, ["tabby", 285, "top-2"]),
    ],
)
def test_all_outputs_of_files(client, photographs, explained, explainers, binary, parameters, classes):
    result = client.infer(
        "lite", files(*photographs, binary=binary), outputs=wanted(*OUTPUTS, binary=binary), parameters=parameters
    )
    found = arrays(result)
    assert tuple(found) == OUTPUTS
    expected = [explained("lite", data, classes, parameters.get("n_segments")) for data in photographs]
    # Of two that may be among the two highest, one photograph can have fewer; these have not.
    assert len({len(explanation.classes) for explanation in expected}) == 1
    check_tensors(found, expected, explainers["lite"])


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_pixels(client, chelsea, explained, explainers, binary):
    pictures = [np.ascontiguousarray(chelsea[::step, ::step][:60, :80]) for step in (1, 2)]
    result = client.infer("tiny", pixels(*pictures, binary=binary), parameters={"classes": "all"})
    found = arrays(result)
    assert list(found) == PLAIN
    check_tensors(found, [explained("tiny", picture, "all") for picture in pictures], explainers["tiny"])


def test_the_shape_may_have_a_batch_axis(client, photographs):
    given = triton.InferInput("encoded_image", [2, 1], "BYTES")
    given.set_data_from_numpy(np.array(photographs[:2], dtype=object).reshape(2, 1))
    assert client.infer("tiny", [given]).as_numpy("class_ids").shape == (2, 1)


def test_nested_json(server, chelsea, explained, explainers):
    picture = chelsea[:20, :30]
    tensor = {"name": "image", "shape": [1, 20, 30, 3], "datatype": "UINT8", "data": [picture.tolist()]}
    reply = server.post("/v2/models/tiny/infer", {"inputs": [tensor], "outputs": [{"name": "class_logits"}]})
    (output,) = reply.json()["outputs"]
    logits = np.array(output["data"], dtype=np.float32).reshape(output["shape"])
    check_tensors({"class_logits": logits}, [explained("tiny", np.ascontiguousarray(picture))], explainers["tiny"])


@pytest.mark.parametrize("name", OUTPUTS)
def test_only_what_is_asked_for_is_sent(client, photographs, explained, explainers, name):
    for binary in (True, False):
        result = client.infer("tiny", files(photographs[1]), outputs=wanted(name, binary=binary))
        assert list(arrays(result)) == [name]
        (output,) = result.get_response()["outputs"]
        assert ("data" in output) is not binary
        check_tensors(arrays(result), [explained("tiny", photographs[1])], explainers["tiny"])


def test_binary_and_json_in_one_reply(client, photographs, explained, explainers):
    outputs = [*wanted("cam", "class_labels"), *wanted("segments", "class_logits", binary=False)]
    result = client.infer("lite", files(photographs[0]), outputs=outputs)
    forms = {output["name"]: "data" in output for output in result.get_response()["outputs"]}
    assert forms == {"cam": False, "class_labels": False, "segments": True, "class_logits": True}
    check_tensors(arrays(result), [explained("lite", photographs[0])], explainers["lite"])


def test_metadata_is_what_comes(client, photographs, explainers):
    metadata = client.get_model_metadata("lite")
    assert metadata["name"] == "lite"
    assert {entry["name"]: (entry["datatype"], entry["shape"]) for entry in metadata["inputs"]} == {
        "image": ("UINT8", [-1, -1, -1, 3]),
        "encoded_image": ("BYTES", [-1]),
    }
    assert [entry["name"] for entry in metadata["outputs"]] == list(OUTPUTS)
    result = client.infer(
        "lite", files(*photographs), outputs=wanted(*OUTPUTS), parameters={"top_k": 2, "n_segments": 20}
    )
    came = {output["name"]: output for output in result.get_response()["outputs"]}
    for entry in metadata["outputs"]:
        output = came[entry["name"]]
        assert output["datatype"] == entry["datatype"], entry
        assert len(output["shape"]) == len(entry["shape"]), entry
        fixed = [(length, found) for length, found in zip(entry["shape"], output["shape"], strict=True) if length != -1]
        assert all(length == found for length, found in fixed), entry
    rows, columns = explainers["lite"].preprocessing.size
    assert came["segments"]["shape"] == [3, rows, columns]


def test_ids_go_back(client, server, photographs):
    assert client.infer("tiny", files(photographs[0]), request_id="42").get_response()["id"] == "42"
    assert client.infer("tiny", files(photographs[0])).get_response()["id"]
    result = client.infer("tiny", files(photographs[0]), headers={"X-Request-Id": "of-http"})
    assert result.get_response()["id"] == "of-http"


def test_parameters_of_the_protocol_are_no_matter(client, photographs):
    result = client.infer("tiny", files(photographs[0]), priority=1, timeout=60_000_000, sequence_id=7)
    assert result.as_numpy("class_ids").shape == (1, 1)


def test_compressed_bodies_are_refused_with_a_reason(server, photographs):
    """KServe's SDK takes none."""
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("tiny", files(photographs[0]), request_compression_algorithm="gzip")
        assert caught.value.status() in ("400", "415")


def test_health_and_lists(client, server):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny-2.b")
    assert not client.is_model_ready("none")
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["extensions"]) == ("secam-onnx", ["binary_tensor_data"])
    assert server.get("/v2/models").json() == {"models": ["lite", "tiny", "tiny-2.b"]}
    assert server.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}


def test_models_stay_as_they_are(client, server):
    for call in (client.load_model, client.unload_model):
        for name in ("tiny", "none"):
            with pytest.raises(InferenceServerException, match="chosen when the server starts") as caught:
                call(name)
            assert caught.value.status() == "403"
    assert client.is_model_ready("tiny")
    assert server.get("/v2/models").json() == {"models": ["lite", "tiny", "tiny-2.b"]}


def test_tritons_asynchronous_client(server, photographs, explained, explainers):
    async def ask():
        async with triton_aio.InferenceServerClient(server.url.removeprefix("http://")) as client:
            assert await client.is_server_ready()
            return await asyncio.gather(
                *(client.infer("lite", files(data), outputs=wanted(*OUTPUTS)) for data in photographs)
            )

    for result, data in zip(in_loop(ask()), photographs, strict=True):
        check_tensors(arrays(result), [explained("lite", data)], explainers["lite"])


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_kserves_client(server, chelsea, explained, explainers, binary):
    picture = np.ascontiguousarray(chelsea[:90, :80])

    async def ask():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=120))
        given = InferInput("image", [1, *picture.shape], "UINT8")
        given.set_data_from_numpy(picture[None], binary_data=binary)
        parameters = {"binary_data_output": binary, "top_k": 2}
        request = InferRequest("tiny", [given], request_id="7", parameters=parameters)
        try:
            assert await client.is_server_live(server.url)
            assert await client.is_server_ready(server.url)
            assert await client.is_model_ready(server.url, "tiny")
            return await client.infer(server.url, request, model_name="tiny")
        finally:
            await client.close()

    response = in_loop(ask())
    assert (response.model_name, response.id) == ("tiny", "7")
    found = {output.name: output.as_numpy() for output in response.outputs}
    assert list(found) == PLAIN
    check_tensors(found, [explained("tiny", picture, "top-2")], explainers["tiny"])


def test_curl(server, tmp_path: Path, photographs, explained, explainers):
    tensor = {"name": "encoded_image", "shape": [1], "datatype": "BYTES", "data": [b64(photographs[1])]}
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [tensor], "outputs": [{"name": "cam"}]}))
    command = ["curl", "-sf", "-H", "Content-Type: application/json", "-d", "@request.json"]
    done = subprocess.run(
        [*command, f"{server.url}/v2/models/lite/infer"], cwd=tmp_path, capture_output=True, check=True, timeout=120
    )
    (output,) = json.loads(done.stdout)["outputs"]
    cam = np.array(output["data"], dtype=np.float32).reshape(output["shape"])
    check_tensors({"cam": cam}, [explained("lite", photographs[1])], explainers["lite"])
