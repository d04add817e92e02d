"""ASGI middleware in front of the application: keys, limits on bodies and time, and the log of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secam_onnx.page.visitors import ForeignPageError, WrongHostError, check_host, check_page
from secam_onnx.serve import metrics
from secam_onnx.serve.access_log import log_request, logger
from secam_onnx.serve.api_keys import check_key
from secam_onnx.serve.request_context import RequestContext, enter_request, request_id
from secam_onnx.serve.request_errors import (
    BusyError,
    ForbiddenError,
    MisdirectedError,
    RequestError,
    SlowError,
    StoppedError,
    TooLargeError,
)
from secam_onnx.serve.settings import Settings

__all__ = ["GuardMiddleware"]

_ADVICE = "Use its address, or start it with --allowed-host {name} if that name is its own."
# No page of another site may load an answer as a picture or a script.
_CLOSED = ((b"cross-origin-resource-policy", b"same-origin"), (b"x-content-type-options", b"nosniff"))
_OPEN = {"/", "/v2/health/live", "/v2/health/ready"}  # no key is needed for the page itself and for health checks
_SHOWN = 200  # characters of a path in the log
_GONE = 499  # the client left; nginx's status, as HTTP has none


class GuardMiddleware:
    """ASGI middleware that checks each request before the application sees it.

    Parameters
    ----------
    application : callable
        The application.
    settings : Settings
        Limits and keys.
    """

    def __init__(self, application: ASGIApp, settings: Settings) -> None:
        self._application = application
        self._limits = settings.limits
        self._digests = settings.key_digests
        self._hosts = settings.hosts
        self._pending_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with the reason."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = RequestContext(
            request_id(headers.get("x-request-id")), scope["query_string"].decode("latin-1"), headers.get("accept", "")
        )
        enter_request(request)
        answer = _Answer(send, request.id)
        start = time.perf_counter()
        try:
            self._check_sender(scope)
            most = self._limits.max_body_bytes
            if scope["path"] in _OPEN or scope["path"].startswith("/page/"):
                most = 0  # without a key nobody fills the memory with bodies
            else:
                check_key(headers, self._digests)
            body = await self._body(request, headers, receive, most)
            await self._run(scope, body, receive, answer)
        except RequestError as failure:
            request.failed(str(failure))
            await answer.fail(failure)
        except asyncio.CancelledError:  # the grace period is over
            await answer.fail(StoppedError("The server stopped before this request was answered."))
        finally:
            self._pending_bytes -= request.bytes
            status = answer.status or _GONE
            log_request(
                "http", request, status, start, method=scope["method"], path=scope["path"][:_SHOWN], bytes=request.bytes
            )

    def _check_sender(self, scope: Scope) -> None:
        """Refuse what a web page of another site sent, and what was meant for another host."""
        fields = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in fields if name == b"host"]
        target = urlsplit(scope["state"].get("target", b"/").decode("latin-1")).netloc
        if target:  # of a client that takes this server for a proxy; it counts more than the header
            hosts = [target]
        try:
            # A browser always names a host; an old client that names none was not sent by a page.
            if hosts or scope["http_version"] != "1.0":
                check_host(hosts, self._hosts, _ADVICE)
            check_page(
                scope["method"],
                hosts[0] if hosts else "",
                lambda wanted: next((value for name, value in fields if name == wanted.encode()), None),
                is_page=scope["path"] == "/",
            )
        except WrongHostError as error:
            raise MisdirectedError(str(error)) from error
        except ForeignPageError as error:
            raise ForbiddenError(str(error)) from error

    async def _body(self, request: RequestContext, headers: Mapping[str, str], receive: Receive, most: int) -> bytes:
        """Read the whole body; what is held of it is counted as it comes."""
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > most:
            raise TooLargeError(f"The body has {int(announced):,} bytes; at most {most:,} are accepted.")
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.client_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _DisconnectedError
                    chunk = message.get("body", b"")
                    request.bytes += len(chunk)
                    self._pending_bytes += len(chunk)
                    if request.bytes > most:
                        raise TooLargeError(f"The body has more than the {most:,} bytes that are accepted.")
                    if self._pending_bytes > self._limits.max_pending_bytes:
                        raise BusyError(
                            "Pending requests fill the memory set aside for them; retry.", {"Retry-After": "1"}
                        )
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return b"".join(chunks)
        except TimeoutError:
            raise SlowError(f"The body did not arrive within {self._limits.client_timeout_s:g} s.") from None

    async def _run(self, scope: Scope, body: bytes, receive: Receive, send: _Answer) -> None:
        """Run the application, until it has answered or the client has left."""
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await asyncio.Future()  # `left` waits for the end of the connection

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        task = asyncio.ensure_future(self._application(scope, replay, send))
        gone = asyncio.create_task(left())
        result: object = None
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
            # An exception after the response has started cannot reach the client.
            (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Exception) and not isinstance(result, OSError):
            logger.error("unexpected failure", exc_info=result)


class _DisconnectedError(RequestError):
    """The client has left."""

    def __init__(self) -> None:
        super().__init__("The client left.")


class _Answer:
    """A `send` that adds headers which every response has, and that can send an error."""

    def __init__(self, send: Send, id_: str) -> None:
        self.status = 0
        self._send = send
        self._id = id_.encode()
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = [(name, value) for name, value in message.get("headers", []) if name != b"x-request-id"]
            if not any(name.lower() == b"content-type" for name, _ in given):
                given.append((b"content-type", _guessed(given)))  # the SDK leaves it out of some responses
            named = {name.lower() for name, _ in given}
            given += [pair for pair in _CLOSED if pair[0] not in named]
            # Held back until the body is there, whose length the SDK leaves out of some responses.
            self._start = {**message, "headers": [*given, (b"x-request-id", self._id)]}
            return
        if self._start is not None:
            start, self._start = self._start, None
            if not message.get("more_body") and not any(
                name.lower() == b"content-length" for name, _ in start["headers"]
            ):
                start["headers"].append((b"content-length", str(len(message.get("body", b""))).encode()))
            await self._send(start)
        await self._send(message)

    async def fail(self, failure: RequestError) -> None:
        """Refuse the request, whose client may still be sending it."""
        if self.status or isinstance(failure, _DisconnectedError):
            return
        body = orjson.dumps({"error": str(failure)})
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **failure.headers,
        }
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": failure.status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})
        metrics.REFUSED.labels(type(failure).__name__).inc()


def _guessed(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    binary = any(name.lower() == b"inference-header-content-length" for name, _ in headers)
    return b"application/octet-stream" if binary else b"application/json"
