"""KServe's data plane, with bad requests answered as such and readiness reported as it is."""

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
from secam_onnx.serve.request_errors import ForbiddenError, MalformedError, StuckError, UnknownKindError
from secam_onnx.shown_text import quoted

__all__ = ["MOST_ENTRIES", "ExplainerDataPlane", "FixedRepository"]

_LENGTH, _SIZE = "inference-header-content-length", "binary_data_size"
_BYTES, _EVENT = "application/octet-stream", "application/cloudevents+json"
_FILE = "image/*"

MOST_ENTRIES = 100
"""Tensors, axes or parameters in one request; far above what a sensible one has."""

_MOST_LISTS = 1_000_000  # a batch of 16 pictures of 224 x 224, nested to the last channel, has 800,000


class ExplainerDataPlane(DataPlane):
    """The SDK's data plane, corrected where bad input causes an internal error and where it returns request headers."""

    trouble: str | None = None
    """What is wrong with this process, if only a restart mends it."""

    async def live(self) -> dict[str, str]:
        """Say that this process is alive.

        Raises
        ------
        StuckError
            It must be restarted.
        """
        if self.trouble is not None:
            raise StuckError(f"The server must be restarted: {self.trouble}.")
        return {"status": "alive"}

    async def ready(self) -> bool:
        """Whether every model has explained a first picture."""
        models = self.model_registry.get_models()
        return bool(models) and all([await self.model_registry.is_model_ready(name) for name in models])

    async def explain(
        self, model_name: str, request: Any, headers: dict[str, str] | None = None
    ) -> tuple[Any, dict[str, str]]:
        """Explain; the SDK would return all headers of the request, its key included."""
        model = await self.get_model(model_name)
        return await model(request, headers=headers, verb=InferenceVerb.EXPLAIN)

    def metadata(self) -> dict[str, Any]:
        """Name and version of this server; the SDK would give its own, and an extension that is not offered here."""
        return {"name": "secam-onnx", "version": version("secam-onnx"), "extensions": ["binary_tensor_data"]}

    def decode(
        self,
        body: Any,
        headers: Mapping[str, str],
        protocol_version: str = PredictorProtocol.REST_V1.value,
        model_name: str | None = None,
    ) -> Any:
        """Decode a body; unlike in the SDK, JSON's content type may have parameters, and only images pass as images.

        Raises
        ------
        MalformedError
            The body cannot be understood.
        UnknownKindError
            The content type is neither that of JSON nor that of an image.
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
        except Exception as error:  # of many kinds, as the SDK does not check what it reads
            raise MalformedError(
                f"The request cannot be understood ({type(error).__name__}: {error}); check it against /openapi.json."
            ) from error

    def encode(
        self, model_name: str, response: Any, headers: Mapping[str, str], req_attributes: dict[str, Any]
    ) -> tuple[Any, dict[str, str]]:
        """Encode a response; the SDK would put bytes into an event as base64."""
        if isinstance(response, bytes) and headers.get("content-type") == _EVENT:
            response = orjson.loads(response)
        return super().encode(model_name, response, headers, req_attributes)

    def decode_inference_request(
        self, body: bytes | InferenceRequest, headers: Mapping[str, str], model_name: str
    ) -> InferRequest:
        """Decode a request of version 2 over HTTP.

        The SDK turns each byte of a tensor into a Python object, and fails on bytes that are not text.
        """
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        length = headers.get(_LENGTH, str(len(body)))
        if not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
            raise MalformedError(
                f"{_LENGTH} is {quoted(length)}; the length of the JSON before the tensors was expected, at most the "
                f"{len(body)} bytes of the body."
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
                        f"Input {quoted(tensor.name)} has a {_SIZE} of {quoted(size)}; {len(tail) - start} bytes are "
                        "left in the body."
                    )
                made._raw_data = bytes(tail[start : start + size])
                start += size
            inputs.append(made)
        if start != len(tail):
            raise MalformedError(
                f"{len(tail) - start} bytes follow the tensors; the {_SIZE} of each input must add up to all bytes."
            )
        wanted = [RequestedOutput(output.name, output.parameters) for output in request.outputs or []]
        return InferRequest(
            model_name, inputs, request.id, parameters=request.parameters, request_outputs=wanted or None
        )


class FixedRepository(ModelRepositoryExtension):
    """Refuses to load or unload models on request."""

    async def load(self, model_name: str) -> None:
        raise ForbiddenError("Models are chosen when the server starts; restart it to read them again.")

    async def unload(self, model_name: str) -> None:
        raise ForbiddenError("Models are chosen when the server starts; restart it without this one.")


def _kind(body: bytes, headers: Mapping[str, str], *, images: bool) -> str:
    """The content type in the SDK's terms: JSON, an event, or another one for bytes."""
    given = headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if images and kind in ("", _BYTES):  # the client does not say what it sends; the SDK would assume JSON
        return "application/json" if body.lstrip()[:1] in (b"{", b"[", b"") else _FILE
    if not kind or kind == "application/json" or kind.endswith("+json"):
        return kind if kind == _EVENT else "application/json"
    if kind == _BYTES or (images and kind.startswith("image/")) or "ce-specversion" in headers:
        return kind
    raise UnknownKindError(
        f"Content-Type is {quoted(given)}; application/json was expected, or "
        + ("that of an image, such as image/jpeg." if images else f"{_BYTES} if binary tensors follow the JSON.")
    )


def _check_nesting(text: bytes) -> None:
    """Refuse JSON with millions of lists, each of which would become a Python object."""
    lists = text.count(b"[") + text.count(b"{")
    if lists > _MOST_LISTS:
        raise MalformedError(
            f"The JSON has {lists:,} lists and objects; at most {_MOST_LISTS:,} are accepted. Send binary tensors."
        )


def _validated(head: bytes) -> InferenceRequest:
    _check_nesting(head)
    try:
        given = orjson.loads(head)
        _check_lengths(given)
        for tensor in given["inputs"]:
            if _SIZE in (tensor.get("parameters") or {}):
                if tensor.get("data"):
                    raise MalformedError(
                        f"Input {quoted(tensor.get('name'))} has both 'data' and {_SIZE!r}; give one of them."
                    )
                tensor["data"] = []
        return InferenceRequest.model_validate(given, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MalformedError(
            f"The body is not an inference request of version 2 ({where}: {first['msg']}, not "
            f"{quoted(first['input'])})."
        ) from error
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"The body is not valid JSON ({error}).") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(
            "The body is not an inference request of version 2; "
            '{"inputs": [{"name", "shape", "datatype", "data"}]} was expected.'
        ) from error


def _check_lengths(given: Mapping[str, Any]) -> None:
    """Refuse long lists, except the values of tensors: pydantic makes a kilobyte of objects of each wrong entry."""
    tensors = [entry for name in ("inputs", "outputs") if isinstance(given.get(name), list) for entry in given[name]]
    for entry in (given, *tensors):
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if name != "data":
                _check_length(name, value)


def _check_length(name: str, value: Any) -> None:
    if isinstance(value, list | dict) and len(value) > MOST_ENTRIES:
        raise MalformedError(f"{quoted(name)} has {len(value)} entries; at most {MOST_ENTRIES} are accepted.")
