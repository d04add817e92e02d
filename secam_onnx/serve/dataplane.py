"""KServe's data plane, where it must not guess: bad requests are bad requests, and readiness is what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.model import InferenceVerb
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from pydantic import ValidationError

from secam_onnx.serve.failures import ForbiddenError, MalformedError

__all__ = ["ExplainerDataPlane", "FixedRepository"]

_LENGTH = "inference-header-content-length"


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

    def decode(self, body: Any, headers: Mapping[str, str], *args: Any, **more: Any) -> Any:
        """As the SDK's; a content type that is JSON's may say more than that."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if isinstance(body, bytes) and kind.endswith("/json"):
            headers = {**headers, "content-type": "application/json"}
        try:
            return super().decode(body, headers, *args, **more)
        except (InvalidInput, MalformedError):
            raise
        except Exception as error:  # of many kinds, wherever it looks into what is not there
            raise MalformedError(f"The request cannot be understood ({type(error).__name__}: {error}).") from error

    def decode_inference_request(
        self, body: bytes | InferenceRequest, headers: Mapping[str, str], model_name: str
    ) -> InferRequest:
        """A request of version 2 over HTTP.

        The SDK turns each byte of a tensor into an object of Python, and fails on bytes that are no text.
        """
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        length = headers.get(_LENGTH, str(len(body)))
        if not length.isdecimal() or int(length) > len(body):
            raise MalformedError(
                f"{_LENGTH} is {length[:40]!r}; the length of the JSON before the tensors was expected."
            )
        head, tail = body[: int(length)], body[int(length) :]
        try:
            given = orjson.loads(head)
            for tensor in given["inputs"]:
                if "binary_data_size" in (tensor.get("parameters") or {}):
                    tensor.setdefault("data", [])
            request = InferenceRequest.model_validate(given)
        except (orjson.JSONDecodeError, ValidationError, KeyError, TypeError, AttributeError) as error:
            raise MalformedError(
                f"The request is no inference request of version 2 ({_first_lines(error)})."
            ) from error
        inputs, start = [], 0
        for tensor in request.inputs:
            made = InferInput(tensor.name, tensor.shape, tensor.datatype, tensor.data, tensor.parameters)
            size = (tensor.parameters or {}).get("binary_data_size")
            if size is not None:
                if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail) - start:
                    raise MalformedError(
                        f"Input {tensor.name!r} has a binary_data_size of {size!r}; {len(tail) - start} bytes are left."
                    )
                made._raw_data = tail[start : start + size]
                start += size
            inputs.append(made)
        if start != len(tail):
            raise MalformedError(
                f"{len(tail) - start} bytes follow the tensors; binary_data_size says how many are theirs."
            )
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


def _first_lines(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {'; '.join(line.strip() for line in lines[:3])}"
