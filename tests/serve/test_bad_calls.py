"""Bad input over gRPC: INVALID_ARGUMENT with a reason, never INTERNAL."""

from __future__ import annotations

import bad_images
import numpy as np
import pytest

pytest.importorskip("kserve")
import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BAD = bad_images.bad(PHOTO)
PIXELS = bytes(192)


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def element(data: bytes, length: int | None = None) -> bytes:
    return (len(data) if length is None else length).to_bytes(4, "little") + data


def tensor(name="image", datatype="UINT8", shape=(1, 8, 8, 3), **more: object) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, **more)


def call(*inputs, raw=(PIXELS,), outputs=(), **parameters) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="tiny", inputs=inputs or [tensor()], raw_input_contents=raw)
    request.outputs.extend(pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs)
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def files(raw: bytes, shape=(1,)) -> pb.ModelInferRequest:
    return call(tensor("encoded_image", "BYTES", shape), raw=[raw])


def of_unknown_kind() -> pb.ModelInferRequest:
    """A parameter whose kind KServe's SDK does not have: `double_param`, field 4 of Triton's messages."""
    request = call()
    request.parameters["top_k"].ParseFromString(b"\x21" + bytes(8))
    return request


def numbers(count: int, value: int = 7) -> pb.InferTensorContents:
    return pb.InferTensorContents(uint_contents=[value] * count)


CALLS = {
    "no inputs": (pb.ModelInferRequest(model_name="tiny"), "0 inputs"),
    "two inputs": (call(tensor(), tensor(), raw=[PIXELS] * 2), "2 inputs"),
    "other input": (call(tensor("x")), "Unknown input 'x'"),
    "no data": (call(raw=()), "0 came"),
    "raw of others": (call(raw=[PIXELS] * 2), "raw input contents"),
    "raw and not": (call(tensor(contents=numbers(192))), "contents"),
    "datatype": (call(tensor(datatype="FP32")), "UINT8 was expected"),
    "unknown datatype": (call(tensor(datatype="PICTURE")), "content type"),
    "no datatype": (call(tensor(datatype="")), "content type"),
    "half": (call(tensor(datatype="FP16")), "UINT8 was expected"),
    "NCHW": (call(tensor(shape=(1, 3, 8, 8))), "Channels come last"),
    "negative": (call(tensor(shape=(-1, 8, 8, 3))), "shape [-1, 8, 8, 3]"),
    "no axes": (call(tensor(shape=())), "shape []"),
    "2**62": (call(tensor(shape=(1, 2**62, 2**62, 3))), "limit"),
    "2**62 images": (call(tensor(shape=(2**62, 8, 8, 3))), "photographs"),
    "empty batch": (call(tensor(shape=(0, 8, 8, 3)), raw=[b""]), "photographs"),
    "too many": (call(tensor(shape=(5, 8, 8, 3)), raw=[PIXELS * 5]), "5 photographs"),
    "bytes less": (call(raw=[PIXELS[1:]]), "191 came"),
    "bytes more": (call(raw=[PIXELS + b"x"]), "193 came"),
    "values less": (call(tensor(contents=numbers(191)), raw=()), "191 came"),
    "256": (call(tensor(contents=numbers(192, 256)), raw=()), "0 to 255"),
    "2**32 - 1": (call(tensor(contents=numbers(192, 2**32 - 1)), raw=()), "0 to 255"),
    "other contents": (call(tensor(contents=pb.InferTensorContents(fp32_contents=[0.5] * 192)), raw=()), "0 came"),
    "small": (call(tensor(shape=(1, 2, 2, 3)), raw=[bytes(12)]), "at least 4"),
    "half a length": (files(b"\1\0"), "after the data"),
    "length 4 GB": (files(element(b"abc", 2**32 - 1)), "after the data"),
    "two for one": (files(element(b"abc") * 2), "more came"),
    "one for two": (files(element(b"abc"), (2,)), "1 came"),
    "a million empty ones": (files(bytes(3_900_000)), "more came"),
    "a path": (files(element(b"/etc/passwd")), "not an image"),
    "shared memory": (
        call(tensor(parameters={"shared_memory_region": pb.InferParameter(string_param="x")})),
        "shared memory",
    ),
    "unknown output": (call(outputs=["logits"]), "'logits'"),
    "unknown parameter": (call(topk=3), "'topk'"),
    "unknown kind of parameter": (of_unknown_kind(), "'top_k'"),
    "top_k 0": (call(top_k=0), "1 to 7"),
    "top_k -1": (call(top_k=-1), "1 to 7"),
    "top_k text": (call(top_k="3"), "1 to 7"),
    "top_k bool": (call(top_k=True), "1 to 7"),
    "n_segments 1e9": (call(n_segments=10**9), "1 to 1000"),
    "class": (call(classes="clas 5"), "'clas 5'"),
    "class bool": (call(classes=True), "names, indices"),
    "class 7": (call(classes=7), "out of range"),
    "long class": (call(classes="x" * 3_000_000), "3000000 characters"),
    "deep classes": (call(classes="[" * 100_000), "not a valid JSON list"),
    **{
        f"image {name}": (files(element(data)), words.partition("|")[0])
        for name, (data, words) in BAD.items()
        if "cannot be" not in words and "image" not in words.partition("|")[2]
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call(stub, name):
    request, words = CALLS[name]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=120)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    assert words in caught.value.details()
    assert len(caught.value.details()) < 1200


def test_a_version_of_a_model(stub):
    request = call()
    request.model_version = "1"
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=120)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "version" in caught.value.details()


def test_a_message_that_is_too_large(stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(files(bytes(5 << 20)), timeout=120)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_message(server):
    with grpc.insecure_channel(server.grpc) as channel:
        for method, code in (
            ("ModelInfer", grpc.StatusCode.INVALID_ARGUMENT),
            ("Nonsense", grpc.StatusCode.UNIMPLEMENTED),
        ):
            ask = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            for body in (b"\xff" * 100, b"\x0a\xff", b"\x0a\x02\xff\xfe"):
                with pytest.raises(grpc.RpcError) as caught:
                    ask(body, timeout=120)
                assert caught.value.code() == code
    assert server.get("/v2/health/ready").status_code == 200


def test_the_server_never_failed(server):
    assert server.failures() == []
