"""Explains photographs for many clients at once: read in threads, run in batches, refused when there are too many."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from secam_onnx.classifier.opened_model import ModelOutput
from secam_onnx.decoding.decoder_limits import Cancellation
from secam_onnx.decoding.decoder_pool import DecoderPool
from secam_onnx.errors import ModelError
from secam_onnx.explainer import Explainer
from secam_onnx.labels.queries import ClassQuery
from secam_onnx.photograph.images import EncodedImage
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.serve import metrics
from secam_onnx.serve.batching import Batcher
from secam_onnx.serve.request.output_tensors import ExplainedImage
from secam_onnx.serve.request.parameters import ExplanationRequest
from secam_onnx.serve.request_context import current_request
from secam_onnx.serve.request_errors import BusyError, StuckError
from secam_onnx.serve.settings import Limits
from secam_onnx.threads import cores

__all__ = ["AsyncExplainer"]

Value = TypeVar("Value")

_FEW = 8  # classes; a batch makes as many maps for each of its photographs as any of them asks for
_FEW_PIXELS = 1 << 18  # of a model's input
_NEARLY_S = 0.25  # for a decoder whose request is given up: most images are read by then, and a new process takes long


class AsyncExplainer:
    """Explains photographs with one explainer, for many callers in one event loop.

    Parameters
    ----------
    name : str
        The model's name, for metrics.
    explainer : Explainer
        The explainer, which `close` closes.
    limits : Limits
        How many photographs may wait, and how many share a forward pass.
    decoders : DecoderPool
        Where encoded photographs are read; it is the caller's.
    """

    def __init__(self, name: str, explainer: Explainer, limits: Limits, decoders: DecoderPool) -> None:
        self.explainer = explainer
        self._decoders = decoders
        self._readers = ThreadPoolExecutor(decoders.size, "secam-reader")  # each waits for a decoder
        self._name = name
        self._limits = limits
        self._helpers = ThreadPoolExecutor(cores(), "secam-helper")
        # Decoded photographs fill the memory, so few are held at a time: two batches, and those being decoded.
        self._ahead = asyncio.Semaphore(2 * limits.max_batch_size + decoders.size)
        self._batcher: Batcher[tuple[PreparedImage, tuple[ClassQuery, ...]], ModelOutput] = Batcher(
            self._run, limits.max_batch_size, limits.max_latency_ms / 1000
        )
        self._pending = self._kept_pixels = 0
        self._seconds = 0.0  # recent mean time of a request

    async def explain(self, request: ExplanationRequest) -> list[ExplainedImage]:
        """Explain the photographs of a request, in order.

        Raises
        ------
        ImageError
            A photograph cannot be read.
        ModelError
            The model fails on a photograph.
        """
        started = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(image, request)) for image in request.images]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self._seconds += 0.1 * (time.perf_counter() - started - self._seconds)
        return [task.result() for task in tasks]

    async def in_thread(self, function: Callable[[], Value], turns: asyncio.Semaphore | None = None) -> Value:
        """Call a function in a thread, as it takes longer than an event loop should wait.

        With `turns` it waits for one, and keeps it until the function has returned, also if nobody waits for that.
        """
        loop = asyncio.get_running_loop()
        if turns is None:
            return await loop.run_in_executor(self._helpers, function)
        await turns.acquire()

        def done(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(turns.release)

        job = self._helpers.submit(function)
        job.add_done_callback(done)
        return await asyncio.wrap_future(job)

    @property
    def working(self) -> bool:
        """Whether photographs are read and the network runs."""
        return self._decoders.working and not self._batcher.stuck

    async def close(self) -> None:
        """Stop the threads and close the explainer; what runs in them is not waited for."""
        await self._batcher.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self.explainer.close()

    @contextlib.contextmanager
    def admitted(self, request: ExplanationRequest) -> Iterator[None]:
        """Count a request as pending until the block ends.

        Raises
        ------
        BusyError
            Too many photographs are pending, or they take too much memory.
        StuckError
            The network hangs.
        """
        if self._batcher.stuck:
            raise StuckError(
                "The model has not come back from an earlier photograph, whose run was ended long ago; the server must "
                "be restarted if it does not."
            )
        images, most = len(request.images), 2 * self._limits.max_drawn_pixels
        why = None
        if self._pending + images > self._limits.queue_length:
            why = f"{self._pending} photographs are waiting already, and the limit is {self._limits.queue_length}"
        elif self._kept_pixels + request.kept_pixels > most:
            why = f"Photographs of {self._kept_pixels:,} pixels are being drawn on, and the limit is {most:,}"
        if why is not None:
            wait = max(1, math.ceil(self._seconds))
            raise BusyError(f"{why}; try again in {wait} s.", {"Retry-After": str(wait)})
        self._count(images, request.kept_pixels)
        try:
            yield
        finally:
            self._count(-images, -request.kept_pixels)

    def _count(self, images: int, pixels: int) -> None:
        self._pending += images
        self._kept_pixels += pixels
        metrics.PENDING.labels(self._name).set(self._pending)

    async def _one(self, image: EncodedImage | np.ndarray, request: ExplanationRequest) -> ExplainedImage:
        since = time.perf_counter()
        async with self._ahead:
            waited = time.perf_counter() - since
            job: PreparedImage | None = None

            async def prepared() -> tuple[PreparedImage, tuple[ClassQuery, ...]]:
                nonlocal job
                job = await self._prepared(image, request)
                return job, request.queries

            try:
                served = await self._batcher.submit(prepared(), request.n_maps if request.n_maps > _FEW else 0)
            except BaseException:
                if job is not None and job.segments is not None:
                    job.segments.cancel()
                raise
            assert job is not None
            self._note(job, served.result, waited + served.queue_s, served.batch_size)
            if request.segmenter is None:
                return ExplainedImage(served.result, job.geometry)
            # Half a millisecond usually, which is no longer than changing threads would take.
            finish = functools.partial(self.explainer.pipeline.finish, job, served.result)
            ready = job.segments is None or job.segments.done()
            short = ready and request.n_maps <= _FEW and math.prod(job.geometry.input_size) <= _FEW_PIXELS
            finished = finish() if short else await self.in_thread(finish)
            if job.segments is not None:
                metrics.SUPERPIXELS.labels(self._name).observe(finished.timings["superpixels"] / 1000)
            return ExplainedImage(served.result, job.geometry, finished)

    async def _prepared(self, image: EncodedImage | np.ndarray, request: ExplanationRequest) -> PreparedImage:
        cancellation = Cancellation()
        threads = self._readers if isinstance(image, EncodedImage) else self._helpers
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, self._prepare, image, request, cancellation)
        except asyncio.CancelledError:
            loop.call_later(_NEARLY_S, cancellation.cancel)
            raise

    def _prepare(
        self, image: EncodedImage | np.ndarray, request: ExplanationRequest, cancellation: Cancellation
    ) -> PreparedImage:
        return self.explainer.pipeline.prepare(
            image,
            segmenter=request.segmenter,
            executor=self._helpers,
            max_pixels=self._limits.max_pixels,
            keep_image=bool(request.kept_pixels),
            decode=functools.partial(self._decoders.decode, cancellation=cancellation),
        )

    def _run(self, jobs: Sequence[tuple[PreparedImage, tuple[ClassQuery, ...]]]) -> list[ModelOutput | ModelError]:
        start = time.perf_counter()
        results = self.explainer.pipeline.run_each([job for job, _ in jobs], [queries for _, queries in jobs])
        metrics.FORWARD.labels(self._name).observe(time.perf_counter() - start)
        metrics.BATCH_SIZE.labels(self._name).observe(len(jobs))
        return results

    def _note(self, job: PreparedImage, output: ModelOutput, queue_s: float, batch_size: int) -> None:
        metrics.PREPARE.labels(self._name).observe(job.preprocess_ms / 1000)
        metrics.QUEUE.labels(self._name).observe(queue_s)
        current_request().notes |= {
            "batch_size": batch_size,
            "prepare_ms": round(job.preprocess_ms, 2),
            "queue_ms": round(queue_s * 1000, 2),
            "network_ms": round(sum(output.timings.values()) * batch_size, 2),
        }
