"""The main function of a decoder: a process that reads photographs one after the other, each under limits.

It imports little, holds no secret of its parent's requests but the photograph at hand, and ends with its parent.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from secam_onnx.decoding.messages import Channel
from secam_onnx.decoding.seen import Decode, Reading
from secam_onnx.errors import ImageError
from secam_onnx.photograph.image_files import EncodedImage
from secam_onnx.schema import from_json

try:
    import resource
except ImportError:  # Windows, where time and the parent's patience are all that limits a decoder
    resource = None  # type: ignore[assignment]

__all__ = ["main"]

_STATM, _OOM_SCORE = Path("/proc/self/statm"), Path("/proc/self/oom_score_adj")
_FILES = 64  # open files; modules are imported when they are needed
_KEPT_BYTES = 256 << 20  # what a decoder may keep between photographs; one that keeps more is replaced


def main(settings: str) -> None:
    """Decode until the parent ends the process or ends itself.

    Parameters
    ----------
    settings : str
        JSON: `socket` (a file descriptor, or None if it comes over standard input), `loader` (`module:function`),
        `seconds` of processor time and `memory` in bytes for one image.
    """
    given = json.loads(settings)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # sent to the whole group; the parent decides when a decoder ends
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = Channel(_connection(given["socket"]))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _, function = given["loader"].partition(":")
    decode: Decode = getattr(importlib.import_module(module), function)
    start = _mapped()
    _limit_process(start, given["memory"])
    with contextlib.suppress(EOFError, OSError):  # of the channel, where the parent has ended
        parent.send({"ready": True})
        _silence()
        more = True
        while more:
            asked = parent.receive()
            data = bytearray(asked["length"])
            parent.receive_into(data)
            _limit_time(given["seconds"])
            said, arrays = _answer(asked, bytes(data), decode, given["memory"])
            _limit_time(0)
            del data
            more = _mapped() - start <= _KEPT_BYTES
            parent.send({**said, "last": not more}, [array.data.cast("B") for array in arrays])
    os._exit(0)


def _answer(asked: dict[str, Any], data: bytes, decode: Decode, memory: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        found = decode(EncodedImage(asked["name"], data), _reading(asked["how"]))
    except ImageError as error:
        return ({"memory": memory} if _of_memory(error) else {"error": str(error)}), []
    except MemoryError:
        return {"memory": memory}, []
    except Exception as error:  # a bug, which belongs into the parent's log
        return {"bug": f"{type(error).__name__}: {error}"}, []
    arrays = {"seen": found.seen, "values": found.values, "shown": found.shown}
    kept = {key: np.ascontiguousarray(array) for key, array in arrays.items() if array is not None}
    shapes = {key: array.shape for key, array in kept.items()}
    said = {"shapes": shapes, "geometry": found.geometry.to_dict(), "source": found.source}
    return said, list(kept.values())


@lru_cache(maxsize=64)
def _reading(text: str) -> Reading:
    return from_json(Reading, json.loads(text))


def _of_memory(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return error is not None


def _connection(number: int | None) -> socket.socket:
    if number is not None:
        return socket.socket(fileno=number)
    length = int.from_bytes(sys.stdin.buffer.read(4), "little")
    return socket.fromshare(sys.stdin.buffer.read(length))  # type: ignore[attr-defined, no-any-return, unused-ignore]


def _end_with_parent() -> None:
    """End when the parent does, whatever this process is doing: the parent holds the other end of standard input."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(0)


def _silence() -> None:
    """Libraries print what they think of a damaged file."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)


def _limit_process(start: int, memory: int) -> None:
    """Limits for as long as the process lives; a system may not know some of them."""
    with contextlib.suppress(OSError):  # where memory runs out, a decoder is to end and not its parent
        _OOM_SCORE.write_text("500", encoding="ascii")
    if resource is None:
        return
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)  # nothing is written
    _lower(resource.RLIMIT_NOFILE, _FILES)
    if start:
        _lower(resource.RLIMIT_AS, start + memory)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (most, most))


def _limit_time(seconds: float) -> None:
    """Let the system end the process after so much more processor time; 0 for no limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _mapped() -> int:
    """Bytes of addresses in use; 0 where the system does not say."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0
