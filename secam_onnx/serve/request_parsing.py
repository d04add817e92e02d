"""Reads requests of either version of the protocol, and checks them before any work is done."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from secam_onnx.explainer import Explainer
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.serve.kserve_sdk import InferInput, InferRequest, to_http_parameters
from secam_onnx.serve.request.drawing import PICTURE_KINDS
from secam_onnx.serve.request.infer import check_bool, infer_request, of_protocol
from secam_onnx.serve.request.input_images import InputTensor, images_of_instances
from secam_onnx.serve.request.parameters import ExplanationRequest, explanation_request, prediction_request
from secam_onnx.serve.request_errors import MalformedError
from secam_onnx.serve.settings import Limits
from secam_onnx.shown_text import quoted

__all__ = ["forwardable", "read_file", "read_infer", "read_instances"]

_BINARY = "binary_data"


def read_instances(body: Any, query: str, explainer: Explainer, limits: Limits, *, explain: bool) -> ExplanationRequest:
    """Read `{"instances": [{"image": {"b64": ...}}, ...], "parameters": {...}}`; parameters may also be in the URL.

    Raises
    ------
    MalformedError, OptionError
        The message says what was found and what was expected.
    ClassError
        A class that the model does not have.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("instances"), list):
        raise MalformedError(
            'A JSON object was expected: {"instances": [{"image": {"b64": "..."}}]}. Or send a JPEG, PNG or WebP file '
            "as the body, with its Content-Type."
        )
    unknown = set(body) - {"instances", "parameters"}
    if unknown:
        raise MalformedError(f"Unknown entry {quoted(min(unknown))}; 'instances' and 'parameters' were expected.")
    images = images_of_instances(body["instances"], limits)
    parameters = _with_fields(body.get("parameters"), query)
    return (
        explanation_request(images, parameters, explainer, limits)
        if explain
        else prediction_request(images, parameters, explainer)
    )


def read_file(
    body: bytes, query: str, explainer: Explainer, limits: Limits, *, explain: bool, picture: bool = False
) -> ExplanationRequest:
    """Read one image file sent as the body, with parameters in the URL; raises as `read_instances`.

    If a `picture` is wanted instead of numbers, it is the first one among the outputs, or the panel.
    """
    images, parameters = [EncodedImage("the image", body)], _fields(query)
    if not explain:
        return prediction_request(images, parameters, explainer)
    if picture and not set(parameters.get("outputs", ())) & set(PICTURE_KINDS):
        parameters["outputs"] = [*parameters.get("outputs", ()), "panel"]
    return explanation_request(images, parameters, explainer, limits)


def forwardable(body: Any, query: str) -> Any:
    """A request of version 1 for another server: JSON with all parameters in the body.

    Raises
    ------
    MalformedError
        The URL has other things than parameters, or one that is in the body already.
    """
    if isinstance(body, bytes):
        body = {"instances": [{"image": {"b64": base64.b64encode(body).decode()}}]}
    if not query or not isinstance(body, Mapping):
        return body
    return {**body, "parameters": _with_fields(body.get("parameters"), query)}


def read_infer(request: InferRequest, explainer: Explainer, limits: Limits) -> ExplanationRequest:
    """Read an `infer` request; raises as `read_instances`, and ImageError for pixels that are not a picture."""
    if request.model_version:
        raise MalformedError(f"Unknown version {quoted(request.model_version)}; models have no versions here.")
    for entry in request.request_outputs or []:
        _check_output_parameters(entry.name, entry.parameters or {})
    inputs = [_input_tensor(given) for given in request.inputs]
    names = [entry.name for entry in request.request_outputs or []]
    return infer_request(inputs, _parameters(request), names, explainer, limits)


def _input_tensor(given: InferInput) -> InputTensor:
    values = given.data if isinstance(given.data, list) else []
    raw, given._raw_data = given._raw_data, None  # the images are copies of it, or the only ones to hold it
    return InputTensor(given.name, given.datatype, given.shape, values, raw, given.parameters or {})


def _check_output_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    unknown = set(parameters) - {_BINARY}
    if unknown:
        raise MalformedError(
            f"Output {quoted(name)} has an unknown parameter {quoted(min(unknown))}; only {_BINARY!r} exists."
        )
    check_bool(parameters, _BINARY)


def _parameters(request: InferRequest) -> dict[str, Any]:
    given = request.parameters or {}
    readable = to_http_parameters(given)
    for name in given:
        if name not in readable and not of_protocol(name):  # the SDK leaves out kinds that it does not know
            raise MalformedError(f"Parameter {quoted(name)} is of an unknown kind; bool, int64 or string was expected.")
    return dict(readable)


def _with_fields(parameters: Any, query: str) -> dict[str, Any]:
    if parameters is not None and not isinstance(parameters, Mapping):
        raise MalformedError(f"'parameters' is {quoted(parameters)}; an object was expected.")
    fields = _fields(query)
    both = set(fields) & set(parameters or {})
    if both:
        raise MalformedError(f"{quoted(min(both))} is both in the URL and in the body; give it once.")
    return {**(parameters or {}), **fields}


def _fields(query: str) -> dict[str, Any]:
    """Parameters in a URL: `class`, which may come several times, and the others as in JSON."""
    try:
        fields = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=50)
    except ValueError as error:
        raise MalformedError(f"The URL's parameters do not have the form ?class=tabby&top_k=3 ({error}).") from error
    classes = fields.pop("class", [])
    parameters: dict[str, Any] = {}
    for name, values in fields.items():
        if len(values) > 1:
            raise MalformedError(f"{quoted(name)} comes {len(values)} times; give it once.")
        parameters[name] = values[0]
    if classes and "classes" in parameters:
        raise MalformedError("Both 'class' and 'classes' are given; give one of them.")
    if classes:
        parameters["classes"] = classes
    for name in ("top_k", "n_segments"):
        if name in parameters:
            parameters[name] = _whole_number(parameters[name], name)
    if "outputs" in parameters:
        parameters["outputs"] = parameters["outputs"].split(",")
    return parameters


def _whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10):
        raise MalformedError(f"{name!r} is {quoted(text)}; a whole number was expected.")
    return int(text)
