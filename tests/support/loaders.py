"""What decoders under test do with an image: what its bytes say, or else what decoders always do."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

from secam_onnx.decoding import Reading, SeenPhotograph, read_seen

LOADER = "loaders:load"
FOREVER, ASLEEP, HUNGRY, CRASH, KILLED, BUG, NONSENSE = (
    *(b"forever", b"asleep", b"hungry", b"crash"),
    *(b"killed", b"bug", b"nonsense"),
)


def load(image: Any, how: Reading) -> SeenPhotograph:
    what = image.data
    if what == FOREVER:
        while True:
            pass
    elif what == ASLEEP:
        time.sleep(3600)
    elif what == HUNGRY:
        raise AssertionError(len([bytearray(64 << 20) for _ in range(1000)]))
    elif what == CRASH:
        ctypes.string_at(0)
    elif what == KILLED:  # as the system does where memory is short
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == BUG:
        raise LookupError("a bug")
    found = read_seen(image, how)
    if image.name == "nonsense":
        object.__setattr__(found, "seen", found.seen[:-1])
    return found
