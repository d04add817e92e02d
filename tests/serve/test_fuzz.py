"""Whatever bytes come: an answer, or a reason of one of five kinds."""

from __future__ import annotations

import base64
import io
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("kserve")
import orjson
from kserve import InferRequest, ModelRepository
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.servicer import InferenceServicer

from secam_onnx.errors import ClassError, ImageError, OptionError
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.serve.kserve_data_plane import ExplainerDataPlane
from secam_onnx.serve.request.parameters import EXTRAS, OUTPUTS, ExplanationRequest
from secam_onnx.serve.request_errors import MalformedError, UnknownKindError
from secam_onnx.serve.request_parsing import read_file, read_infer, read_instances
from secam_onnx.serve.settings import Limits

REFUSED = (MalformedError, UnknownKindError, ImageError, ClassError, OptionError, InvalidInput)
LIMITS = Limits(max_images=4, max_pixels=10_000)
PLANE = ExplainerDataPlane(ModelRepository())
MANY = os.environ.get("SECAM_TEST_FUZZ")  # how many examples, other ones each time
FUZZ = settings(
    max_examples=int(MANY or 300), derandomize=not MANY, deadline=None, suppress_health_check=list(HealthCheck)
)

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, form)
    return buffer.getvalue()


FILES = [encoded(form) for form in ("PNG", "JPEG", "WEBP", "GIF", "TIFF")]
B64 = base64.b64encode(FILES[0]).decode()

# Words that mean something, beside any others, so that what is behind the first check is reached as well.
words = st.sampled_from(
    [
        *(
            "instances",
            "image",
            "b64",
            "parameters",
            "classes",
            "top_k",
            "n_segments",
            "segments",
            "outputs",
            "inputs",
            "name",
        ),
        *("shape", "datatype", "data", "encoded_image", "BYTES", "UINT8", "binary_data_size", "binary_data", "id"),
        *("url", "all", "top-1", "top-0", "class 3", B64, *OUTPUTS, *EXTRAS),
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-1, 8)
    | st.floats()
    | words
    | st.text(max_size=9)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(words | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
parameters = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("classes", "top_k", "n_segments", "segments", "outputs", "binary_data_output", "x"), anything
    ),
)
instance = st.fixed_dictionaries({"image": st.fixed_dictionaries({"b64": st.just(B64) | leaves}) | anything}) | anything
version_1 = st.fixed_dictionaries(
    {"instances": st.lists(instance, max_size=5) | anything}, optional={"parameters": parameters | anything}
)
tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["image", "encoded_image"]) | leaves,
        "datatype": st.sampled_from(["UINT8", "BYTES", "FP32"]) | leaves,
        "shape": st.sampled_from([[1], [2], [1, 4, 4, 3], [1, 1], [0]])
        | st.lists(st.integers(-1, 5), max_size=5)
        | anything,
    },
    optional={
        "data": st.just([B64]) | st.just([7] * 48) | st.lists(st.integers(-1, 256), max_size=50) | anything,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 60) | leaves}) | anything,
    },
)
output = (
    st.fixed_dictionaries({"name": st.sampled_from(OUTPUTS) | leaves}, optional={"parameters": anything}) | anything
)
version_2 = st.fixed_dictionaries(
    {"inputs": st.lists(tensor, min_size=1, max_size=2) | anything},
    optional={"outputs": st.lists(output, max_size=3) | anything, "parameters": parameters | anything, "id": leaves},
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes, some of which were changed, taken out or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 6))):
        place, length = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(0, 8))
        data[place : place + length] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


def written(value: object) -> bytes:
    return json.dumps(value).encode()  # with NaN and Infinity, which are none of JSON's


def check_reason(error: Exception) -> None:
    assert 5 < len(str(error)) < 2000


def asked(make) -> ExplanationRequest | None:
    """What was asked, or None where it is refused; whatever else is raised is a failure."""
    try:
        request = make()
    except REFUSED as error:
        check_reason(error)
        return None
    assert isinstance(request, ExplanationRequest)
    assert 1 <= len(request.images) <= LIMITS.max_images
    return request


headers = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "image/png", "application/cloudevents+json", "text/x", ""])
        | st.text(max_size=20),
        "inference-header-content-length": st.integers(-1, 400).map(str) | st.text(max_size=9),
        "ce-specversion": st.just("1.0"), "ce-id": st.text(max_size=3), "ce-source": st.text(max_size=3),
        "ce-type": st.text(max_size=3), "ce-time": st.text(max_size=3),
    },
)  # fmt: skip


