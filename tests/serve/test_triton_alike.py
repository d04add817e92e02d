"""Triton's model and the server give every request the same answer, and refuse it in the same words."""

from __future__ import annotations

import base64
import functools
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from servers import encoded, png
from serving import Server
from triton_stub import InferenceRequest, InferenceResponse, TritonError, triton_model

from secam_onnx.default_model import default_model

pytest.importorskip("kserve")
from secam_onnx.serve.request.limits import RequestLimits
from secam_onnx.serve.request.parameters import OUTPUTS

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
Values = Sequence[bytes] | np.ndarray


@functools.cache
def photo(index: int = 0) -> bytes:
    return encoded(PIXELS[index])


@functools.cache
def flat(height: int, width: int) -> bytes:
    """Few bytes, many pixels."""
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def files(*images: bytes) -> dict[str, Values]:
    return {"encoded_image": images}


def request(inputs: Mapping[str, Values] | None = None, *outputs: str, **parameters: object) -> Callable[[], Any]:
    """A request; images are made when it is sent."""
    return lambda: (files(photo()) if inputs is None else inputs, outputs or ("class_logits",), parameters)


# Name: request, and what is said where it is refused.
REQUESTS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "one file": (request(None, *OUTPUTS), None),
    "two files of two sizes": (lambda: (files(photo(), png(90, (50, 40))), OUTPUTS, {"top_k": 3}), None),
    "pixels": (request({"image": PIXELS}, "class_ids", "class_logits", "segments", "overlay", top_k=2), None),
    "no superpixels": (request(None, "cam", "bias", "box", top_k=3), None),
    "a list of classes": (request(None, "class_ids", "class_labels", classes="tabby,285"), None),
    "a list of classes in JSON": (request(None, "class_ids", "class_labels", classes='["tabby", 285]', top_k=2), None),
    "an index": (request(None, "class_ids", classes=7), None),
    "all classes": (request(None, "segment_contributions", classes="all"), None),
    "superpixels": (request(None, "n_segments", "segments", n_segments=12), None),
    "parameters of the protocol": (request(None, timeout=5, priority=1, triton_x="y", binary_data_output=False), None),
    "an output twice": (request(None, "class_logits", "class_logits"), None),
    "most photographs": (request(files(*[png()] * 16)), None),
    "photographs": (request(files(*[png()] * 17)), "There are 17 photographs; 1 to 16 were expected"),
    "no photographs": (request({"image": PIXELS[:0]}), "There are 0 photographs"),
    "pixels of a file": (lambda: (files(flat(5001, 10_000)), ("class_logits",), {}), "over the limit of 50,000,000"),
    "maps": (request(files(*[png()] * 5), classes="all"), "5000 maps, over the limit of 4000"),
    "pictures": (request(files(*[png()] * 4), "overlay", top_k=17), "68 maps, over the limit of 64"),
    "drawn pixels": (
        lambda: (files(flat(3000, 4000)), ("overlay_png",), {"top_k": 10}),
        "The pictures would have 120,000,000 pixels, over the limit of 100,000,000",
    ),
    "pixels that are drawn on": (lambda: (files(*[flat(7000, 7000)] * 8), ("overlay",), {}), "392,000,000 pixels"),
    "values": (
        request(None, "segment_scores", classes="all", n_segments=500),
        "1000 classes and 500 superpixels make 500,000 values, over the limit of 400,000",
    ),
    "values that nobody wants": (request(None, classes="all", n_segments=500), None),
    "queries": (request(classes=json.dumps([0] * 1001)), "'classes' lists 1001 classes; list at most 1000"),
    "a long name": (request(classes="x" * 501), "No class has a name of 501 characters"),
    "an unknown class": (request(classes="tabbi"), "Unknown class 'tabbi'"),
    "an index out of range": (request(classes=1000), "1000 is out of range"),
    "no classes": (request(classes=""), "'classes' is empty"),
    "half a list": (request(classes="[1"), "'classes' is not a valid JSON list"),
    "a list of booleans": (request(classes="[true]"), "names, indices, top-K or all were expected"),
    "a boolean": (request(classes=True), "names, indices, top-K or all were expected"),
    "top-0": (request(classes="top-0"), "top-1 to top-1000"),
    **{
        f"{name} {value!r}": (request(None, **{name: value}), f"'{name}' is")
        for name in ("top_k", "n_segments")
        for value in (0, -1, 1001, "3", True)
    },
    "an unknown parameter": (request(topk=3), "Unknown parameter 'topk'"),
    "a parameter's old name": (request(segments=9), "'segments'; there are classes, n_segments, top_k."),
    "an output's old name": (request(None, "score"), "'score'; there are class_ids, class_labels, "),
    "outputs as a parameter": (request(outputs="cam"), "name them in the request's list of outputs"),
    "a setting of the protocol": (request(binary_data_output="no"), "true or false was expected"),
    "an unknown output": (request(None, "logits"), "Unknown output 'logits'; there are class_ids"),
    "no input": (request({}), "There are 0 inputs"),
    "two inputs": (request({"encoded_image": [b""], "image": PIXELS}), "There are 2 inputs"),
    "an empty file": (request(files(b"")), "encoded_image[0] is empty"),
    "no image": (request(files(photo(), b"no image")), "encoded_image[1] is not an image"),
    "a file that is cut off": (lambda: (files(photo()[:200]), ("class_logits",), {}), "encoded_image[0]"),
    "four channels": (request({"image": np.zeros((1, 8, 8, 4), np.uint8)}), "(N, H, W, 3) was expected"),
    "channels first": (request({"image": np.zeros((1, 3, 8, 8), np.uint8)}), "Channels come last"),
    "no rows": (request({"image": np.zeros((1, 0, 8, 3), np.uint8)}), "(N, H, W, 3) was expected"),
    "a picture of two pixels": (request({"image": np.zeros((1, 2, 2, 3), np.uint8)}), "2 x 2"),
}


