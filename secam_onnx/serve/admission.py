"""How many bytes of requests and answers the process holds, whatever the protocol; one count for all."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from secam_onnx.serve.request_errors import BusyError, SlowError, TooLargeError
from secam_onnx.serve.settings import Limits

__all__ = ["Admission", "Held", "check_values", "values_of_json"]

_VALUE_BYTES = 64  # of a number or a list of JSON, as an object in a list; a text has as many and half of them again
_TURN_S = 1.0  # that a slow message has while others wait for memory


class Admission:
    """Counts bytes as they come, and refuses what is too much.

    Parameters
    ----------
    limits : Limits
        `max_pending_bytes` is the most that is held, `max_body_bytes` the most of one request.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most = limits.max_pending_bytes
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._reading: dict[asyncio.Timeout, float] = {}  # messages that are coming, and since when

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def take(self, size: int) -> None:
        """Count bytes that are there, or will be at once.

        Raises
        ------
        BusyError
            There is no room for them.
        """
        if self._held + size > self._most:
            raise BusyError("Pending requests fill the memory set aside for them; retry.", {"Retry-After": "1"})
        self._held += size

    def give_back(self, size: int) -> None:
        """Count bytes no more, and let in who waits for room."""
        self._held -= size
        while self._waiting and self._held + self._waiting[0][0] <= self._most:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._held += wanted
                turn.set_result(None)

    @contextlib.asynccontextmanager
    async def message(self, held: Held) -> AsyncIterator[None]:
        """Room for a message whose size is known only when it is there, as in gRPC; `held` has it afterwards.

        The message is read in the block, which ends by an error after `client_timeout_s`; earlier if others wait for
        its room, since a client that sends nothing would keep it.

        Raises
        ------
        BusyError
            There was no room in that time.
        SlowError
            The message did not come.
        """
        patience = self._limits.client_timeout_s
        most = min(self._limits.max_body_bytes, self._most)
        timer = asyncio.timeout(patience)
        try:
            async with timer:
                await self._room(most)
                held.bytes += most
                self._reading[timer] = asyncio.get_running_loop().time()
                yield
        except TimeoutError:
            if not held.bytes:
                raise BusyError(
                    "Pending requests fill the memory set aside for them; retry.", {"Retry-After": "1"}
                ) from None
            raise SlowError(f"The message did not arrive within {patience:g} s.") from None
        finally:
            self._reading.pop(timer, None)

    async def _room(self, size: int) -> None:
        if not self._waiting and self._held + size <= self._most:
            self._held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=_TURN_S)
                if not turn.done():
                    self._end_a_slow_one()
        except asyncio.CancelledError:
            if turn.done():
                self.give_back(size)
            else:
                turn.cancel()
                self.give_back(0)
            raise

    def _end_a_slow_one(self) -> None:
        now = asyncio.get_running_loop().time()
        timer = next(iter(self._reading), None)  # the oldest
        if timer is not None and now - self._reading[timer] > _TURN_S:
            del self._reading[timer]
            timer.reschedule(now)


class Held:
    """What is held for one request, as it grows and shrinks."""

    def __init__(self, admission: Admission) -> None:
        self.bytes = 0
        self._admission = admission

    def take(self, size: int) -> None:
        """Hold more; raises `BusyError`."""
        self._admission.take(size)
        self.bytes += size

    def keep(self, size: int) -> None:
        """Hold this much instead; raises `BusyError`."""
        if size > self.bytes:
            self.take(size - self.bytes)
        else:
            self._admission.give_back(self.bytes - size)
            self.bytes = size

    def release(self) -> None:
        """Hold nothing."""
        self.keep(0)


def values_of_json(text: bytes, end: int) -> int:
    """How many values the JSON in the first bytes has, at most; texts count for one and a half."""
    return sum(text.count(mark, 0, end) for mark in (b",", b"[", b"{")) + text.count(b'"', 0, end) // 4


def check_values(values: int, held: Held, limits: Limits) -> None:
    """Hold what the values of a request become: objects, many times as large as their text.

    Raises
    ------
    TooLargeError
        Not even an idle server has room for them.
    BusyError
        There is no room now.
    """
    size = values * _VALUE_BYTES
    most = (limits.max_pending_bytes - held.bytes) // _VALUE_BYTES
    if held.bytes + size > limits.max_pending_bytes:
        raise TooLargeError(
            f"The request has {values:,} values that are not binary; the memory set aside for requests has room for "
            f"{max(0, most):,}. Send binary tensors, or files."
        )
    held.take(size)
