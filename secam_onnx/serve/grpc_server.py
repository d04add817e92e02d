"""The gRPC server: the SDK's service behind our keys, limits and log."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from secam_onnx.errors import OptionError
from secam_onnx.serve import metrics
from secam_onnx.serve.access_log import log_request, logger
from secam_onnx.serve.admission import Admission, Held, check_values
from secam_onnx.serve.api_keys import check_key
from secam_onnx.serve.crowd import SPARE
from secam_onnx.serve.grpc_fields import count_values
from secam_onnx.serve.kserve_data_plane import MOST_ENTRIES, ExplainerDataPlane, FixedRepository
from secam_onnx.serve.kserve_sdk import (
    InferenceServicer,
    InferParameter,
    InferRequest,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ServerNotReady,
    grpc_service,
    to_headers,
)
from secam_onnx.serve.request_context import RequestContext, enter_request, request_id
from secam_onnx.serve.request_errors import CrowdedError, MalformedError, RequestError, let_go
from secam_onnx.serve.settings import Settings, bracketed
from secam_onnx.shown_text import shown

__all__ = ["grpc_port_error", "grpc_server"]

_CODES = {
    InvalidInput: StatusCode.INVALID_ARGUMENT,
    ModelNotFound: StatusCode.NOT_FOUND,
    ModelNotReady: StatusCode.UNAVAILABLE,
    ServerNotReady: StatusCode.UNAVAILABLE,
}
_HEALTH = ("ServerLive", "ServerReady")  # they need no key, and no message is read for them
_RESPONSE_BYTES = 1 << 30  # clients have a limit of their own
_IDLE_MS, _AGE_MS = 65_000, 600_000  # of a connection; clients open another one by themselves


def grpc_server(
    data_plane: ExplainerDataPlane, settings: Settings, admission: Admission
) -> tuple[grpc.aio.Server, int]:
    """Make a gRPC server, which answers once it is started; `admission` counts its bytes.

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
    longest_ms = int((2 * limits.client_timeout_s + limits.timeout_s) * 1000)
    server = grpc.aio.server(
        interceptors=(_Guard(settings, admission),),
        maximum_concurrent_rpcs=limits.max_connections + SPARE,
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", _RESPONSE_BYTES),
            ("grpc.so_reuseport", int(settings.share_grpc_port)),
            # What a client sends waits with the client, until there is room for it; gRPC itself buffers 64 kB a call.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.max_concurrent_streams", limits.max_connections + SPARE),
            ("grpc.max_allowed_incoming_connections", limits.max_connections + SPARE),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            # One that takes its answer too slowly ends, at the latest, with its connection.
            ("grpc.max_connection_age_ms", _AGE_MS),
            ("grpc.max_connection_age_grace_ms", longest_ms),
            # So that a client which vanished without closing its connection is noticed.
            ("grpc.keepalive_time_ms", int(limits.client_timeout_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(limits.client_timeout_s * 1000)),
        ],
    )
    grpc_service.add_GRPCInferenceServiceServicer_to_server(
        _Servicer(data_plane, FixedRepository(data_plane.model_registry)), server
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


class _Servicer(InferenceServicer):
    """The SDK's service, which lets go of a message once it is read."""

    async def ModelInfer(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802  (the SDK calls it so)
        self.validate_grpc_request(request)
        asked, given, name = InferRequest.from_grpc(request), request.parameters, request.model_name
        # Those of the message would keep all of it.
        asked.parameters = {key: InferParameter.FromString(value.SerializeToString()) for key, value in given.items()}
        del request, given
        response, _ = await self._data_plane.infer(request=asked, headers=to_headers(context), model_name=name)
        return response.to_grpc()


class _Guard(grpc.aio.ServerInterceptor):
    """Asks for keys, counts bytes, turns exceptions into a status, and writes the log."""

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self._settings = settings
        self._admission = admission
        self._working = 0

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
            functools.partial(self._answer, handler, method, headers),
            response_serializer=handler.response_serializer,
        )

    async def _answer(
        self,
        handler: grpc.RpcMethodHandler,
        method: str,
        headers: Mapping[str, str],
        _: object,
        context: grpc.aio.ServicerContext,
    ) -> Any:
        request = RequestContext(request_id(headers.get("x-request-id")))
        enter_request(request)
        start = time.perf_counter()
        code = StatusCode.OK
        held = Held(self._admission)
        context.add_done_callback(lambda _: held.release())  # once the client has the answer
        self._working += 1
        try:
            if method in _HEALTH:
                return await handler.unary_unary(handler.request_deserializer(b""), context)
            check_key(headers, self._settings.key_digests)
            if self._working > self._settings.limits.max_connections:
                raise CrowdedError(f"{self._working - 1} calls are being answered, which is the limit; retry.")
            # It is not kept here, as it would be until there is an answer.
            asked = [self._read(handler.request_deserializer, await self._message(context, held, request), held)]
            answer = await handler.unary_unary(asked.pop(), context)
            held.take(answer.ByteSize())
            return answer
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        except Exception as error:
            code, text = _status(error)
            text = shown(text)  # which quotes the request, also in the SDK's words
            request.failed(text)
            let_go(error)
            await _abort(context, code, text, error)
        finally:
            self._working -= 1
            log_request("grpc", request, code.name, start, method=method, bytes=request.bytes)

    async def _message(self, context: grpc.aio.ServicerContext, held: Held, request: RequestContext) -> bytes:
        """The bytes of the message, for which there is room before the first of them is read."""
        async with self._admission.message(held):
            data = await context.read()  # gRPC's iterator would hold the message until it is collected as garbage
        if not isinstance(data, bytes):
            raise MalformedError("A message was expected; the call ended without one.")
        request.bytes = len(data)
        held.keep(len(data))
        return data

    def _read(self, deserialize: Any, data: bytes, held: Held) -> Any:
        """Parse a message, for whose fields and numbers there is room."""
        check_values(count_values(data, deserialize.__self__.DESCRIPTOR), held, self._settings.limits)
        try:
            message = deserialize(data)
        except DecodeError as error:
            raise MalformedError("The bytes received are not a message of this method.") from error
        _check_lengths(message)
        return message


def _check_lengths(message: Any) -> None:
    """Refuse long lists, as the SDK makes an object of each entry."""
    for name in ("inputs", "outputs", "parameters", "raw_input_contents"):
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
