"""Runs jobs that arrive together in one batch: a queue in front of a function that takes several jobs at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from secam_onnx.runtime import Interrupt

__all__ = ["Batcher", "Served"]

_TO_END_S = 5.0  # for a run that was ended, between two nodes of the graph

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Served(Generic[Result]):
    """The result of a job, and how it was run.

    Attributes
    ----------
    result : object
        What the function returned for the job.
    queue_s : float
        Seconds that the job waited for its batch.
    batch_size : int
        How many jobs the batch had.
    """

    result: Result
    queue_s: float
    batch_size: int


@dataclass(eq=False)
class _Entry(Generic[Job, Result]):
    job: Job
    kind: Hashable
    future: asyncio.Future[Served[Result]]
    since: float


class Batcher(Generic[Job, Result]):
    """Runs a function in a thread of its own on all jobs that wait.

    While a batch runs, the next one gathers. A batch that is not full waits only for jobs that have been announced, so
    a single job runs at once.

    Parameters
    ----------
    run : callable
        Takes several jobs and returns a result or an exception for each. When nobody waits for any of them any more,
        the run is interrupted.
    max_batch_size : int
        The most jobs in one call.
    max_latency_s : float
        How long a job waits for announced ones.
    """

    def __init__(
        self, run: Callable[[Sequence[Job]], Sequence[Result | Exception]], max_batch_size: int, max_latency_s: float
    ) -> None:
        self._run = run
        self._size = max_batch_size
        self._latency = max_latency_s
        self._waiting: list[_Entry[Job, Result]] = []
        self._coming = 0
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "secam-network")
        self._running: tuple[list[_Entry[Job, Result]], Interrupt] | None = None
        self._stopped_at: float | None = None  # when the run in progress was ended
        self._task: asyncio.Task[None] | None = None

    async def submit(self, coming: Awaitable[Job], kind: Hashable = None) -> Served[Result]:
        """Run a job together with others.

        Parameters
        ----------
        coming : awaitable
            Gives the job. The job is announced from now on.
        kind : hashable
            Only jobs of one kind share a batch.

        Raises
        ------
        Exception
            What `coming` raises, or the exception that the function returned for this job.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        self._coming += 1
        try:
            job = await coming
        finally:
            self._coming -= 1
            self._changed.set()
        entry = _Entry(job, kind, asyncio.get_running_loop().create_future(), time.perf_counter())
        self._waiting.append(entry)
        self._changed.set()
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._leave(entry)
            raise

    @property
    def stuck(self) -> bool:
        """Whether the run in progress goes on long after it was ended; nothing else runs meanwhile."""
        return self._stopped_at is not None and time.perf_counter() - self._stopped_at > _TO_END_S

    async def close(self) -> None:
        """Stop: the run in progress is ended, and waiting jobs are not run."""
        self._stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _leave(self, entry: _Entry[Job, Result]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        elif self._running is not None and entry in self._running[0]:
            entries, _ = self._running
            if all(other.future.done() for other in entries):
                self._stop()

    def _stop(self) -> None:
        if self._running is not None:
            self._running[1].stop()
            self._stopped_at = self._stopped_at or time.perf_counter()

    async def _work(self) -> None:
        while True:
            batch = await self._gather()
            started = time.perf_counter()
            interrupt = Interrupt()
            self._running = batch, interrupt
            try:
                results = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._interruptible, [entry.job for entry in batch], interrupt
                )
            finally:
                self._running = self._stopped_at = None
            for entry, result in zip(batch, results, strict=True):
                if entry.future.done():
                    continue
                if isinstance(result, Exception):
                    entry.future.set_exception(result)
                else:
                    entry.future.set_result(Served(result, started - entry.since, len(batch)))

    def _interruptible(self, jobs: list[Job], interrupt: Interrupt) -> Sequence[Result | Exception]:
        with interrupt:
            try:
                return self._run(jobs)
            except Exception as error:
                return [error] * len(jobs)

    async def _gather(self) -> list[_Entry[Job, Result]]:
        while True:
            left = self._waiting[0].since + self._latency - time.perf_counter() if self._waiting else None
            full = len(self._waiting) >= self._size or not self._coming
            if left is not None and (full or left <= 0):
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    self._changed.clear()
                    await self._changed.wait()
        kind = self._waiting[0].kind
        batch = [entry for entry in self._waiting if entry.kind == kind][: self._size]
        self._waiting = [entry for entry in self._waiting if entry not in batch]
        return batch