@FUZZ
@given(damaged(version_1.map(written)) | version_1.map(written) | st.binary(max_size=60), headers, st.booleans())
def test_version_1(explainers, body, headers, explain):
    def make() -> ExplanationRequest:
        decoded, _ = PLANE.decode(body, headers)
        if isinstance(decoded, bytes):
            return read_file(decoded, "", explainers["tiny"], LIMITS, explain=explain)
        return read_instances(decoded, "", explainers["tiny"], LIMITS, explain=explain)

    asked(make)


@FUZZ
@given(version_1, st.booleans())
def test_version_1_from_objects(explainers, body, explain):
    asked(lambda: read_instances(body, "", explainers["tiny"], LIMITS, explain=explain))


@FUZZ
@given(
    st.text(max_size=60)
    | st.lists(st.tuples(words | st.sampled_from(["class"]), words | st.text(max_size=9)), max_size=4).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
    ),
    st.booleans(),
    st.booleans(),
)
def test_addresses(explainers, query, explain, picture):
    asked(lambda: read_file(FILES[0], query, explainers["tiny"], LIMITS, explain=explain, picture=picture))


@FUZZ
@given(
    damaged(version_2.map(written)) | version_2.map(written) | st.binary(max_size=60), st.binary(max_size=60), headers
)
def test_version_2(explainers, head, tail, headers):
    given_headers = {"inference-header-content-length": str(len(head)), **headers}

    def make() -> ExplanationRequest:
        request, _ = PLANE.decode(head + tail, given_headers, "v2", "tiny")
        return read_infer(request, explainers["tiny"], LIMITS)

    asked(make)


number = st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 8)
parameter = st.one_of(
    st.booleans().map(lambda value: pb.InferParameter(bool_param=value)),
    number.map(lambda value: pb.InferParameter(int64_param=value)),
    (words | st.text(max_size=9)).map(lambda value: pb.InferParameter(string_param=value)),
    st.just(pb.InferParameter()),
)
message = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("tiny"),
    model_version=st.sampled_from(["", "", "1"]),
    parameters=st.dictionaries(words | st.text(max_size=5), parameter, max_size=2),
    inputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferInputTensor,
            name=st.sampled_from(["image", "encoded_image", "x"]),
            datatype=st.sampled_from(["UINT8", "BYTES", "FP32", ""]),
            shape=st.sampled_from([[1], [1, 4, 4, 3], [1, 1]]) | st.lists(number, max_size=5),
            contents=st.none()
            | st.builds(
                pb.InferTensorContents,
                bytes_contents=st.lists(st.sampled_from(FILES) | st.binary(max_size=5), max_size=2),
                uint_contents=st.just([7] * 48) | st.lists(st.integers(0, 300), max_size=5),
            ),
        ),
        max_size=2,
    ),
    raw_input_contents=st.lists(
        st.binary(max_size=60) | st.just(bytes(48)) | st.just(len(FILES[0]).to_bytes(4, "little") + FILES[0]),
        max_size=2,
    ),
    outputs=st.lists(
        st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=st.sampled_from([*OUTPUTS, "x"])), max_size=2
    ),
)


@FUZZ
@given(message)
def test_calls(explainers, request):
    def make() -> ExplanationRequest:
        InferenceServicer.validate_grpc_request(request)
        return read_infer(InferRequest.from_grpc(request), explainers["tiny"], LIMITS)

    asked(make)


@FUZZ
@given(damaged(st.sampled_from(FILES)))
def test_image_files_through_everything(explainers, data):
    """What is not refused is explained."""
    try:
        explanation = explainers["tiny"].explain(EncodedImage("image", data), "all")
    except ImageError as error:
        check_reason(error)
        return
    assert np.isfinite(explanation.segment_scores).all()
    assert orjson.dumps(explanation.to_dict())


def test_some_of_it_is_understood(explainers):
    """The strategies' own words make requests: otherwise nothing behind the first check would be tried."""
    good = {"instances": [{"image": {"b64": B64}}], "parameters": {"classes": "all", "outputs": ["cam"]}}
    assert asked(lambda: read_instances(good, "", explainers["tiny"], LIMITS, explain=True)).outputs == ("cam",)
    body = {"inputs": [{"name": "encoded_image", "datatype": "BYTES", "shape": [1], "data": [B64]}]}
    request, _ = PLANE.decode(written(body), {}, "v2", "tiny")
    assert asked(lambda: read_infer(request, explainers["tiny"], LIMITS)) is not None
