"""One decoder process, seen from its parent: started, asked, and ended when it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from functools import lru_cache

from secam_onnx.decoding.decoder_answer import LONGEST, read_answer
from secam_onnx.decoding.decoder_limits import DecoderLimits
from secam_onnx.decoding.ended import EndedError, ended, too_large
from secam_onnx.decoding.messages import Channel, MessageError
from secam_onnx.decoding.seen import Reading, SeenPhotograph
from secam_onnx.errors import DecoderError, ImageError
from secam_onnx.photograph.image_files import EncodedImage

__all__ = ["LOADER", "DecoderProcess", "GoneError"]

LOADER = "secam_onnx.decoding.seen:read_seen"
"""What a decoder does with an image."""

_START_S, _HAND_OVER_S, _END_S = 30.0, 5.0, 2.0
# No program's main module is imported, as multiprocessing would.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from secam_onnx.decoding.child import main; main({settings!r})"
_ENVIRONMENT = {
    # A decoder has one thread that works; libraries would start one for each core, and reserve memory for them.
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS")},
    # The pages of one photograph are used for the next: half the time of decoding 12 megapixels was spent on new ones.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


class GoneError(Exception):
    """The process took no image: it had ended, or was stopped."""


class DecoderProcess:
    """A process that decodes one image at a time.

    Parameters
    ----------
    limits : DecoderLimits
        What an image may take.
    loader : str
        `module:function` of what is done with an image.

    Raises
    ------
    DecoderError
        It does not start.
    """

    def __init__(self, limits: DecoderLimits, loader: str = LOADER) -> None:
        self._limits = limits
        self._retired = self._stopped = False
        try:
            ours, theirs = socket.socketpair()
            self._channel = Channel(ours)
            with theirs:
                self._process = _start(theirs, limits, loader)
        except OSError as error:
            raise _no_decoder(error) from error
        try:
            if self._channel.receive(time.monotonic() + _START_S) != {"ready": True}:
                raise MessageError("no greeting")
        except (OSError, EOFError, MessageError) as error:
            self.end()
            self.forget(_END_S)
            raise _no_decoder(error) from error

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def retired(self) -> bool:
        """Whether it takes no further image, as far as is known; if it has ended unseen, `decode` says so."""
        return self._retired

    def look(self) -> None:
        """Look whether it has ended."""
        if self._process.poll() is not None:
            self._retired = True

    def decode(self, image: EncodedImage, how: Reading) -> SeenPhotograph:
        """As `read_seen`; whatever goes wrong with the process is said of this image.

        Raises
        ------
        ImageError
            The image cannot be read.
        EndedError
            It took too much time or memory, or its decoder crashed.
        GoneError
            The process did not even begin.
        RuntimeError
            A bug.
        """
        begun = time.monotonic()
        self._hand_over(image, how, begun + _HAND_OVER_S)
        until = begun + self._limits.patience_s
        try:
            said = self._channel.receive(until)
            found = read_answer(self._channel, said, how, until) if "geometry" in said else None
        except (OSError, EOFError, MessageError) as error:
            raise self._ended(image.name, error) from error
        self._retired = bool(said.get("last"))
        if found is not None:
            return found
        if "memory" in said:
            raise too_large(image.name, self._limits)
        if "error" in said:
            raise ImageError(str(said["error"])[:LONGEST])
        raise RuntimeError(f"{image.name}: {str(said.get('bug'))[:LONGEST]}")

    def end(self) -> None:
        """End it at once, whatever it does; may be called from any thread, and more than once."""
        self._retired = self._stopped = True
        with contextlib.suppress(OSError):
            self._process.kill()

    def forget(self, seconds: float = 0.0) -> bool:
        """Wait so long for its end, and close what leads to it; whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._channel.close()
        return True

    def _hand_over(self, image: EncodedImage, how: Reading, until: float) -> None:
        """Give the process an image, and see to it that it takes it."""
        asked = {"name": image.name, "length": len(image.data), "how": _as_text(how)}
        try:
            self._channel.send(asked, [image.data], until)
            # A receipt would wake this thread once more for each image. What an ended process has not read resets the
            # connection, and what a stopped one has not read lies there.
            self._channel.wait(until)
        except EOFError:
            return  # it ended while it was at work, as who receives its answer will see
        except OSError as error:
            if isinstance(error, TimeoutError) and not self._channel.untaken:
                return
            if self._stopped:
                raise self._ended(image.name, error) from error
            self.end()
            raise GoneError from error

    def _ended(self, name: str, error: Exception) -> EndedError:
        """Why there was no answer; ends the process."""
        stopped, late = self._stopped, isinstance(error, TimeoutError)
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not late and not isinstance(error, MessageError):
                self._process.wait(_END_S)
        code = self._process.poll()
        self.end()
        return ended(name, code, self._limits, stopped=stopped, late=late)


def _no_decoder(error: Exception) -> DecoderError:
    return DecoderError(
        f"No process can be started that decodes images ({type(error).__name__}: {error}); what it says itself stands "
        "above. Look for a limit on processes or memory."
    )


@lru_cache(maxsize=64)
def _as_text(how: Reading) -> str:
    return json.dumps(how.to_dict())


def _start(theirs: socket.socket, limits: DecoderLimits, loader: str) -> subprocess.Popen[bytes]:
    """A process that has this end of a socket; standard input says when its parent has ended."""
    if not sys.executable:
        raise OSError("the path of Python is not known")
    number = theirs.fileno() if os.name == "posix" else None
    settings = {"socket": number, "loader": loader, "seconds": limits.seconds, "memory": limits.memory}
    path = [entry for entry in sys.path if isinstance(entry, str)]
    program = _PROGRAM.format(path=path, settings=json.dumps(settings))
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        stdin=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT},
        **({} if number is None else {"pass_fds": (number,)}),  # type: ignore[call-overload]
    )
    if number is None:  # Windows
        shared = theirs.share(process.pid)  # type: ignore[attr-defined, unused-ignore]
        assert process.stdin is not None
        process.stdin.write(len(shared).to_bytes(4, "little") + shared)
        process.stdin.flush()
    return process
