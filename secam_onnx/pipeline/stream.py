"""Streams of photographs: all steps run at the same time in threads, with bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from secam_onnx.errors import ImageError, ModelError, SecamError
from secam_onnx.pipeline.prepare import PreparedImage
from secam_onnx.threads import map_ahead, thread_pool, usable

__all__ = ["stream"]

Item = TypeVar("Item")
Found = TypeVar("Found")
Result = TypeVar("Result")

_PIXEL_BYTES = 64 << 20  # of the photographs in one batch; large photographs make smaller batches


def stream(
    items: Iterable[Item],
    *,
    prepare: Callable[[Item, Executor], PreparedImage],
    run: Callable[[Sequence[PreparedImage]], Sequence[Found | ModelError]],
    finish: Callable[[PreparedImage, Found], Result],
    batch_size: int,
    workers: int,
) -> Generator[Result | SecamError, None, None]:
    """Explain photographs in order, with all steps running at the same time.

    Helper threads read and crop photographs, make superpixels and finish results, while one more thread runs the
    network. The caller pulls the results, so nothing piles up.

    Parameters
    ----------
    items : iterable
        Arguments of `prepare`; may be endless. It is iterated in the caller's thread.
    prepare, run, finish : callable
        The three steps: prepare one photograph, run the network for several, finish one.
    batch_size : int
        The most photographs in a forward pass.
    workers : int
        Helper threads, at most four for each core.

    Yields
    ------
    result, ImageError or ModelError
        One for each photograph, in order: the result, or why there is none.
    """
    workers = usable(workers)
    pools = thread_pool(workers, "helper", abandon=True), thread_pool(1, "network", abandon=True)
    with pools[0] as helpers, pools[1] as network:

        def prepared(item: Item) -> PreparedImage | SecamError:
            try:
                return prepare(item, helpers)
            except ImageError as error:
                return error

        def ran(batch: Sequence[PreparedImage | SecamError]) -> list[tuple[PreparedImage, Found] | SecamError]:
            jobs = [job for job in batch if isinstance(job, PreparedImage)]
            found = iter(run(jobs) if jobs else [])
            return [job if isinstance(job, SecamError) else _paired(job, next(found)) for job in batch]

        def finished(found: tuple[PreparedImage, Found] | SecamError) -> Result | SecamError:
            return found if isinstance(found, SecamError) else finish(*found)

        # Tasks wait for nothing but superpixels, which were started before them and so have a thread.
        images = map_ahead(helpers, prepared, items, ahead=2 * workers)
        found = map_ahead(network, ran, _batches(images, batch_size), ahead=1)
        yield from map_ahead(helpers, finished, itertools.chain.from_iterable(found), ahead=workers)


def _batches(jobs: Iterable[PreparedImage | SecamError], batch_size: int) -> Iterator[list[PreparedImage | SecamError]]:
    batch: list[PreparedImage | SecamError] = []
    pixels = 0
    for job in jobs:
        batch.append(job)
        pixels += job.image.nbytes if isinstance(job, PreparedImage) else 0
        if len(batch) == batch_size or pixels > _PIXEL_BYTES:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _paired(job: PreparedImage, found: Found | ModelError) -> tuple[PreparedImage, Found] | SecamError:
    return found if isinstance(found, ModelError) else (job, found)
