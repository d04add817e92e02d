"""What a request asks, of either version of the protocol, checked before any work is done for it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from kserve import InferRequest
from kserve.protocol.infer_type import to_http_parameters

from secam_onnx.explainer import Explainer
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.serve import photographs
from secam_onnx.serve.failures import MalformedError, shown
from secam_onnx.serve.parameters import (
    DRAWN,
    OUTPUTS,
    PICTURES,
    Question,
    check_names,
    explanations,
    predictions,
)
from secam_onnx.serve.settings import Limits

__all__ = ["forwardable", "infer_question", "instances_question", "raw_question"]

# Of the protocol itself and its clients, besides ours.
_IGNORED = {"content_type", "headers", "priority", "sequence_end", "sequence_id", "sequence_start", "timeout"}
_BINARY_DEFAULT, _BINARY = "binary_data_output", "binary_data"


def instances_question(body: Any, query: str, explainer: Explainer, limits: Limits, *, explain: bool) -> Question:
    """Of `{"instances": [{"image": {"b64": ...}}, ...], "parameters": {...}}`; parameters may be in the address, too.

    Raises
    ------
    MalformedError
        It says what was found and what was expected.
    ClassError
        A class that the model does not have.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("instances"), list):
        raise MalformedError(
            'A JSON object was expected: {"instances": [{"image": {"b64": "..."}}]}; or send a JPEG, PNG or WebP file '
            "as it is, with its Content-Type."
        )
    unknown = set(body) - {"instances", "parameters"}
    if unknown:
        raise MalformedError(f"Unknown entry {shown(min(unknown))}; there are 'instances' and 'parameters'.")
    images = photographs.of_instances(body["instances"], limits)
    parameters = _with_fields(body.get("parameters"), query)
    return (
        explanations(images, parameters, explainer, limits) if explain else predictions(images, parameters, explainer)
    )


def raw_question(
    body: bytes, query: str, explainer: Explainer, limits: Limits, *, explain: bool, picture: bool = False
) -> Question:
    """Of one image file as it is, with parameters in the address; raises as `instances_question`.

    Where a `picture` is wanted in place of the numbers, it is the first one among the outputs, or the panel.
    """
    images, parameters = [EncodedImage("the image", body)], _fields(query)
    if not explain:
        return predictions(images, parameters, explainer)
    if picture and not set(parameters.get("outputs", ())) & set(DRAWN):
        parameters["outputs"] = [*parameters.get("outputs", ()), "panel"]
    return explanations(images, parameters, explainer, limits)


def forwardable(body: Any, query: str) -> Any:
    """A request of version 1 in JSON with all parameters in it, of a body in JSON or of an image file as it is.

    Raises
    ------
    MalformedError
        The address has other things than parameters, or such as are in the body already.
    """
    if isinstance(body, bytes):
        body = {"instances": [{"image": {"b64": base64.b64encode(body).decode()}}]}
    if not query or not isinstance(body, Mapping):
        return body
    return {**body, "parameters": _with_fields(body.get("parameters"), query)}


def infer_question(request: InferRequest, explainer: Explainer, limits: Limits) -> Question:
    """Of an `infer` request; raises as `instances_question`, and ImageError for pixels that are no picture."""
    if request.model_version:
        raise MalformedError(f"There is no version {shown(request.model_version)}; models have none here.")
    if len(request.inputs) != 1:
        found = shown([given.name for given in request.inputs])
        raise MalformedError(
            f"There are {len(request.inputs)} inputs, {found}; one was expected, {photographs.ENCODED!r} or "
            f"{photographs.PIXELS!r}."
        )
    names = _wanted(request)
    parameters = _parameters(request)
    if "outputs" in parameters:
        raise MalformedError("'outputs' is no parameter of infer; name them in the request's list of outputs.")
    images = photographs.of_tensor(request.inputs[0], limits)
    return explanations(images, parameters, explainer, limits, outputs=names)


def _wanted(request: InferRequest) -> tuple[str, ...]:
    for entry in request.request_outputs or []:
        given = entry.parameters or {}
        unknown = set(given) - {_BINARY}
        if unknown:
            raise MalformedError(
                f"Output {shown(entry.name)} has a parameter {shown(min(unknown))}; there is {_BINARY!r}."
            )
        _check_bool(given, _BINARY)
    names = tuple(dict.fromkeys(entry.name for entry in request.request_outputs or []))
    check_names(names, OUTPUTS)
    return names or tuple(name for name in OUTPUTS if name not in PICTURES)


def _parameters(request: InferRequest) -> dict[str, Any]:
    """Those that are ours."""
    given = request.parameters or {}
    readable = to_http_parameters(given)
    parameters = {}
    for name in given:
        if name in _IGNORED or name.startswith("triton_"):
            continue
        if name not in readable:  # the SDK leaves out what it does not know
            raise MalformedError(f"Parameter {shown(name)} is of a kind that is not known; bool, int64 and string are.")
        parameters[name] = readable[name]
    _check_bool(parameters, _BINARY_DEFAULT)
    parameters.pop(_BINARY_DEFAULT, None)
    return parameters


def _check_bool(given: Mapping[str, Any], name: str) -> None:
    if not isinstance(given.get(name, True), bool):
        raise MalformedError(f"{name!r} is {shown(given[name])}; true or false was expected.")


def _with_fields(parameters: Any, query: str) -> dict[str, Any]:
    if parameters is not None and not isinstance(parameters, Mapping):
        raise MalformedError(f"'parameters' is {shown(parameters)}; an object was expected.")
    fields = _fields(query)
    both = set(fields) & set(parameters or {})
    if both:
        raise MalformedError(f"{shown(min(both))} is both in the address and in the body; one of them was expected.")
    return {**(parameters or {}), **fields}


def _fields(query: str) -> dict[str, Any]:
    """Parameters in an address: `class`, which may come several times, and the others as in JSON."""
    try:
        fields = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=50)
    except ValueError as error:
        raise MalformedError(f"The address has no parameters of the form ?class=tabby&top_k=3 ({error}).") from error
    classes = fields.pop("class", [])
    parameters: dict[str, Any] = {}
    for name, values in fields.items():
        if len(values) > 1:
            raise MalformedError(f"{shown(name)} is there {len(values)} times; once was expected.")
        parameters[name] = values[0]
    if classes and "classes" in parameters:
        raise MalformedError("Both 'class' and 'classes' are there; one of them was expected.")
    if classes:
        parameters["classes"] = classes
    for name in ("top_k", "segments"):
        if name in parameters:
            parameters[name] = _whole_number(parameters[name], name)
    if "outputs" in parameters:
        parameters["outputs"] = parameters["outputs"].split(",")
    return parameters


def _whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10):
        raise MalformedError(f"{name!r} is {shown(text)}; a whole number was expected.")
    return int(text)
