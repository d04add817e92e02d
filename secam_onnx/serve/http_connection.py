"""One HTTP connection: slow clients, and those that send headers without end, are disconnected."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from secam_onnx.serve.crowd import Crowd
from secam_onnx.serve.settings import Limits

__all__ = ["GuardedConnection"]

_HEADER_BYTES = 64 << 10
_PIPELINED = 100  # requests queued behind the one being answered
_SLACK_S = 5.0  # so that the guard, which sends a reason, comes first


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's connection with limits on headers, which uvicorn itself accepts without end.

    Parameters
    ----------
    limits : Limits
        Its `client_timeout_s` holds for the headers, for the body and for taking the response.
    crowd : Crowd
        All connections.
    **uvicorn
        Arguments of uvicorn's class.
    """

    def __init__(self, *, limits: Limits, crowd: Crowd, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._crowd = crowd
        self._deadline: asyncio.TimerHandle | None = None
        self._patience = 2 * limits.client_timeout_s + limits.timeout_s + _SLACK_S
        self._unbounded = 0  # bytes of headers, trailers and line ends, which nothing else bounds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._within(self._limits.client_timeout_s)
        self._crowd.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.forget(self)
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unbounded += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if len(self.pipeline) > _PIPELINED:
            self.transport.abort()
        elif self._unbounded > _HEADER_BYTES:
            self.send_400_response(f"The headers have more than {_HEADER_BYTES:,} bytes.")
        elif self._deadline is None and self.timeout_keep_alive_task is None:  # line ends between requests
            self._within(self._limits.client_timeout_s)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unbounded = 0
        self._within(self._limits.client_timeout_s)

    def on_headers_complete(self) -> None:
        self._within(self._patience)
        self._crowd.work(self)
        # For the guard, which looks whether the target names a host.
        self.scope["state"] |= {"target": self.url, "full": self._crowd.is_full}
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unbounded = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        # The deadline stays: the client may not have taken the response yet, or have sent part of the next request.
        if self.pipeline:
            self._within(self._patience)
        else:
            self._crowd.rest(self)
        super().on_response_complete()

    def leave(self) -> None:
        """Close the connection, which waits for a request."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _within(self, seconds: float | None) -> None:
        """Close the connection unless something happens within this time; None: never."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        # An idle connection, whose client has taken all responses, falls under uvicorn's keep-alive time.
        if self.timeout_keep_alive_task is None or self.transport.get_write_buffer_size():
            self.transport.abort()
