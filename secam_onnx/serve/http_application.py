"""The HTTP application: the SDK's two protocols, metrics and the page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from secam_onnx.serve import metrics, openapi
from secam_onnx.serve.kserve_data_plane import ExplainerDataPlane, FixedRepository
from secam_onnx.serve.kserve_sdk import (
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    PredictorProtocol,
    ServerNotReady,
    V2Endpoints,
    register_v1_endpoints,
    register_v2_endpoints,
)
from secam_onnx.serve.page_routes import add_pages
from secam_onnx.serve.request_context import current_request
from secam_onnx.serve.request_errors import BusyError, RequestError, let_go
from secam_onnx.serve.settings import Settings
from secam_onnx.shown_text import shown

__all__ = ["application"]

_SCRAPES = 8
_STATUS = {InvalidInput: 400, RequestValidationError: 400, ModelNotFound: 404, ModelNotReady: 503, ServerNotReady: 503}


class _Application(FastAPI):
    """FastAPI with a description that is written out, and not made from the routes."""

    described: openapi.Schema

    def openapi(self) -> openapi.Schema:
        return self.described


def application(data_plane: ExplainerDataPlane, settings: Settings, version: str) -> FastAPI:
    """Make the application that answers the requests which the guard lets through."""
    app = _Application(title="secam-onnx", version=version, docs_url=None, redoc_url=None)
    app.add_api_route("/metrics", _metrics(), methods=["GET"], include_in_schema=False)
    app.add_api_route("/v2/models/{model_name}/infer", _infer(data_plane), methods=["POST"], response_model=None)
    # The SDK's own route parses the whole body before it says the same.
    app.add_api_route(
        "/v2/models/{model_name}/versions/{version}/infer", _versions, methods=["POST"], include_in_schema=False
    )
    register_v1_endpoints(app, data_plane, FixedRepository(data_plane.model_registry))
    register_v2_endpoints(app, data_plane, FixedRepository(data_plane.model_registry))
    add_pages(app, data_plane, settings)

    async def said(_: Request, error: Exception) -> Response:
        status, reason, headers = _reason(error, list(settings.models))
        reason = shown(reason)  # which quotes the request, also in the SDK's words
        current_request().failed(reason)
        if status != 500:  # whose log has yet to be written
            let_go(error)
        return JSONResponse({"error": reason}, status, headers)

    for kind in (*_STATUS, RequestError, HTTPException, NotImplementedError, Exception):
        app.add_exception_handler(kind, said)
    app.described = openapi.description(
        list(settings.models), settings.limits, version, keys=bool(settings.key_digests)
    )
    return app


def _infer(data_plane: ExplainerDataPlane) -> Callable[[Request, Response, str], Awaitable[Response]]:
    """The SDK's route, with the body parsed in a thread: megabytes of JSON would hold up all other requests."""
    sdk = V2Endpoints(data_plane)

    async def infer(raw_request: Request, raw_response: Response, model_name: str) -> Response:
        body, headers = await raw_request.body(), dict(raw_request.headers)
        version = PredictorProtocol.REST_V2.value
        read, _ = await asyncio.to_thread(data_plane.decode, body, headers, version, model_name)
        return await sdk.infer(raw_request, raw_response, model_name, read)

    return infer


async def _versions() -> None:
    raise NotImplementedError


def _metrics() -> Callable[[Request], Awaitable[Response]]:
    """A route that writes the metrics down in a thread of its own, as others may be at work; few may wait for it."""
    thread = ThreadPoolExecutor(1, "secam-metrics")
    turns = asyncio.Semaphore(_SCRAPES)

    async def answer(request: Request) -> Response:
        if turns.locked():
            raise BusyError(f"{_SCRAPES} requests wait for the metrics already; retry.", {"Retry-After": "1"})
        async with turns:
            accept = request.headers.get("accept")
            body, kind = await asyncio.get_running_loop().run_in_executor(thread, metrics.exposed, accept)
        return Response(body, headers={"content-type": kind})

    return answer


def _reason(error: Exception, models: Sequence[str]) -> tuple[int, str, Mapping[str, str] | None]:
    """Why a request gets no answer: status, message and headers."""
    if isinstance(error, RequestError):
        metrics.REFUSED.labels(type(error).__name__).inc()
        return error.status, str(error), error.headers
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 400, f"{'.'.join(map(str, first.get('loc', ())))}: {first.get('msg')}", None
    if isinstance(error, ModelNotFound):
        return 404, f"{error} The models are {', '.join(models)}; :predict and :explain take POST requests.", None
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is not None:
        return status, str(error), None
    if isinstance(error, HTTPException):
        return error.status_code, error.detail, error.headers
    if isinstance(error, NotImplementedError):  # raised by the SDK for versions of a model
        return 404, "Models have no versions here; leave the version out of the URL.", None
    # Starlette raises it again, and the guard logs it.
    return 500, "The server failed; its log says why.", None
