"""The OpenAPI description of the server, written out as FastAPI knows too little of the SDK's routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secam_onnx.serve.request.input_images import ENCODED, PIXELS
from secam_onnx.serve.request.limits import RequestLimits
from secam_onnx.serve.request.parameters import EXTRAS, OUTPUTS

__all__ = ["Schema", "description"]

Schema = dict[str, Any]

_JSON, _BINARY, _PNG = "application/json", "application/octet-stream", "image/png"
_IMAGES = ("image/jpeg", _PNG, "image/webp")

_REASONS = {
    400: "Bad input; the error says what was found and what was expected.",
    401: "The key is missing or unknown.",
    403: "A web page of another site sent this; or models, which are chosen when the server starts.",
    404: "Unknown model.",
    405: "Method not allowed.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The content type is neither JSON nor an image.",
    421: "The Host is no name of this server.",
    429: "Too many photographs are waiting, or the memory set aside is full; Retry-After says when to try again.",
    502: "The predictor does not answer.",
    503: "The model is not ready yet, or too many connections are open.",
    504: "The answer took too long.",
}


def description(models: Sequence[str], limits: RequestLimits, version: str, *, keys: bool) -> Schema:
    """Make an OpenAPI 3.1 document.

    Parameters
    ----------
    models : sequence of str
        Names of the models.
    limits : RequestLimits
        What one request may ask for.
    version : str
        Version of this package.
    keys : bool
        Whether requests must bring a key.
    """
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "secam-onnx",
            "version": version,
            "summary": "What does an image classifier see in a photograph, and why?",
            "description": "KServe's protocol version 1, and the Open Inference Protocol (version 2).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(models, limits),
        "components": {
            "schemas": {"Error": _object(error=_STRING)},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
    if keys:
        document["security"] = [{"bearer": []}, {"key": []}]
    return document


def _paths(models: Sequence[str], limits: RequestLimits) -> Schema:
    about = _object(name=_STRING, version=_STRING, extensions=_array(_STRING))
    explained = _version_1("explain", "Classes, and why the model sees them.", _explained(), models, limits)
    return {
        "/v1/models": _get("List models.", _object(models=_array(_STRING))),
        "/v1/models/{model_name}": _get("Is the model ready?", _READY, models),
        "/v1/models/{model_name}:predict": _version_1(
            "predict", "The most probable classes.", _predicted(), models, limits
        ),
        "/v1/models/{model_name}:explain": explained,
        "/v2": _get("Name and version of the server.", about),
        "/v2/health/live": _get("Is the server alive?", _object(live=_BOOL)),
        "/v2/health/ready": _get("Has every model explained a first picture?", _object(ready=_BOOL), errors=(503,)),
        "/v2/models": _get("List models.", _object(models=_array(_STRING))),
        "/v2/models/{model_name}": _get("Inputs and outputs of the model.", _METADATA, models),
        "/v2/models/{model_name}/ready": _get("Is the model ready?", _READY, models),
        "/v2/models/{model_name}/infer": _infer(models, limits),
        **{f"/v2/repository/models/{{model_name}}/{verb}": _refused(verb, models) for verb in ("load", "unload")},
    }


def _refused(verb: str, models: Sequence[str]) -> Schema:
    operation = {
        "operationId": verb,
        "summary": "Refused: models are chosen when the server starts.",
        "parameters": [_of(models)],
        "responses": _errors(401, 403, 421),
    }
    return {"post": operation}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _optional(schema: Schema, *names: str) -> Schema:
    """The same schema, with these properties optional."""
    return schema | {"required": [name for name in schema["required"] if name not in names]}


def _closed(schema: Schema) -> Schema:
    """The same schema, without further properties."""
    return schema | {"additionalProperties": False}


def _array(items: Schema, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


_STRING, _BOOL, _NUMBER, _INTEGER = ({"type": kind} for kind in ("string", "boolean", "number", "integer"))
_LENGTH: Schema = {"type": "integer", "minimum": 0}
_FILE: Schema = {"type": "string", "contentEncoding": "base64", "format": "image-base64"}
_CLASS: Schema = {
    "description": "An index, a name, top-K or all; index:2 or name:2 if digits could be either.",
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1, "maxLength": 500}],
}
_READY = _object(name=_STRING, ready=_BOOL)
_TENSOR = _object(name=_STRING, datatype=_STRING, shape=_array(_INTEGER))
_METADATA = _object(name=_STRING, platform=_STRING, inputs=_array(_TENSOR), outputs=_array(_TENSOR))
_PREDICTION: dict[str, Any] = {
    "index": _INTEGER,
    "label": _STRING,
    "probability": {"type": ["number", "null"]},
    "logit": _NUMBER,
}


def _top_k() -> Schema:
    return {"type": "integer", "minimum": 1, "description": "How many classes, highest first."}


def _n_segments(limits: RequestLimits) -> Schema:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.max_segments,
        "description": "How many superpixels to make, about.",
    }


def _predicted() -> Schema:
    return _object(predictions=_array(_array(_object(**_PREDICTION), minItems=1)))


def _explained() -> Schema:
    picture = _object(b64=_FILE)
    superpixel = _object(segment_id=_INTEGER, score=_NUMBER, contribution=_NUMBER, kept=_BOOL, in_padding=_BOOL)
    numbers = _PREDICTION | {"bias": _NUMBER, "gap": _NUMBER, "superpixels": _array(superpixel)}
    share = {"bias_share": {"type": ["number", "null"]}}
    extras = share | {"cam": _array(_array(_NUMBER)), "overlay": picture, "heatmap": picture, "panel": picture}
    of_class = _optional(_object(**numbers, **extras), *extras)
    explanation = _object(
        schema=_INTEGER,
        predictions=_array(_object(**_PREDICTION)),
        classes=_array(of_class, minItems=1),
        completeness_error=_NUMBER,
        method={"type": "object"},
        selection={"type": "object"},
        geometry={"type": "object"},
        timings_ms={"type": "object", "additionalProperties": _NUMBER},
        segments=picture,
    )
    return _object(explanations=_array(_optional(explanation, "segments"), minItems=1))


def _version_1(verb: str, summary: str, answer: Schema, models: Sequence[str], limits: RequestLimits) -> Schema:
    parameters: dict[str, Schema] = {"top_k": _top_k()}
    query = [_in_query("top_k", _top_k())]
    content: Schema = {_JSON: {"schema": answer}}
    if verb == "explain":
        outputs = _array({"enum": list(EXTRAS)})
        parameters |= {
            "classes": {"anyOf": [*_CLASS["anyOf"], _array(_CLASS, minItems=1)]},
            "n_segments": _n_segments(limits),
            "outputs": outputs,
        }
        query += [
            _in_query("class", _array({"type": "string"}), explode=True),
            _in_query("n_segments", _n_segments(limits)),
            _in_query("outputs", outputs | {"minItems": 1}, explode=False),
        ]
        content[_PNG] = {"schema": {}}
    instance = _closed(_object(image=_closed(_object(b64=_FILE))))
    body = _object(
        instances=_array(instance, minItems=1, maxItems=limits.max_images),
        parameters=_closed(_optional(_object(**parameters), *parameters)),
    )
    body = _closed(_optional(body, "parameters"))
    operation = {
        "operationId": verb,
        "summary": summary,
        "description": "Photographs in JSON; or one image file as the body, with parameters in the URL.",
        "parameters": [_of(models), *query],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": body}, **{kind: {"schema": {}} for kind in _IMAGES}},
        },
        "responses": {"200": {"description": summary, "content": content}} | _errors(*_POSTED),
    }
    return {"post": operation}


def _infer(models: Sequence[str], limits: RequestLimits) -> Schema:
    content = {_JSON: {"schema": _tensors()}, _BINARY: {"schema": {}}}
    operation = {
        "operationId": "infer",
        "summary": "Predictions and explanations as tensors.",
        "description": "In JSON, or with binary tensors after it (the binary tensor data extension).",
        "parameters": [_of(models)],
        "requestBody": {"required": True, "content": {_JSON: {"schema": _inference_request(limits)}}},
        "responses": {"200": {"description": "Tensors.", "content": content}} | _errors(*_POSTED),
    }
    return {"post": operation}


def _inference_request(limits: RequestLimits) -> Schema:
    images = _object(
        name={"const": ENCODED},
        datatype={"const": "BYTES"},
        shape=_array(_LENGTH, minItems=1, maxItems=2),
        data=_array(_FILE, minItems=1, maxItems=limits.max_images),
    )
    pixels = _object(
        name={"const": PIXELS},
        datatype={"const": "UINT8"},
        shape=_array(_LENGTH, minItems=4, maxItems=4),
        data={"type": "array"},
    )
    binary = _closed(_optional(_object(binary_data=_BOOL), "binary_data"))
    output = _optional(_object(name={"enum": list(OUTPUTS)}, parameters=binary), "parameters")
    parameters = {
        "classes": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}]},
        "top_k": _top_k(),
        "n_segments": _n_segments(limits),
        "binary_data_output": _BOOL,
    }
    body = _object(
        id=_STRING,
        parameters=_optional(_object(**parameters), *parameters),
        inputs=_array({"anyOf": [images, pixels]}, minItems=1, maxItems=1),
        outputs=_array(output),
    )
    return _optional(body, "id", "parameters", "outputs")


def _tensors() -> Schema:
    value = {"anyOf": [_STRING, _INTEGER, _NUMBER, _BOOL]}
    found = _object(
        name={"enum": list(OUTPUTS)},
        datatype={"enum": ["FP32", "INT32", "INT64", "UINT8", "BYTES"]},
        shape=_array(_LENGTH),
        parameters={"type": "object", "additionalProperties": value},
        data=_array({"anyOf": [_NUMBER, _STRING]}),
    )
    found = _optional(found, "parameters", "data")
    return _object(model_name=_STRING, id=_STRING, outputs=_array(found, minItems=1))


_POSTED = (400, 401, 403, 404, 408, 413, 415, 421, 429, 502, 503, 504)


def _get(summary: str, answer: Schema, models: Sequence[str] = (), errors: Sequence[int] = ()) -> Schema:
    failures = (401, 403, 404, 421, 503) if models else (401, 403, 421, *errors)
    operation = {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {_JSON: {"schema": answer}}}} | _errors(*failures),
    }
    return {"get": operation | ({"parameters": [_of(models)]} if models else {})}


def _of(models: Sequence[str]) -> Schema:
    return {"name": "model_name", "in": "path", "required": True, "schema": {"enum": list(models)}}


def _in_query(name: str, schema: Schema, **more: object) -> Schema:
    said = "May be given here or in the body's 'parameters'."
    return {"name": name, "in": "query", "required": False, "description": said, "schema": schema, **more}


def _errors(*statuses: int) -> Schema:
    content = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": _REASONS[status], "content": content} for status in statuses}
