"""KServe's data plane, where it must not guess: bad requests are bad requests, and readiness is what it is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import orjson
from pydantic import ValidationError

from secam_onnx.serve.kserve_sdk import (
    DataPlane,
    InferenceRequest,
    InferenceVerb,
    InferInput,
    InferRequest,
    InvalidInput,
    ModelRepositoryExtension,
    PredictorProtocol,
    RequestedOutput,
)
from secam_onnx.serve.request.shown import shown
from secam_onnx.serve.request_errors import ForbiddenError, MalformedError, UnknownKindError

__all__ = ["MOST_ENTRIES", "ExplainerDataPlane", "FixedRepository"]

_LENGTH, _SIZE = "inference-header-content-length", "binary_data_size"
_BYTES, _EVENT = "application/octet-stream", "application/cloudevents+json"
_FILE = "image/*"

MOST_ENTRIES = 100
"""Tensors, axes or parameters in one request; far above what any has."""

_MOST_LISTS = 1_000_000  # a batch of 16 pictures of 224 x 224, nested to the last channel, has 800,000


class ExplainerDataPlane(DataPlane):
    """The SDK's, mended where bad input would end in an internal error, and headers would be sent back."""

    async def ready(self) -> bool:
        """Whether every model has explained its first picture."""
        models = self.model_registry.get_models()
        return bool(models) and all([await self.model_registry.is_model_ready(name) for name in models])

    async def explain(
        self, model_name: str, request: Any, headers: dict[str, str] | None = None
    ) -> tuple[Any, dict[str, str]]:
        """As the SDK's, whose response has all headers of the request, its key included."""
        model = await self.get_model(model_name)
        return await model(request, headers=headers, verb=InferenceVerb.EXPLAIN)

    def metadata(self) -> dict[str, Any]:
        """What the server calls itself; the SDK names itself, and an extension that is closed here."""
        return {"name": "secam-onnx", "version": version("secam-onnx"), "extensions": ["binary_tensor_data"]}

    def decode(
        self,
        body: Any,
        headers: Mapping[str, str],
        protocol_version: str = PredictorProtocol.REST_V1.value,
        model_name: str | None = None,
    ) -> Any:
        """As the SDK's; a content type that is JSON's may say more, and what is no image is not taken for one.

        Raises
        ------
        MalformedError
            The body cannot be understood.
        UnknownKindError
            Its content type is neither JSON's nor an image's.
        """
        if isinstance(body, bytes):
            images = protocol_version == PredictorProtocol.REST_V1.value
            headers = {**headers, "content-type": _kind(body, headers, images=images)}
            if images and headers["content-type"] in ("application/json", _EVENT):
                _check_nesting(body)
        try:
            return super().decode(body, headers, protocol_version, model_name)
        except (InvalidInput, MalformedError):
            raise
        except Exception as error:  # of many kinds, wherever it looks into what is not there
            raise MalformedError(f"The request cannot be understood ({type(error).__name__}: {error}).") from error

    def encode(
        self, model_name: str, response: Any, headers: Mapping[str, str], req_attributes: dict[str, Any]
    ) -> tuple[Any, dict[str, str]]:
        """As the SDK's, which puts bytes into an event as base64."""
        if isinstance(response, bytes) and headers.get("content-type") == _EVENT:
            response = orjson.loads(response)
        return super().encode(model_name, response, headers, req_attributes)

    def decode_inference_request(
        self, body: bytes | InferenceRequest, headers: Mapping[str, str], model_name: str
    ) -> InferRequest:
        """A request of version 2 over HTTP.

        The SDK turns each byte of a tensor into an object of Python, and fails on bytes that are no text.
        """
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        length = headers.get(_LENGTH, str(len(body)))
        if not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
            raise MalformedError(
                f"{_LENGTH} is {shown(length)}; the length of the JSON before the tensors was expected, of the "
                f"{len(body)} bytes that came."
            )
        head, tail = body[: int(length)], memoryview(body)[int(length) :]
        request = _validated(head)
        inputs, start = [], 0
        for tensor in request.inputs:
            made = InferInput(tensor.name, tensor.shape, tensor.datatype, tensor.data, tensor.parameters)
            size = (tensor.parameters or {}).get(_SIZE)
            if size is not None:
                if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail) - start:
                    raise MalformedError(
                        f"Input {shown(tensor.name)} has a {_SIZE} of {shown(size)}; {len(tail) - start} bytes are "
                        "left."
                    )
                made._raw_data = bytes(tail[start : start + size])
                start += size
            inputs.append(made)
        if start != len(tail):
            raise MalformedError(f"{len(tail) - start} bytes follow the tensors; {_SIZE} says how many are theirs.")
        wanted = [RequestedOutput(output.name, output.parameters) for output in request.outputs or []]
        return InferRequest(
            model_name, inputs, request.id, parameters=request.parameters, request_outputs=wanted or None
        )


