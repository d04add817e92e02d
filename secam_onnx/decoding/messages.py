"""Messages between a process and its decoders over a socket: JSON, followed by bytes.

A socket was measured to be as fast as shared memory for what is moved here, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

with contextlib.suppress(ImportError):  # Windows
    import fcntl
    import termios

__all__ = ["Channel", "MessageError"]

_LENGTH = struct.Struct("<I")
_MOST = 1 << 20  # bytes of JSON
_SMALL = 1 << 20  # bytes that are rather copied than sent one by one
_ROOM = 256 << 10  # bytes; the picture that a model sees has 150,000


class MessageError(Exception):
    """The other process says what makes no sense."""


class Channel:
    """One end of a socket between a process and its decoder.

    What has come is read in large pieces: each call of the system is a moment in which another thread takes over.

    Parameters
    ----------
    end : socket
        It belongs to the channel from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._room = memoryview(bytearray(_ROOM))
        self._come = self._room[:0]  # and not taken yet

    def send(self, said: dict[str, Any], parts: Sequence[bytes | memoryview] = (), until: float | None = None) -> None:
        """Send JSON and bytes behind it.

        Raises
        ------
        OSError
            The other process has ended, or `until` has passed (TimeoutError).
        """
        text = json.dumps(said).encode()
        whole: Sequence[bytes | memoryview] = (_LENGTH.pack(len(text)) + text, *parts)
        if sum(map(len, parts)) < _SMALL:
            whole = (b"".join(whole),)  # the other process wakes up once
        for part in whole:
            self._socket.settimeout(_left(until))
            self._socket.sendall(part)

    def receive(self, until: float | None = None) -> dict[str, Any]:
        """Receive JSON; what follows it is for `receive_into`.

        Raises
        ------
        EOFError
            The other process has ended.
        OSError
            It has been ended, or `until` has passed (TimeoutError).
        MessageError
            It is no JSON, or too long.
        """
        head = bytearray(_LENGTH.size)
        self.receive_into(head, until)
        (length,) = _LENGTH.unpack(head)
        if length > _MOST:
            raise MessageError(f"a message of {length:,} bytes")
        text = bytearray(length)
        self.receive_into(text, until)
        try:
            said = json.loads(text)
        except ValueError as error:
            raise MessageError(str(error)) from error
        if not isinstance(said, dict):
            raise MessageError("a message that is no object")
        return said

    def receive_into(self, room: bytearray | memoryview, until: float | None = None) -> None:
        """Fill a buffer with the bytes that come next; errors as of `receive`."""
        left = memoryview(room).cast("B")
        while left:
            if not self._come and len(left) < _ROOM:
                self._come = self._room[: self._received(self._room, until)]
            if self._come:
                taken = min(len(left), len(self._come))
                left[:taken] = self._come[:taken]
                self._come = self._come[taken:]
            else:
                taken = self._received(left, until)
            left = left[taken:]

    def wait(self, until: float) -> None:
        """Wait for the next message; errors as of `receive`."""
        if not self._come:
            self._come = self._room[: self._received(self._room, until)]

    @property
    def untaken(self) -> bool:
        """Whether the other process has not taken all that was sent, where the system tells."""
        try:
            return any(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))
        except (NameError, OSError):
            return False

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _received(self, room: memoryview, until: float | None) -> int:
        self._socket.settimeout(_left(until))
        got = self._socket.recv_into(room)
        if not got:
            raise EOFError
        return got


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
