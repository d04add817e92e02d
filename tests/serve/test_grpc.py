from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import triton_calls
from loops import in_loop
from serving import check_tensors

pytest.importorskip("kserve")
pytest.importorskip("tritonclient")
import grpc
from kserve import InferenceGRPCClient, InferInput, InferRequest, InferResponse
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from secam_onnx.serve.request.parameters import OUTPUTS, PICTURES

PLAIN = [name for name in OUTPUTS if name not in PICTURES]


@pytest.fixture(scope="module")
def triton(server):
    """Calls functions of `triton_calls` in another process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda function, *arguments, **more: pool.submit(function, server.grpc, *arguments, **more).result(120)


def files(*images: bytes) -> dict[str, np.ndarray]:
    return {"encoded_image": np.array(images, dtype=object)}


def values(outputs) -> dict[str, np.ndarray]:
    return {name: array for name, (_, _, array) in outputs.items()}


@pytest.mark.parametrize(
    ("parameters", "classes"),
    [
        ({}, "top-1"),
        ({"classes": '["tabby", 285, "top-2"]', "n_segments": 20}, ["tabby", 285, "top-2"]),
        ({"classes": 281, "top_k": 1}, [281, "top-1"]),
    ],
)
def test_all_outputs_of_files(triton, photographs, explained, explainers, parameters, classes):
    _, found = triton(triton_calls.infer, "lite", files(*photographs), OUTPUTS, parameters=parameters)
    assert tuple(found) == OUTPUTS
    expected = [explained("lite", data, classes, parameters.get("n_segments")) for data in photographs]
    check_tensors(values(found), expected, explainers["lite"])


def test_pixels(triton, chelsea, explained, explainers):
    pictures = np.stack([chelsea[:60, :80], chelsea[100:160, 200:280]])
    _, found = triton(triton_calls.infer, "tiny", {"image": pictures}, parameters={"classes": "all"})
    assert list(found) == PLAIN
    check_tensors(values(found), [explained("tiny", picture, "all") for picture in pictures], explainers["tiny"])


@pytest.mark.parametrize("name", OUTPUTS)
def test_only_what_is_asked_for_is_sent(triton, photographs, explained, explainers, name):
    _, found = triton(triton_calls.infer, "tiny", files(photographs[1]), [name])
    assert list(found) == [name]
    check_tensors(values(found), [explained("tiny", photographs[1])], explainers["tiny"])


def test_values_that_are_no_raw_bytes(server, photographs, chelsea, explained, explainers):
    picture = np.ascontiguousarray(chelsea[:20, :30])
    contents = {
        "encoded_image": ("BYTES", [1], pb.InferTensorContents(bytes_contents=[photographs[1]])),
        "image": ("UINT8", [1, 20, 30, 3], pb.InferTensorContents(uint_contents=picture.ravel().tolist())),
    }
    with grpc.insecure_channel(server.grpc) as channel:
        for (name, (datatype, shape, values)), data in zip(contents.items(), (photographs[1], picture), strict=True):
            tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=values)
            request = pb.ModelInferRequest(model_name="tiny", id="7", inputs=[tensor])
            response = InferResponse.from_grpc(GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=120))
            assert response.id == "7"
            found = {output.name: output.as_numpy() for output in response.outputs}
            check_tensors(found, [explained("tiny", data)], explainers["tiny"])


def test_metadata_is_what_comes(triton, photographs):
    metadata = triton(triton_calls.call, "get_model_metadata", "lite")
    assert [entry["name"] for entry in metadata["inputs"]] == ["image", "encoded_image"]
    _, found = triton(triton_calls.infer, "lite", files(*photographs), OUTPUTS, parameters={"top_k": 2})
    assert list(found) == [entry["name"] for entry in metadata["outputs"]]
    for entry in metadata["outputs"]:
        datatype, shape, _ = found[entry["name"]]
        lengths = list(map(int, entry["shape"]))
        assert (datatype, len(shape)) == (entry["datatype"], len(lengths)), entry
        assert all(length in (-1, came) for length, came in zip(lengths, shape, strict=True)), entry


def test_ids_go_back(triton, photographs):
    image = files(photographs[0])
    assert triton(triton_calls.infer, "tiny", image, request_id="42")[0] == "42"
    assert len(triton(triton_calls.infer, "tiny", image)[0]) == 32
    assert triton(triton_calls.infer, "tiny", image, headers={"x-request-id": "of-headers"})[0] == "of-headers"


def test_what_other_servers_take_is_no_matter(triton, photographs):
    more = {"priority": 1, "timeout": 60_000_000, "sequence_id": 7, "compression_algorithm": "gzip"}
    _, found = triton(triton_calls.infer, "tiny", files(photographs[0]), **more)
    assert found["class_ids"][1] == [1, 1]


def test_health_and_lists(triton):
    assert triton(triton_calls.call, "is_server_live") is True
    assert triton(triton_calls.call, "is_server_ready") is True
    assert triton(triton_calls.call, "is_model_ready", "tiny-2.b") is True
    metadata = triton(triton_calls.call, "get_server_metadata")
    assert (metadata["name"], metadata["extensions"]) == ("secam-onnx", ["binary_tensor_data"])
    for method in ("is_model_ready", "get_model_metadata"):
        assert triton(triton_calls.call, method, "none")[0] == "StatusCode.NOT_FOUND"
    status, reason = triton(triton_calls.infer, "none", files(b"x"))
    assert status == "StatusCode.NOT_FOUND"
    assert "none" in reason


def test_models_stay_as_they_are(triton):
    for method in ("load_model", "unload_model"):
        status, reason = triton(triton_calls.call, method, "tiny")
        assert status == "StatusCode.PERMISSION_DENIED"
        assert "chosen when the server starts" in reason
    assert triton(triton_calls.call, "is_model_ready", "tiny") is True


def test_tritons_asynchronous_client(triton, photographs, explained, explainers):
    results = triton(triton_calls.infer_all, "lite", [files(data) for data in photographs])
    for (_, found), data in zip(results, photographs, strict=True):
        check_tensors(values(found), [explained("lite", data)], explainers["lite"])


def test_kserves_client(server, chelsea, explained, explainers):
    picture = np.ascontiguousarray(chelsea[:90, :80])

    async def ask():
        given = InferInput("image", [1, *picture.shape], "UINT8")
        given.set_data_from_numpy(picture[None], binary_data=True)
        async with InferenceGRPCClient(server.grpc, timeout=120) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("tiny")
            return await client.infer(InferRequest("tiny", [given], request_id="7", parameters={"top_k": 2}))

    response = in_loop(ask())
    assert (response.model_name, response.id) == ("tiny", "7")
    found = {output.name: output.as_numpy() for output in response.outputs}
    assert list(found) == PLAIN
    check_tensors(found, [explained("tiny", picture, "top-2")], explainers["tiny"])
