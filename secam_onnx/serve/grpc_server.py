"""The gRPC server: the SDK's service behind our keys, limits and log."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from secam_onnx.errors import OptionError
from secam_onnx.serve import metrics
from secam_onnx.serve.access_log import log_request, logger
from secam_onnx.serve.api_keys import check_key
from secam_onnx.serve.kserve_data_plane import MOST_ENTRIES, ExplainerDataPlane, FixedRepository
from secam_onnx.serve.kserve_sdk import (
    InferenceServicer,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ServerNotReady,
    grpc_service,
)
from secam_onnx.serve.request_context import RequestContext, enter_request, request_id
from secam_onnx.serve.request_errors import MalformedError, RequestError, SlowError
from secam_onnx.serve.settings import Settings, bracketed
from secam_onnx.shown_text import shown

__all__ = ["grpc_port_error", "grpc_server"]

_CODES = {
    InvalidInput: StatusCode.INVALID_ARGUMENT,
    ModelNotFound: StatusCode.NOT_FOUND,
    ModelNotReady: StatusCode.UNAVAILABLE,
    ServerNotReady: StatusCode.UNAVAILABLE,
}
_OPEN = ("ServerLive", "ServerReady")
_RESPONSE_BYTES = 1 << 30  # clients have a limit of their own


def grpc_server(data_plane: ExplainerDataPlane, settings: Settings) -> tuple[grpc.aio.Server, int]:
    """Make a gRPC server, which answers once it is started.

    Returns
    -------
    server : grpc.aio.Server
        The server, which listens already.
    port : int
        Its port.

    Raises
    ------
    OptionError
        The port is in use.
    """
    limits = settings.limits
    server = grpc.aio.server(
        interceptors=(_Guard(settings),),
        maximum_concurrent_rpcs=limits.max_connections,
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", _RESPONSE_BYTES),
            ("grpc.so_reuseport", int(settings.share_grpc_port)),
            # So that a client which vanished without closing its connection is noticed.
            ("grpc.keepalive_time_ms", int(limits.client_timeout_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(limits.client_timeout_s * 1000)),
        ],
    )
    grpc_service.add_GRPCInferenceServiceServicer_to_server(
        InferenceServicer(data_plane, FixedRepository(data_plane.model_registry)), server
    )
    try:
        port = server.add_insecure_port(f"{bracketed(settings.host)}:{settings.grpc_port}")
    except RuntimeError as error:
        raise grpc_port_error(settings, error) from error
    return server, port


def grpc_port_error(settings: Settings, error: Exception) -> OptionError:
    """The error for a port that gRPC cannot use."""
    return OptionError(
        f"Port {settings.grpc_port} of {settings.host} cannot be used for gRPC ({error}); choose another "
        "(--grpc-port), 0 for any free one, or none (--no-grpc)."
    )


class _Guard(grpc.aio.ServerInterceptor):
    """Asks for keys, turns exceptions into a status, and writes the log."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = details.method.rpartition("/")[2]
        headers = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        # As a stream of one message, so that the key is checked before it is read, and the wait for it is bounded.
        return grpc.stream_unary_rpc_method_handler(
            functools.partial(self._answer, handler.unary_unary, method, headers),
            request_deserializer=functools.partial(_read, handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    async def _answer(
        self,
        handler: Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]],
        method: str,
        headers: Mapping[str, str],
        messages: AsyncIterator[Any],
        context: grpc.aio.ServicerContext,
    ) -> Any:
        message = None
        request = RequestContext(request_id(headers.get("x-request-id")))
        enter_request(request)
        start = time.perf_counter()
        code = StatusCode.OK
        try:
            if method not in _OPEN:
                check_key(headers, self._settings.key_digests)
            message = await self._first(messages)
            if message is None:
                raise MalformedError("The bytes received are not a message of this method.")
            _check_lengths(message)
            return await handler(message, context)
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        except Exception as error:
            code, text = _status(error)
            text = shown(text)  # which quotes the request, also in the SDK's words
            request.failed(text)
            await _abort(context, code, text, error)
        finally:
            size = 0 if message is None else message.ByteSize()
            log_request("grpc", request, code.name, start, method=method, bytes=size)

    async def _first(self, messages: AsyncIterator[Any]) -> Any:
        patience = self._settings.limits.client_timeout_s
        try:
            async with asyncio.timeout(patience):
                return await anext(messages, None)
        except TimeoutError:
            raise SlowError(f"The message did not arrive within {patience:g} s.") from None


def _read(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """A message, or None if the bytes are not one; gRPC would log an exception here as the server's fault."""
    try:
        return deserialize(data)
    except DecodeError:
        return None


def _check_lengths(message: Any) -> None:
    """Refuse long lists, as the SDK makes an object of each entry."""
    for name in ("inputs", "outputs", "parameters"):
        found = len(getattr(message, name, ()))
        if found > MOST_ENTRIES:
            raise MalformedError(f"{name!r} has {found} entries; at most {MOST_ENTRIES} are accepted.")


def _status(error: Exception) -> tuple[StatusCode, str]:
    if isinstance(error, RequestError):
        metrics.REFUSED.labels(type(error).__name__).inc()
        return error.code, str(error)
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code, str(error)
    logger.error("unexpected failure", exc_info=error)
    return StatusCode.INTERNAL, "The server failed; its log says why."


async def _abort(context: grpc.aio.ServicerContext, code: StatusCode, text: str, error: Exception) -> NoReturn:
    headers = error.headers if isinstance(error, RequestError) else {}
    await context.abort(code, text, tuple((key.lower(), value) for key, value in headers.items()))
    raise AssertionError  # abort has raised