@pytest.fixture(scope="module")
def alike(start: Callable[..., Server]) -> Server:
    """A server with the limits that it has by default."""
    return start("--timeout", "120")


@pytest.fixture(scope="module")
def triton() -> Iterator[Any]:
    with triton_model() as model:
        yield model


def of_server(server: Server, inputs: Mapping[str, Values], outputs: Sequence[str], parameters: object) -> Any:
    """The tensors of its answer, or its reason for none."""
    tensors = [
        {"name": name, "datatype": "UINT8", "shape": list(values.shape), "data": values.ravel().tolist()}
        if isinstance(values, np.ndarray)
        else {
            "name": name,
            "datatype": "BYTES",
            "shape": [len(values)],
            "data": [base64.b64encode(data).decode() for data in values],
        }
        for name, values in inputs.items()
    ]
    body = {"inputs": tensors, "outputs": [{"name": name} for name in outputs], "parameters": parameters}
    reply = server.post(f"/v2/models/{default_model().stem}/infer", body)
    if reply.status_code != 200:
        assert reply.status_code == 400, reply.text
        return reply.json()["error"]
    return {entry["name"]: entry for entry in reply.json()["outputs"]}


def of_triton(
    model: Any, inputs: Mapping[str, Values], outputs: Sequence[str], parameters: Mapping[str, object]
) -> Any:
    """The same of Triton's model."""
    (response,) = model.execute([InferenceRequest(as_arrays(inputs), parameters, outputs)])
    if response.error is not None:
        assert response.error.code == TritonError.INVALID_ARG
        return str(response.error)
    return response.tensors


def as_arrays(inputs: Mapping[str, Values]) -> dict[str, np.ndarray]:
    return {
        name: values if isinstance(values, np.ndarray) else np.array([*values, None], dtype=object)[:-1, None]
        for name, values in inputs.items()
    }


def as_array(name: str, entry: Mapping[str, Any]) -> np.ndarray:
    """A tensor of JSON as Triton's model has it."""
    if entry["datatype"] != "BYTES":
        kind = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8}
        return np.array(entry["data"], dtype=kind[entry["datatype"]]).reshape(entry["shape"])
    values = [text.encode() if name == "class_labels" else base64.b64decode(text) for text in entry["data"]]
    return np.array([*values, None], dtype=object)[:-1].reshape(entry["shape"])


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_answer(name: str, alike: Server, triton: Any) -> None:
    make, refusal = REQUESTS[name]
    inputs, outputs, parameters = make()
    found, expected = of_triton(triton, inputs, outputs, parameters), of_server(alike, inputs, outputs, parameters)
    if refusal is not None:
        assert found == expected
        assert refusal in found
        return
    assert not isinstance(found, str), found
    assert not isinstance(expected, str), expected
    assert list(found) == list(expected) == list(dict.fromkeys(outputs))
    for output, values in found.items():
        wanted = as_array(output, expected[output])
        assert (values.dtype, values.shape) == (wanted.dtype, wanted.shape), output
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, wanted, rtol=1e-3, atol=1e-4, err_msg=output)
        else:
            np.testing.assert_array_equal(values, wanted, err_msg=output)


def test_requests_in_one_run_keep_their_own_answers_and_errors(triton: Any) -> None:
    good = [InferenceRequest(as_arrays(files(photo(index))), {"top_k": 2 + index}, ["class_ids"]) for index in (0, 1)]
    bad = InferenceRequest(as_arrays(files(b"no image")), {}, ["class_ids"])
    first, failed, second = triton.execute([good[0], bad, good[1]])
    assert isinstance(failed, InferenceResponse)
    assert "not an image" in str(failed.error)
    for response, asked in ((first, good[0]), (second, good[1])):
        (alone,) = triton.execute([asked])
        np.testing.assert_array_equal(response.tensors["class_ids"], alone.tensors["class_ids"])
    assert (first.tensors["class_ids"].shape, second.tensors["class_ids"].shape) == ((1, 2), (1, 3))


def test_both_have_the_same_limits() -> None:
    from secam_onnx.serve.settings import Limits

    server, of_request = vars(Limits()), vars(RequestLimits())
    assert of_request == {name: server[name] for name in of_request}
