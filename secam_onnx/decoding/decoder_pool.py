"""Decoder processes as slots: one for each image that is decoded at a time, replaced when it ends."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable

from secam_onnx.decoding.decoder_limits import Cancellation, DecoderLimits
from secam_onnx.decoding.decoder_process import LOADER, DecoderProcess, GoneError
from secam_onnx.decoding.ended import EndedError
from secam_onnx.decoding.seen import Reading, SeenPhotograph, read_seen
from secam_onnx.errors import DecoderError
from secam_onnx.photograph.image_files import encoded_image
from secam_onnx.photograph.images import EncodedImage, Photograph, in_memory

__all__ = ["DecoderPool"]

_WARM = 2  # kept running, so that one is there when another is ended; the rest start when they are needed
_GAP_S = 2.0  # without any decoder, before that counts as not working; one starts in a tenth of a second
_TRIES = 4
_LOOK_S = 0.2
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


class DecoderPool:
    """Decodes images in processes, from any thread.

    Parameters
    ----------
    size : int
        How many images are decoded at a time.
    limits : DecoderLimits
        What each may take.
    loader : str
        `module:function` of what is done with an image.
    on_event : callable
        Called with `"started"` for each process, with `"failed"` and the reason when one cannot start, and with
        `"time"`, `"memory"`, `"crash"` or `"cancelled"` for each image that ends its decoder. From any thread.
    """

    def __init__(
        self,
        size: int,
        limits: DecoderLimits,
        *,
        loader: str = LOADER,
        on_event: Callable[[str, str], None] = lambda kind, reason: None,
    ) -> None:
        self.size = size
        self._limits, self._loader, self._on_event = limits, loader, on_event
        self._condition = threading.Condition()
        self._idle: list[DecoderProcess] = []
        self._busy: set[DecoderProcess] = set()
        self._dead: list[DecoderProcess] = []  # not waited for yet
        self._waiting = 0
        self._starting = self._closed = False
        self._failure = ""
        self._none_since: float | None = None
        self._look_at = 0.0
        self._all: weakref.WeakSet[DecoderProcess] = weakref.WeakSet()
        weakref.finalize(self, _end_all, self._all, os.getpid())

    def start(self) -> None:
        """Start the first process, unless one runs.

        Raises
        ------
        DecoderError
            It does not start.
        """
        with self._condition:
            if self._closed or self._idle or self._busy:
                return
        process = self._started()
        with self._condition:
            self._idle.append(process)
            self._start_more()

    def decode(self, image: Photograph, how: Reading, cancellation: Cancellation | None = None) -> SeenPhotograph:
        """As `read_seen`, in a process if the image is a file or the bytes of one.

        Raises
        ------
        ImageError
            The image cannot be read.
        EndedError
            It took too much time or memory, its decoder crashed, or it was cancelled.
        DecoderError
            No process can be started.
        """
        image = in_memory(image)
        if isinstance(image, str | os.PathLike):
            image = encoded_image(image)
        if not isinstance(image, EncodedImage):
            return read_seen(image, how)
        cancellation = cancellation or Cancellation()
        for _ in range(_TRIES):
            process = self._taken(image.name, cancellation)
            try:
                with cancellation.ending(process.end):
                    return process.decode(image, how)
            except EndedError as error:
                self._on_event(error.reason, str(error))
                raise
            except GoneError:  # it was ended or stopped while it was idle
                continue
            finally:
                self._give_back(process)
        raise DecoderError(f"{_TRIES} decoders after the other were ended or stopped. Look for who does that.")

    @property
    def working(self) -> bool:
        """Whether images can be decoded; while they cannot, it is tried again and again."""
        with self._condition:
            self._look_after()
            if self._idle or self._busy or self._closed:
                return not self._closed
            return not self._failure and time.monotonic() - (self._none_since or 0) < _GAP_S

    def close(self) -> None:
        """End all processes at once."""
        with self._condition:
            self._closed = True
            ended = [*self._idle, *self._busy, *self._dead]
            self._idle, self._dead = [], []
            self._condition.notify_all()
        for process in ended:
            process.end()
        for process in ended:
            process.forget(1.0)

    def _taken(self, name: str, cancellation: Cancellation) -> DecoderProcess:
        """An idle process, as soon as there is one."""
        with cancellation.ending(self._wake), self._condition:
            self._waiting += 1
            try:
                while True:
                    if self._closed:
                        raise DecoderError("The decoders are closed, and no further image is decoded.")
                    if cancellation.cancelled:
                        raise EndedError(f"{name} was given up before it was decoded.", "cancelled")
                    self._start_more()
                    if self._idle:
                        self._busy.add(process := self._idle.pop())
                        return process
                    if self._failure and not self._busy:
                        raise DecoderError(self._failure)
                    self._condition.wait()
            finally:
                self._waiting -= 1

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _give_back(self, process: DecoderProcess) -> None:
        with self._condition:
            self._busy.discard(process)
            self._idle.append(process)
            self._start_more()
            self._condition.notify()

    def _look_after(self) -> None:
        """Notice which idle processes have ended, now and then; with the condition held."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            for process in self._idle:
                process.look()
            self._start_more()

    def _start_more(self) -> None:
        """Replace what has ended, and see to it that enough processes run; with the condition held."""
        gone = [process for process in self._idle if process.retired]
        if gone:
            self._dead += gone
            self._idle = [process for process in self._idle if process not in gone]
        if self._idle or self._busy:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = time.monotonic()
        if not self._starting and (self._lacks or self._dead):
            self._starting = True
            try:
                threading.Thread(target=self._replace, name="secam-decoders", daemon=True).start()
            except RuntimeError as error:  # no more threads
                self._starting, self._failure = False, f"No decoder can be started ({error})."

    @property
    def _lacks(self) -> bool:
        wanted = min(self.size, max(_WARM, len(self._busy) + self._waiting))
        return not self._closed and len(self._idle) + len(self._busy) < wanted

    def _replace(self) -> None:
        """Start what is lacking, and wait for what has ended."""
        wait = _FIRST_WAIT_S
        while True:
            with self._condition:
                dead, self._dead = self._dead, []
                if not self._lacks and not dead:
                    self._starting = False
                    return
                lacks = self._lacks
            for process in dead:
                process.end()
                process.forget(1.0)
            if not lacks:
                continue
            try:
                process = self._started()
            except Exception as error:
                reason = str(error) or type(error).__name__
                self._on_event("failed", reason)
                with self._condition:
                    self._failure = reason
                    self._condition.notify_all()
                    self._condition.wait_for(lambda: self._closed, wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)
                continue
            with self._condition:
                self._failure = ""
                self._idle.append(process)
                self._condition.notify()
                if self._closed:
                    process.end()

    def _started(self) -> DecoderProcess:
        process = DecoderProcess(self._limits, self._loader)
        self._all.add(process)
        self._on_event("started", "")
        return process


def _end_all(processes: weakref.WeakSet[DecoderProcess], owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        for process in list(processes):
            with contextlib.suppress(Exception):
                process.end()
                process.forget(1.0)
