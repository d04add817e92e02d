"""One connection over HTTP: clients that are slow, or send headers without end, are let go."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from secam_onnx.serve.settings import Limits

__all__ = ["GuardedConnection"]

_HEADER_BYTES = 64 << 10
_PIPELINED = 100  # requests behind one that is being answered
_SLACK_S = 5.0  # in which the guard, which answers in words, is first


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's connection, which itself waits for headers without end and takes any number of them.

    Parameters
    ----------
    limits : Limits
        Whose `client_timeout_s` counts for the headers, for the body and for the answer.
    **uvicorn
        Of uvicorn's own.
    """

    def __init__(self, *, limits: Limits, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._patience = 2 * limits.client_timeout_s + limits.timeout_s + _SLACK_S
        self._unbounded = 0  # bytes since what is bounded elsewhere: of headers, trailers, line ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._within(self._limits.client_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
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
            self.send_400_response(f"Headers of more than {_HEADER_BYTES} bytes.")
        elif self._deadline is None and self.timeout_keep_alive_task is None:  # line ends between requests
            self._within(self._limits.client_timeout_s)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unbounded = 0
        self._within(self._limits.client_timeout_s)

    def on_headers_complete(self) -> None:
        self._within(self._patience)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unbounded = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        # The deadline stays: the answer may not have been taken yet, or the next request have come in part.
        if self.pipeline:
            self._within(self._patience)
        super().on_response_complete()

    def _within(self, seconds: float | None) -> None:
        """Something must happen until then, or the connection goes."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        # uvicorn's keep-alive time counts for a connection that waits for a request, and has taken all answers.
        if self.timeout_keep_alive_task is None or self.transport.get_write_buffer_size():
            self.transport.abort()
