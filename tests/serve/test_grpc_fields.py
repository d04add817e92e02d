"""What a message will hold is known before it is parsed, as its parts take many times their bytes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Server

pytest.importorskip("kserve")

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages

from secam_onnx.serve.grpc_fields import MOST_FIELDS, count_values
from secam_onnx.serve.request_errors import MalformedError

REQUEST = messages.ModelInferRequest
CONTENTS = {"bool": [True], "int": [-1], "int64": [2**40], "uint": [300], "uint64": [1], "fp32": [0.5], "fp64": [0.5]}
MODEL = b"\x0a\x01m"
MANY = {
    "inputs": MODEL + b"\x2a\x00" * 1_000_000,
    "outputs": MODEL + b"\x32\x00" * 1_000_000,
    "parameters": MODEL + b"\x22\x05\x0a\x01a\x12\x00" * 500_000,
    "raw contents": MODEL + b"\x3a\x00" * 1_000_000,
    "unknown fields": MODEL + b"\xfa\x01\x00" * 1_000_000,
    "groups": MODEL + b"\xfb\x01\xfc\x01" * 700_000,
}


def size(number: int) -> bytes:
    return (number & 127 | 128).to_bytes() + size(number >> 7) if number > 127 else number.to_bytes()


def tensor(contents: bytes) -> bytes:
    """A request of one tensor, whose contents are these bytes."""
    inside = b"\x2a" + size(len(contents)) + contents
    return MODEL + b"\x2a" + size(len(inside)) + inside


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("count", [1, 1000])
def test_packed_numbers_are_counted(kind: str, count: int) -> None:
    contents = messages.InferTensorContents(**{f"{kind}_contents": CONTENTS[kind] * count})
    image = REQUEST.InferInputTensor(name="image", datatype="UINT8", shape=[1, 2, 3], contents=contents)
    data = REQUEST(model_name="m", inputs=[image]).SerializeToString()
    # The model's name, the tensor, its name, type, shape and contents, and what they hold.
    assert count_values(data, REQUEST.DESCRIPTOR) == 7 + 3 + count


def test_raw_data_is_one_field() -> None:
    data = REQUEST(model_name="m", raw_input_contents=[b"\x2a\x00" * 1_000_000]).SerializeToString()
    assert count_values(data, REQUEST.DESCRIPTOR) == 2


@pytest.mark.parametrize("kind", MANY)
def test_more_fields_than_any_request_has_are_refused(kind: str) -> None:
    start = time.perf_counter()
    with pytest.raises(MalformedError, match="10,000 fields"):
        count_values(MANY[kind], REQUEST.DESCRIPTOR)
    assert time.perf_counter() - start < 2, "it stops there"


def test_lists_inside_a_tensor_count_as_well() -> None:
    with pytest.raises(MalformedError):
        count_values(tensor(b"\x42\x00" * (MOST_FIELDS + 1)), REQUEST.DESCRIPTOR)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_come_to_an_end(data: bytes, more: bytes) -> None:
    for given_ in (data, tensor(data) + more, b"\x2a\xff\xff\xff\xff\x0f" + data, data + b"\xff" * 20):
        assert 0 <= count_values(given_, REQUEST.DESCRIPTOR) <= 2 * len(given_) + MOST_FIELDS


@pytest.mark.parametrize("kind", MANY)
def test_the_server_does_not_parse_them(server: Server, kind: str) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="10,000 fields") as refused:
            call(MANY[kind], timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
