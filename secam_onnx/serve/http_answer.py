"""The answer of the HTTP server: headers that all have, room for its bytes, and errors as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from starlette.types import Message, Send

from secam_onnx.serve import metrics
from secam_onnx.serve.admission import Held
from secam_onnx.serve.request_context import current_request
from secam_onnx.serve.request_errors import BusyError, RequestError

__all__ = ["Answer"]

# No page of another site may load an answer as a picture or a script.
_CLOSED = ((b"cross-origin-resource-policy", b"same-origin"), (b"x-content-type-options", b"nosniff"))
_SMALL, _PIECE = 16 << 10, 256 << 10  # bytes of an answer


class Answer:
    """A `send` that adds headers which every response has, and that can send an error.

    Parameters
    ----------
    send : callable
        The connection's own.
    id_ : str
        Identifier of the request.
    held : Held
        Counts the bytes of the answer until the client has taken them.

    Attributes
    ----------
    status : int
        The status that was sent, or 0.
    """

    def __init__(self, send: Send, id_: str, held: Held) -> None:
        self.status = 0
        self._refused = False
        self._held = held
        self._send = send
        self._id = id_.encode()
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Pass a message on, or refuse the request if there is no room for its answer."""
        if self._refused:
            return
        if message["type"] == "http.response.start":
            given = [(name, value) for name, value in message.get("headers", []) if name != b"x-request-id"]
            if not any(name.lower() == b"content-type" for name, _ in given):
                given.append((b"content-type", _guessed(given)))  # the SDK leaves it out of some responses
            named = {name.lower() for name, _ in given}
            given += [pair for pair in _CLOSED if pair[0] not in named]
            # Held back until the body is there, whose length the SDK leaves out of some responses.
            self._start = {**message, "headers": [*given, (b"x-request-id", self._id)]}
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            try:
                if len(body) > _SMALL:
                    self._held.take(len(body))  # until it is sent, for which a client may take long
            except BusyError as error:
                current_request().failed(str(error))
                await self.fail(error)
                self._refused = True
                return
            self.status = start["status"]
            if not more and not any(name.lower() == b"content-length" for name, _ in start["headers"]):
                start["headers"].append((b"content-length", str(len(body)).encode()))
            await self._send(start)
        # In pieces, each of which waits until the client has taken those before.
        for begin in range(0, len(body) - _PIECE, _PIECE):
            await self._send({**message, "body": body[begin : begin + _PIECE], "more_body": True})
        await self._send({**message, "body": body[(len(body) - 1) // _PIECE * _PIECE :] if body else b""})

    async def fail(self, failure: RequestError) -> None:
        """Refuse the request, whose client may still be sending it."""
        if self.status:
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
