"""ASGI middleware in front of the application: keys, limits on bodies and time, and the log of requests."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secam_onnx.page.visitors import ForeignPageError, WrongHostError, check_host, check_page
from secam_onnx.serve.access_log import log_request, logger
from secam_onnx.serve.admission import Admission, Held, check_values, values_of_json
from secam_onnx.serve.api_keys import check_key
from secam_onnx.serve.http_answer import Answer
from secam_onnx.serve.request_context import RequestContext, enter_request, request_id
from secam_onnx.serve.request_errors import (
    CrowdedError,
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
_OPEN = {"/", "/v2/health/live", "/v2/health/ready"}  # no key is needed for the page itself and for health checks
_HEALTH = re.compile(r"/v2/health/(live|ready)|/v2/models/[^/]+/ready|/v1/models/[^/:]+|/metrics")
_JSON = re.compile(rb"\s*[\[{]")
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
    admission : Admission
        Counts the bytes of requests and answers.
    """

    def __init__(self, application: ASGIApp, settings: Settings, admission: Admission) -> None:
        self._application = application
        self._admission = admission
        self._limits = settings.limits
        self._digests = settings.key_digests
        self._hosts = settings.hosts

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
        held = Held(self._admission)
        answer = Answer(send, request.id, held)
        start = time.perf_counter()
        try:
            self._check_sender(scope, headers)
            is_health = bool(_HEALTH.fullmatch(scope["path"])) and scope["method"] in ("GET", "HEAD")
            if scope.get("state", {}).get("full") and not is_health:
                raise CrowdedError(
                    f"{self._limits.max_connections} connections are being answered, which is the limit; retry.",
                    {"Retry-After": "1"},
                )
            most = self._limits.max_body_bytes
            if scope["path"] in _OPEN or scope["path"].startswith("/page/"):
                most = 0  # without a key nobody fills the memory with bodies
            else:
                check_key(headers, self._digests)
            chunks = await self._body(request, headers, receive, held, 0 if is_health else most)
            await self._run(scope, chunks, receive, answer)
        except _DisconnectedError:
            request.failed("The client left.")
        except RequestError as failure:
            request.failed(str(failure))
            await answer.fail(failure)
        except asyncio.CancelledError:  # the grace period is over
            await answer.fail(StoppedError("The server stopped before this request was answered."))
        finally:
            held.release()
            status = answer.status or _GONE
            log_request(
                "http", request, status, start, method=scope["method"], path=scope["path"][:_SHOWN], bytes=request.bytes
            )

    def _check_sender(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuse what a web page of another site sent, and what was meant for another host."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        target = scope.get("state", {}).get("target", b"/")
        if not target.startswith(b"/") or target.startswith(b"//"):
            # Of a client that takes this server for a proxy; it counts more than the header.
            hosts = [urlsplit(target.decode("latin-1")).netloc]
        try:
            # A browser always names a host; an old client that names none was not sent by a page.
            if hosts or scope["http_version"] != "1.0":
                check_host(hosts, self._hosts, _ADVICE)
            check_page(
                scope["method"],
                hosts[0] if hosts else "",
                headers.get,
                is_page=scope["path"] == "/",
            )
        except WrongHostError as error:
            raise MisdirectedError(str(error)) from error
        except ForeignPageError as error:
            raise ForbiddenError(str(error)) from error

    async def _body(
        self, request: RequestContext, headers: Mapping[str, str], receive: Receive, held: Held, most: int
    ) -> list[bytes]:
        """Read the whole body, as a list of one; what is held of it is counted as it comes."""
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
                    if request.bytes > most:
                        raise TooLargeError(f"The body has more than the {most:,} bytes that are accepted.")
                    held.take(len(chunk))
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise SlowError(f"The body did not arrive within {self._limits.client_timeout_s:g} s.") from None
        body = b"".join(chunks)
        if _JSON.match(body):
            length = headers.get("inference-header-content-length", "")
            end = int(length) if length.isdecimal() and len(length) < 10 else len(body)
            check_values(values_of_json(body, end), held, self._limits)
        return [body]

    async def _run(self, scope: Scope, body: list[bytes], receive: Receive, send: Answer) -> None:
        """Run the application, until it has answered or the client has left."""

        async def replay() -> Message:
            if body:  # handed on, so that it is gone when the application needs it no more
                return {"type": "http.request", "body": body.pop(), "more_body": False}
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


class _DisconnectedError(Exception):
    """The client has left."""
