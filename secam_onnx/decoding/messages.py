"""Messages between a process and its decoders over a socket: JSON, followed by bytes.

A socket was measured to be as fast as shared memory for what is moved here, and leaves nothing behind.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["MessageError", "receive", "receive_into", "send"]

_LENGTH = struct.Struct("<I")
_MOST = 1 << 20  # bytes of JSON
_SMALL = 1 << 20  # bytes that are rather copied than sent one by one


class MessageError(Exception):
    """The other process says what makes no sense."""


def send(
    to: socket.socket, said: dict[str, Any], parts: Sequence[bytes | memoryview] = (), until: float | None = None
) -> None:
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
        to.settimeout(_left(until))
        to.sendall(part)


def receive(of: socket.socket, until: float | None = None) -> dict[str, Any]:
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
    head, text = bytearray(_LENGTH.size), bytearray()
    receive_into(of, head, until)
    (length,) = _LENGTH.unpack(head)
    if length > _MOST:
        raise MessageError(f"a message of {length:,} bytes")
    text = bytearray(length)
    receive_into(of, text, until)
    try:
        said = json.loads(text)
    except ValueError as error:
        raise MessageError(str(error)) from error
    if not isinstance(said, dict):
        raise MessageError("a message that is no object")
    return said


def receive_into(of: socket.socket, room: bytearray | memoryview, until: float | None = None) -> None:
    """Fill a buffer with the bytes that come next; errors as of `receive`."""
    left = memoryview(room).cast("B")
    while left:
        of.settimeout(_left(until))
        got = of.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