class FixedRepository(ModelRepositoryExtension):
    """No request loads or unloads a model."""

    async def load(self, model_name: str) -> None:
        raise ForbiddenError("Models are chosen when the server starts; start it again to read them anew.")

    async def unload(self, model_name: str) -> None:
        raise ForbiddenError("Models are chosen when the server starts; start it again without this one.")


def _kind(body: bytes, headers: Mapping[str, str], *, images: bool) -> str:
    """The content type as the SDK knows it: JSON's, that of an event, or another one for bytes."""
    given = headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if images and kind in ("", _BYTES):  # of clients that do not say what they send, for which the SDK takes JSON
        return "application/json" if body.lstrip()[:1] in (b"{", b"[", b"") else _FILE
    if not kind or kind == "application/json" or kind.endswith("+json"):
        return kind if kind == _EVENT else "application/json"
    if kind == _BYTES or (images and kind.startswith("image/")) or "ce-specversion" in headers:
        return kind
    raise UnknownKindError(
        f"Content-Type is {shown(given)}; application/json was expected, or "
        + ("that of an image, such as image/jpeg." if images else f"{_BYTES} where tensors follow it.")
    )


def _check_nesting(text: bytes) -> None:
    """Refuse JSON of millions of lists, each of which would become an object."""
    lists = text.count(b"[") + text.count(b"{")
    if lists > _MOST_LISTS:
        raise MalformedError(
            f"The JSON has {lists:,} lists and objects; at most {_MOST_LISTS:,} are read. Send binary tensors."
        )


def _validated(head: bytes) -> InferenceRequest:
    _check_nesting(head)
    try:
        given = orjson.loads(head)
        _check_lengths(given)
        for tensor in given["inputs"]:
            if _SIZE in (tensor.get("parameters") or {}):
                if tensor.get("data"):
                    raise MalformedError(f"Input {shown(tensor.get('name'))} has both 'data' and {_SIZE!r}.")
                tensor["data"] = []
        return InferenceRequest.model_validate(given, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MalformedError(
            f"The request is no inference request of version 2 ({where}: {first['msg']}, not {shown(first['input'])})."
        ) from error
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"The request is no JSON ({error}).") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(
            'The request is no inference request of version 2, {"inputs": [{"name", "shape", "datatype", "data"}]}.'
        ) from error


def _check_lengths(given: Mapping[str, Any]) -> None:
    """Refuse lists without end, but for tensors: pydantic makes a kilobyte of objects of each wrong entry."""
    tensors = [entry for name in ("inputs", "outputs") if isinstance(given.get(name), list) for entry in given[name]]
    for entry in (given, *tensors):
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if name != "data":
                _check_length(name, value)


def _check_length(name: str, value: Any) -> None:
    if isinstance(value, list | dict) and len(value) > MOST_ENTRIES:
        raise MalformedError(f"{shown(name)} has {len(value)} entries; at most {MOST_ENTRIES} were expected.")
