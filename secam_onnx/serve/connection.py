"""One connection over HTTP: clients that are slow, or send headers without end, are let go."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from secam_onnx.serve.settings import Limits

__all__ = ["GuardedConnection"]

_HEADER_BYTES = 64 << 10
_SLACK_S = 5.0  # in which the gate, which answers in words, is first


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
        self._header_bytes: int | None = None  # None while a request is being answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._within(self._limits.client_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_bytes is not None:
            self._header_bytes += len(data)
            if self._header_bytes > _HEADER_BYTES:
                # What came in one piece with them may be body, which is bounded elsewhere.
                self.send_400_response(f"Headers of more than {_HEADER_BYTES} bytes.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._within(self._limits.client_timeout_s)

    def on_headers_complete(self) -> None:
        self._header_bytes = None
        self._within(2 * self._limits.client_timeout_s + self._limits.timeout_s + _SLACK_S)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._within(None)  # uvicorn's keep-alive time counts from here
        super().on_response_complete()

    def _within(self, seconds: float | None) -> None:
        """Something must happen until then, or the connection goes."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._abort)

    def _abort(self) -> None:
        self.transport.abort()
