"""Photographs in, explanations out, without end: all steps at work at once, in threads, with bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from secam_onnx.errors import ImageError, ModelError, SecamError
from secam_onnx.pipeline.finish import answers_or_errors
from secam_onnx.pipeline.prepare import Prepared
from secam_onnx.threads import map_ahead, thread_pool

__all__ = ["stream"]

Item = TypeVar("Item")
Found = TypeVar("Found")
Result = TypeVar("Result")

_PIXEL_BYTES = 64 << 20  # of photographs in one batch; larger ones make smaller batches


def stream(
    items: Iterable[Item],
    *,
    prepare: Callable[[Item, Executor], Prepared],
    answers: Callable[[Sequence[Prepared]], Sequence[Found]],
    put_together: Callable[[Prepared, Found], Result],
    batch_size: int,
    workers: int,
    keep_images: bool,
) -> Generator[Result | SecamError, None, None]:
    """Explain photographs in order, with all steps at work at the same time.

    Helper threads read and crop, make superpixels and put results together, while one more thread runs the network:
    a batch runs, the next one waits. Everything is pulled by the caller, so nothing piles up.

    Parameters
    ----------
    items : iterable
        What `prepare` takes; may be endless. It is iterated in the caller's thread.
    prepare, answers, put_together : callable
        The steps: one photograph before the network has run, the network for several, one photograph after that.
    batch_size : int
        Photographs a forward pass, at most.
    workers : int
        Helper threads.
    keep_images : bool
        Whether results hold the photograph, without which no pictures can be drawn.

    Yields
    ------
    result, ImageError or ModelError
        One for each photograph, in order: what was found, or why it was not.
    """
    with thread_pool(workers, "helper") as helpers, thread_pool(1, "network") as network:

        def begin(item: Item) -> Prepared | SecamError:
            try:
                job = prepare(item, helpers)
            except ImageError as error:
                return error
            return job if keep_images else job.without_image()

        def run(batch: Sequence[Prepared | SecamError]) -> list[tuple[Prepared, Found] | SecamError]:
            jobs = [job for job in batch if isinstance(job, Prepared)]
            found = iter(answers_or_errors(jobs, answers) if jobs else [])
            return [job if isinstance(job, SecamError) else _paired(job, next(found)) for job in batch]

        def finish(found: tuple[Prepared, Found] | SecamError) -> Result | SecamError:
            return found if isinstance(found, SecamError) else put_together(*found)

        # Tasks may wait for superpixels only: those were begun before them, so they have a thread.
        prepared = map_ahead(helpers, begin, items, ahead=2 * workers)
        found = map_ahead(network, run, _batches(prepared, batch_size), ahead=1)
        yield from map_ahead(helpers, finish, itertools.chain.from_iterable(found), ahead=workers)


def _batches(jobs: Iterable[Prepared | SecamError], batch_size: int) -> Iterator[list[Prepared | SecamError]]:
    batch: list[Prepared | SecamError] = []
    pixels = 0
    for job in jobs:
        batch.append(job)
        pixels += job.image.nbytes if isinstance(job, Prepared) else 0
        if len(batch) == batch_size or pixels > _PIXEL_BYTES:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _paired(job: Prepared, found: Found | ModelError) -> tuple[Prepared, Found] | SecamError:
    return found if isinstance(found, ModelError) else (job, found)
